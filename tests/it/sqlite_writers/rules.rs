//! What others may not write is refused by a rule that the message names.

use super::*;

const DANGLING: &[&str] = &[
    "INSERT INTO team VALUES ('acme', 't', 'absent')",
    "UPDATE team SET parent = 'absent' WHERE team_id = 'de'",
    "INSERT INTO team VALUES ('nobody', 't', NULL)",
    "INSERT INTO app_user (account_id, user_id, main_team) VALUES ('acme', 'u', 'absent')",
    "UPDATE app_user SET main_team = 'absent' WHERE user_id = 'us1'",
    "INSERT INTO app_user (account_id, user_id) VALUES ('nobody', 'u')",
    "INSERT INTO user_team VALUES ('acme', 'us1', 'absent')",
    "INSERT INTO user_team VALUES ('acme', 'absent', 'us')",
    "UPDATE user_team SET team_id = 'absent' WHERE user_id = 'pa'",
    "INSERT INTO user_seat VALUES ('acme', 'absent', 'core')",
    "INSERT INTO user_permission_set (account_id, user_id, permission_set_id) VALUES ('acme', 'us1', 'absent')",
    "INSERT INTO user_membership (account_id, user_id, kind, id)
            VALUES ('acme', 'us1', 'team', 'rep')",
    "INSERT INTO user_membership (account_id, user_id, kind, id)
            VALUES ('acme', 'us1', 'permission_set', 'us')",
    "INSERT INTO user_membership (account_id, user_id, kind, id)
            VALUES ('acme', 'absent', 'team', 'us')",
    "UPDATE user_membership SET id = 'absent'",
    "INSERT INTO user_grant (account_id, user_id, resource_type, permission, level)
            VALUES ('acme', 'absent', 'contact', 'view', 'team')",
    "INSERT INTO permission_set_grant (account_id, permission_set_id, resource_type,
            permission, level) VALUES ('acme', 'absent', 'contact', 'view', 'team')",
    "INSERT INTO object_grant (account_id, user_id, resource_type, resource_id, action)
            VALUES ('acme', 'us1', 'email', 'c1', 'view')",
    "INSERT INTO access_group_member VALUES ('acme', 'absent', 'user', 'us1', '[]')",
    "INSERT INTO access_group_member VALUES ('acme', 'vip', 'team', 'us1', '[]')",
    "INSERT INTO segment_target VALUES ('acme', 'gold', 'group', 'us1')",
    "INSERT INTO resource (account_id, resource_type, resource_id, owning_team)
            VALUES ('acme', 'contact', 'r', 'absent')",
    "INSERT INTO resource_owner VALUES ('acme', 'contact', 'c1', 'absent')",
    "INSERT INTO resource_owner VALUES ('acme', 'contact', 'absent', 'us1')",
    "INSERT INTO resource_attributes VALUES ('acme', 'contact', 'absent', '{}')",
    "INSERT INTO assignment (account_id, resource_type, resource_id, principal_kind,
            principal_id) VALUES ('acme', 'contact', 'absent', 'user', 'us1')",
    "INSERT INTO assignment (account_id, resource_type, resource_id, principal_kind,
            principal_id) VALUES ('acme', 'contact', 'c1', 'group', 'de')",
    "UPDATE assignment SET principal_id = 'absent'",
    "INSERT INTO account_setting VALUES ('nobody', 'partition_mode', 'default', 'wall')",
];

const CYCLES: &[&str] = &[
    "INSERT INTO team VALUES ('acme', 't', 't')",
    "UPDATE team SET parent = 'eu' WHERE team_id = 'eu'",
    "UPDATE team SET parent = 'de' WHERE team_id = 'eu'",
    "INSERT OR REPLACE INTO team VALUES ('acme', 'eu', 'de')",
    "INSERT INTO team VALUES ('acme', 'fr', 'de');
         UPDATE team SET parent = 'fr' WHERE team_id = 'eu'",
];

/// Statements, each with words of the rule that refuses it.
const OF_NO_KIND: &[(&str, &str)] = &[
    ("app_user.status", "UPDATE app_user SET status = 'asleep'"),
    ("app_user.kind", "UPDATE app_user SET kind = 'INTERNAL'"),
    (
        "app_user.super_admin",
        "UPDATE app_user SET super_admin = 2",
    ),
    (
        "partner_account",
        "UPDATE app_user SET partner_user = NULL WHERE user_id = 'pa'",
    ),
    (
        "account owner",
        "UPDATE app_user SET account_owner = 1 WHERE user_id = 'us1'",
    ),
    (
        "user_membership.kind",
        "INSERT INTO user_membership (account_id, user_id, kind, id)
            VALUES ('acme', 'us1', 'seat', 'us')",
    ),
    (
        "user_membership.provenance",
        "UPDATE user_membership SET provenance = 'request:'",
    ),
    (
        "user_membership.expires_at",
        "UPDATE user_membership SET expires_at = 9223372036854775807",
    ),
    (
        "user_membership.granted_by",
        "UPDATE user_membership SET granted_by = ''",
    ),
    (
        "app_user.email",
        "UPDATE app_user SET email = 'us1' WHERE user_id = 'us1'",
    ),
    (
        "app_user.email",
        "UPDATE app_user SET email = 'a@b@c' WHERE user_id = 'us1'",
    ),
    (
        "app_user.email",
        "UPDATE app_user SET email = 'a b@c' WHERE user_id = 'us1'",
    ),
    (
        "app_user.email",
        "UPDATE app_user SET email = 'a@b' || char(10) || 'c' WHERE user_id = 'us1'",
    ),
    (
        "app_user.email",
        "UPDATE app_user SET email = 'a@b' || char(0) || 'c' WHERE user_id = 'us1'",
    ),
    ("app_user.email", "UPDATE app_user SET email = '@ab'"),
    ("user_grant.level", "UPDATE user_grant SET level = 'all'"),
    (
        "user_grant.provenance",
        "UPDATE user_grant SET provenance = 'request:'",
    ),
    (
        "assignment.provenance",
        "UPDATE assignment SET provenance = 'rumour:7'",
    ),
    (
        "user_grant.expires_at",
        "UPDATE user_grant SET expires_at = 9223372036854775807",
    ),
    (
        "access_group_member.actions",
        "UPDATE access_group_member SET actions = '['",
    ),
    (
        "access_group_member.actions",
        "UPDATE access_group_member SET actions = '[1]'",
    ),
    (
        "access_group_member.actions",
        "UPDATE access_group_member SET actions = '[\"\"]'",
    ),
    (
        "access_group_member.actions",
        "UPDATE access_group_member SET actions = '{}'",
    ),
    (
        "access_group_member.principal_kind",
        "INSERT INTO access_group_member VALUES ('acme', 'vip', 'group', 'vip', '[]')",
    ),
    (
        "resource_attributes",
        "UPDATE resource_attributes SET attributes = '[]'",
    ),
    (
        "account.partner_program",
        "UPDATE account SET partner_program = 'gold'",
    ),
    (
        "catalog or catalog_source",
        "UPDATE account SET catalog = 'hubspot'",
    ),
    (
        "account_setting.value",
        "UPDATE account_setting SET value = 'sometimes'",
    ),
    (
        "account_setting.value",
        "INSERT INTO account_setting VALUES ('acme', 'x', '', '1')",
    ),
    ("team.team_id", "INSERT INTO team VALUES ('acme', '', NULL)"),
    (
        "team.team_id",
        "INSERT INTO team VALUES ('acme', 'a' || char(10), NULL)",
    ),
    (
        "team.team_id",
        "INSERT INTO team VALUES ('acme', 'a' || char(0) || 'b', NULL)",
    ),
    (
        "team.team_id",
        "INSERT INTO team VALUES ('acme', char(155), NULL)",
    ),
    (
        "team.team_id",
        "INSERT INTO team VALUES ('acme', replace(hex(zeroblob(129)), '0', 'x'), NULL)",
    ),
    ("TEXT", "INSERT INTO team VALUES ('acme', x'61', NULL)"),
    (
        "never changes",
        "UPDATE team SET team_id = 'dach' WHERE team_id = 'us'",
    ),
    ("never changes", "UPDATE app_user SET account_id = 'other'"),
    (
        "never changes",
        "UPDATE resource_owner SET resource_id = 'c2'",
    ),
    ("never set", "UPDATE account_head SET revision = 99"),
    ("never set", "UPDATE account_head SET nonce = zeroblob(8)"),
    ("goes with the account", "DELETE FROM account_head"),
];

#[tokio::test]
async fn nothing_dangles() {
    let mut beside = beside().await;
    for sql in DANGLING {
        beside.refuses("dangling reference", sql).await;
    }
}

#[tokio::test]
async fn p11_no_team_is_its_own_ancestor() {
    let mut beside = beside().await;
    for sql in CYCLES {
        let mut probe = beside.store.change_probe().await.unwrap();
        let message = beside.run(sql).await.expect_err(sql);
        assert!(message.contains("P11"), "{sql}: {message}");
        // The first statement of the last one stands; no cycle does.
        probe.changed().await.unwrap();
        let (_, entities) = load(&*beside.store, "acme", false).await;
        let mut seen = BTreeSet::new();
        for entity in entities {
            if let Entity::Team(team) = entity {
                assert!(team.parent.is_none_or(|parent| seen.contains(&parent)));
                seen.insert(team.id);
            }
        }
    }
}

#[tokio::test]
async fn rule_3_5_an_assigned_resource_stays_partitioned() {
    let mut beside = beside().await;
    for sql in [
        "UPDATE resource SET partitioned = 0 WHERE resource_id = 'c1'",
        "INSERT OR REPLACE INTO resource VALUES ('acme', 'contact', 'c1', NULL, 0)",
    ] {
        beside.refuses("3.5", sql).await;
    }
    // The last assignment gone, the wall stands; then it may be taken down.
    beside.run("DELETE FROM assignment").await.unwrap();
    let walled = || async {
        let (_, entities) = load(&*beside.store, "acme", false).await;
        entities.iter().any(|entity| match entity {
            Entity::Resource(resource, _) => resource.key.id == id("c1") && resource.partitioned,
            _ => false,
        })
    };
    assert!(walled().await);
    beside
        .run("UPDATE resource SET partitioned = 0")
        .await
        .unwrap();
    // And the first one puts it up again.
    beside
        .run(
            "INSERT INTO assignment (account_id, resource_type, resource_id, principal_kind,
                principal_id) VALUES ('acme', 'contact', 'c2', 'team', 'us')",
        )
        .await
        .unwrap();
    let (_, entities) = load(&*beside.store, "acme", false).await;
    let walls: Vec<&Id> = entities
        .iter()
        .filter_map(|entity| match entity {
            Entity::Resource(resource, _) if resource.partitioned => Some(&resource.key.id),
            _ => None,
        })
        .collect();
    assert_eq!(walls, [&id("c2")]);
}

#[tokio::test]
async fn words_ids_and_keys_are_checked() {
    let mut beside = beside().await;
    for (rule, sql) in OF_NO_KIND {
        beside.refuses(rule, sql).await;
    }
}

/// D9 with foreign keys off and no server in between: of the last two super admins one stays, by
/// whatever statement, and the account goes with all that is in it.
#[tokio::test]
async fn d9_plain_sql_leaves_an_active_super_admin() {
    let mut beside = beside().await;
    let admins = "UPDATE app_user SET super_admin = (user_id = 'us1') WHERE account_id = 'acme'";
    beside
        .run("UPDATE app_user SET super_admin = 1, status = 'active' WHERE user_id = 'us1'")
        .await
        .unwrap();
    beside.run(admins).await.unwrap();
    beside
        .run("UPDATE app_user SET account_owner = 0")
        .await
        .unwrap();
    for statement in [
        "UPDATE app_user SET super_admin = 0 WHERE user_id = 'us1'",
        "UPDATE app_user SET super_admin = 0",
        "UPDATE app_user SET status = 'deactivated' WHERE user_id = 'us1'",
        "UPDATE app_user SET status = 'removed' WHERE user_id = 'us1'",
        "UPDATE app_user SET status = 'invited' WHERE user_id = 'us1'",
        "DELETE FROM app_user WHERE user_id = 'us1'",
        "DELETE FROM app_user",
        "INSERT OR REPLACE INTO app_user (account_id, user_id) VALUES ('acme', 'us1')",
        "INSERT INTO app_user (account_id, user_id, super_admin, status)
            VALUES ('acme', 'i', 1, 'invited');
         UPDATE app_user SET super_admin = 0 WHERE user_id = 'us1'",
    ] {
        let refusal = beside.run(statement).await.unwrap_err();
        assert!(refusal.starts_with("D9: "), "{statement}: {refusal}");
    }
    // Another one first, an owner beside, and what is no loss.
    beside
        .run("UPDATE app_user SET kind = 'internal' WHERE user_id = 'us1'")
        .await
        .unwrap();
    beside
        .run(
            "INSERT INTO app_user (account_id, user_id, super_admin) VALUES ('acme', 'other', 1);
             DELETE FROM app_user WHERE user_id = 'us1'",
        )
        .await
        .unwrap();
    beside
        .run(
            "INSERT INTO app_user (account_id, user_id, account_owner) VALUES ('acme', 'owner', 1);
             DELETE FROM app_user WHERE user_id = 'other'",
        )
        .await
        .unwrap();
    beside
        .run(
            "UPDATE app_user SET super_admin = 1, account_owner = 0 WHERE user_id = 'owner';
             DELETE FROM account WHERE account_id = 'acme'",
        )
        .await
        .unwrap();
}
