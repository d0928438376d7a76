//! What plain SQL may not write is refused by a rule that the error names.

use super::*;

const DANGLING: &[(&str, &str)] = &[
    (
        "team.parent is not a team",
        "INSERT INTO ambit.team VALUES ('acme', 't', 'absent')",
    ),
    (
        "team.parent is not a team",
        "INSERT INTO ambit.team VALUES ('other', 't', 'de')",
    ),
    (
        "team.parent is not a team",
        "UPDATE ambit.team SET parent = 'absent' WHERE team_id = 'de'",
    ),
    (
        "the account of this row",
        "INSERT INTO ambit.team VALUES ('nobody', 't', NULL)",
    ),
    (
        "the account of this row",
        "INSERT INTO ambit.account_setting VALUES ('nobody', 'partition_mode', 'default', 'wall')",
    ),
    (
        "the account of this row",
        "INSERT INTO ambit.resource VALUES ('nobody', 'contact', 'r', NULL, false)",
    ),
    (
        "app_user.main_team is not a team",
        "INSERT INTO ambit.app_user (account_id, user_id, main_team) VALUES ('acme', 'u', 'absent')",
    ),
    (
        "app_user.main_team is not a team",
        "UPDATE ambit.app_user SET main_team = 'absent' WHERE user_id = 'us1'",
    ),
    (
        "user_team.team_id is not a team",
        "INSERT INTO ambit.user_team VALUES ('acme', 'us1', 'absent')",
    ),
    (
        "user_team.user_id is not an user",
        "INSERT INTO ambit.user_team VALUES ('acme', 'absent', 'us')",
    ),
    (
        "user_team.team_id is not a team",
        "UPDATE ambit.user_team SET team_id = 'absent' WHERE team_id = 'us'",
    ),
    (
        "user_seat.user_id is not an user",
        "INSERT INTO ambit.user_seat VALUES ('acme', 'absent', 'core')",
    ),
    (
        "user_permission_set.permission_set_id is not a permission set",
        "INSERT INTO ambit.user_permission_set VALUES ('acme', 'us1', 'absent')",
    ),
    (
        "user_membership.id is not a team",
        "INSERT INTO ambit.user_membership (account_id, user_id, kind, id) VALUES ('acme', 'us1', 'team', 'rep')",
    ),
    (
        "user_membership.id is not a permission set",
        "INSERT INTO ambit.user_membership (account_id, user_id, kind, id) VALUES ('acme', 'us1', 'permission_set', 'us')",
    ),
    (
        "user_membership.user_id is not an user",
        "INSERT INTO ambit.user_membership (account_id, user_id, kind, id) VALUES ('acme', 'absent', 'team', 'us')",
    ),
    (
        "user_grant.user_id is not an user",
        "INSERT INTO ambit.user_grant (account_id, user_id, resource_type, permission, level)
            VALUES ('acme', 'absent', 'contact', 'view', 'team')",
    ),
    (
        "permission_set_grant.permission_set_id is not a permission set",
        "INSERT INTO ambit.permission_set_grant (account_id, permission_set_id, resource_type,
            permission, level) VALUES ('acme', 'absent', 'contact', 'view', 'team')",
    ),
    (
        "object_grant names a resource",
        "INSERT INTO ambit.object_grant (account_id, user_id, resource_type, resource_id, action)
            VALUES ('acme', 'us1', 'email', 'c1', 'view')",
    ),
    (
        "access_group_member.access_group_id is not an access group",
        "INSERT INTO ambit.access_group_member VALUES ('acme', 'absent', 'user', 'us1', '{}')",
    ),
    (
        "access_group_member.principal_id is not a user or team",
        "INSERT INTO ambit.access_group_member VALUES ('acme', 'vip', 'team', 'us1', '{}')",
    ),
    (
        "segment_target.segment_id is not a segment",
        "INSERT INTO ambit.segment_target VALUES ('acme', 'absent', 'user', 'us1')",
    ),
    (
        "segment_target.principal_id is not a user, team or access group",
        "INSERT INTO ambit.segment_target VALUES ('acme', 'gold', 'group', 'us1')",
    ),
    (
        "resource.owning_team is not a team",
        "INSERT INTO ambit.resource (account_id, resource_type, resource_id, owning_team)
            VALUES ('acme', 'contact', 'r', 'absent')",
    ),
    (
        "resource_owner.user_id is not an user",
        "INSERT INTO ambit.resource_owner VALUES ('acme', 'contact', 'c1', 'absent')",
    ),
    (
        "resource_owner names a resource",
        "INSERT INTO ambit.resource_owner VALUES ('acme', 'contact', 'absent', 'us1')",
    ),
    (
        "resource_attributes names a resource",
        "INSERT INTO ambit.resource_attributes VALUES ('acme', 'contact', 'absent', '{}')",
    ),
    (
        "assignment names a resource",
        "INSERT INTO ambit.assignment (account_id, resource_type, resource_id, principal_kind,
            principal_id) VALUES ('acme', 'contact', 'absent', 'user', 'us1')",
    ),
    (
        "assignment.principal_id is not a user, team or access group",
        "INSERT INTO ambit.assignment (account_id, resource_type, resource_id, principal_kind,
            principal_id) VALUES ('acme', 'contact', 'c1', 'group', 'de')",
    ),
    (
        "assignment.principal_id is not a user, team or access group",
        "INSERT INTO ambit.assignment (account_id, resource_type, resource_id, principal_kind,
            principal_id) VALUES ('other', 'contact', 'c1', 'user', 'us1')",
    ),
    (
        "assignment.principal_id is not a user, team or access group",
        "UPDATE ambit.assignment SET principal_id = 'absent'",
    ),
    (
        "there is no such account",
        "SELECT ambit.reload_account('nobody')",
    ),
];

const CYCLES: &[&str] = &[
    "INSERT INTO ambit.team VALUES ('acme', 't', 't')",
    "UPDATE ambit.team SET parent = 'eu' WHERE team_id = 'eu' AND account_id = 'acme'",
    "UPDATE ambit.team SET parent = 'de' WHERE team_id = 'eu' AND account_id = 'acme'",
    "INSERT INTO ambit.team VALUES ('acme', 'eu', 'de')
        ON CONFLICT (account_id, team_id) DO UPDATE SET parent = excluded.parent",
    "INSERT INTO ambit.team VALUES ('acme', 'x', 'y'), ('acme', 'y', 'z'), ('acme', 'z', 'x')",
    "INSERT INTO ambit.team VALUES ('acme', 'fr', 'de');
        UPDATE ambit.team SET parent = 'fr' WHERE team_id = 'eu' AND account_id = 'acme'",
    "MERGE INTO ambit.team USING (VALUES ('de')) AS new (parent)
        ON account_id = 'acme' AND team_id = 'eu'
        WHEN MATCHED THEN UPDATE SET parent = new.parent",
];

/// Statements, each with words of the rule that refuses it.
const OF_NO_KIND: &[(&str, &str)] = &[
    (
        "app_user.status is invited, active",
        "UPDATE ambit.app_user SET status = 'asleep'",
    ),
    (
        "app_user.kind is internal",
        "UPDATE ambit.app_user SET kind = 'INTERNAL'",
    ),
    (
        "app_user has all of partner_account, partner_user, partner_role and partnership",
        "UPDATE ambit.app_user SET partner_user = NULL WHERE user_id = 'pa'",
    ),
    (
        "an account has at most one account owner",
        "UPDATE ambit.app_user SET account_owner = true WHERE user_id = 'us1'",
    ),
    (
        "D9: the account would be left without an active super admin",
        "UPDATE ambit.app_user SET super_admin = false",
    ),
    (
        "D9: the account would be left without an active super admin",
        "UPDATE ambit.app_user SET status = 'deactivated' WHERE user_id = 'sa'",
    ),
    (
        "D9: the account would be left without an active super admin",
        "DELETE FROM ambit.app_user WHERE user_id = 'sa'",
    ),
    (
        "user_membership.kind is team or permission_set",
        "INSERT INTO ambit.user_membership (account_id, user_id, kind, id) VALUES ('acme', 'us1', 'seat', 'us')",
    ),
    (
        "user_membership.provenance is manual, default, segment:ID",
        "UPDATE ambit.user_membership SET provenance = 'request:'",
    ),
    (
        "user_membership.expires_at lies in the years 1 to 9999",
        "UPDATE ambit.user_membership SET expires_at = 'infinity'",
    ),
    (
        "user_membership.granted_by is 1 to 256 bytes",
        "UPDATE ambit.user_membership SET granted_by = ''",
    ),
    (
        "app_user.email is 3 to 254 bytes with one @",
        "UPDATE ambit.app_user SET email = 'a@b@c' WHERE user_id = 'us1'",
    ),
    (
        "app_user.email is 3 to 254 bytes with one @",
        "UPDATE ambit.app_user SET email = 'a b@c' WHERE user_id = 'us1'",
    ),
    (
        "app_user.email is 3 to 254 bytes with one @",
        "UPDATE ambit.app_user SET email = E'a@b\\nc' WHERE user_id = 'us1'",
    ),
    (
        "app_user.email is 3 to 254 bytes with one @",
        "UPDATE ambit.app_user SET email = '@ab' WHERE user_id = 'us1'",
    ),
    (
        "user_grant.level is none, owned, team or everything",
        "UPDATE ambit.user_grant SET level = 'all'",
    ),
    (
        "user_grant.provenance is manual, default, segment:ID",
        "UPDATE ambit.user_grant SET provenance = 'request:'",
    ),
    (
        "assignment.provenance is manual, default, segment:ID",
        "UPDATE ambit.assignment SET provenance = 'rumour:7'",
    ),
    (
        "user_grant.expires_at lies in the years 1 to 9999",
        "UPDATE ambit.user_grant SET expires_at = 'infinity'",
    ),
    (
        "user_grant.not_before lies in the years 1 to 9999",
        "UPDATE ambit.user_grant SET not_before = '0001-01-01 00:00:00+00'::timestamptz - interval '1 microsecond'",
    ),
    (
        "access_group_member.actions is an array of actions, each 1 to 256 bytes",
        "UPDATE ambit.access_group_member SET actions = '{\"\"}'",
    ),
    (
        "access_group_member.actions is an array of actions, each 1 to 256 bytes",
        "UPDATE ambit.access_group_member SET actions = '{view,NULL}'",
    ),
    (
        "access_group_member.actions is an array of actions, each 1 to 256 bytes",
        "UPDATE ambit.access_group_member SET actions = '{{view},{edit}}'",
    ),
    (
        "access_group_member.actions is an array of actions, each 1 to 256 bytes",
        "UPDATE ambit.access_group_member SET actions = '[2:3]={view,edit}'",
    ),
    (
        "access_group_member.principal_kind is user or team",
        "INSERT INTO ambit.access_group_member VALUES ('acme', 'vip', 'group', 'vip', '{}')",
    ),
    (
        "resource_attributes.attributes is a JSON object",
        "UPDATE ambit.resource_attributes SET attributes = '[]'",
    ),
    (
        "invalid input syntax for type json",
        "UPDATE ambit.resource_attributes SET attributes = '{'",
    ),
    (
        "account.partner_program is none, solutions or provider",
        "UPDATE ambit.account SET partner_program = 'gold'",
    ),
    (
        "account has either catalog or catalog_source",
        "UPDATE ambit.account SET catalog_source = 'x'",
    ),
    (
        "account_setting.value fits its name",
        "UPDATE ambit.account_setting SET value = 'sometimes'",
    ),
    (
        "account_setting.value fits its name",
        "INSERT INTO ambit.account_setting VALUES ('acme', 'x', '', '1')",
    ),
    (
        "account_setting.type_key is a type or default",
        "INSERT INTO ambit.account_setting VALUES ('acme', 'request_ttl_seconds', 'contact', '1')",
    ),
    (
        "team.team_id is 1 to 256 bytes without control characters",
        "INSERT INTO ambit.team VALUES ('acme', '', NULL)",
    ),
    (
        "team.team_id is 1 to 256 bytes without control characters",
        "INSERT INTO ambit.team VALUES ('acme', E'a\\n', NULL)",
    ),
    (
        "team.team_id is 1 to 256 bytes without control characters",
        "INSERT INTO ambit.team VALUES ('acme', chr(155), NULL)",
    ),
    (
        "team.team_id is 1 to 256 bytes without control characters",
        "INSERT INTO ambit.team VALUES ('acme', repeat('ä', 128) || 'x', NULL)",
    ),
    (
        "the key of a row of team never changes",
        "UPDATE ambit.team SET team_id = 'dach' WHERE team_id = 'us'",
    ),
    (
        "the key of a row of app_user never changes",
        "UPDATE ambit.app_user SET account_id = 'other'",
    ),
    (
        "the key of a row of resource_owner never changes",
        "UPDATE ambit.resource_owner SET resource_id = 'c2'",
    ),
    (
        "a revision moves by one with each change and is never set",
        "UPDATE ambit.account_head SET revision = 99",
    ),
    (
        "a revision moves by one with each change and is never set",
        "UPDATE ambit.account_head SET nonce = '12345678'",
    ),
    (
        "the head of an account goes with the account",
        "DELETE FROM ambit.account_head",
    ),
    ("is never truncated", "TRUNCATE ambit.resource_owner"),
    ("is never truncated", "TRUNCATE ambit.account CASCADE"),
];

#[tokio::test]
async fn nothing_dangles() {
    let mut beside = beside().await;
    let texts = beside.texts().await;
    for (rule, sql) in DANGLING {
        let refusal = beside.run(sql).await.expect_err(sql);
        assert_eq!(refusal.code, "23503", "{sql}");
        beside
            .refuses(&texts, &format!("dangling reference: {rule}"), sql)
            .await;
    }
}

#[tokio::test]
async fn p11_no_team_is_its_own_ancestor() {
    let mut beside = beside().await;
    let texts = beside.texts().await;
    for sql in CYCLES {
        beside
            .refuses(&texts, "P11: a team cannot be its own ancestor", sql)
            .await;
    }
}

#[tokio::test]
async fn a_cycle_on_the_way_is_none_at_the_end() {
    let mut beside = beside().await;
    beside
        .run(
            "UPDATE ambit.team SET parent = 'de' WHERE account_id = 'acme' AND team_id = 'eu';
             UPDATE ambit.team SET parent = NULL WHERE account_id = 'acme' AND team_id = 'de'",
        )
        .await
        .unwrap();
    let top: String = scalar(
        &mut beside.connection,
        "SELECT team_id FROM ambit.team
            WHERE account_id = 'acme' AND parent IS NULL AND team_id <> 'us'",
    )
    .await;
    assert_eq!(top, "de");
}

#[tokio::test]
async fn words_ids_and_keys_are_checked() {
    let mut beside = beside().await;
    let texts = beside.texts().await;
    for (rule, sql) in OF_NO_KIND {
        beside.refuses(&texts, rule, sql).await;
    }
}

#[tokio::test]
async fn the_text_of_a_rule_is_the_same_on_both_stores() {
    let sqlite = [
        include_str!("../../../src/store/migrations/sqlite/0001_tables.sql"),
        include_str!("../../../src/store/migrations/sqlite/0003_rules.sql"),
        include_str!("../../../src/store/migrations/sqlite/0005_access_requests.sql"),
        include_str!("../../../src/store/migrations/sqlite/0006_memberships.sql"),
        include_str!("../../../src/store/migrations/sqlite/0007_callers.sql"),
        include_str!("../../../src/store/migrations/sqlite/0015_partners.sql"),
        include_str!("../../../src/store/migrations/sqlite/0019_set_givers.sql"),
    ]
    .concat();
    let mut beside = schema_only().await;
    for (name, text) in beside.texts().await {
        // Names of keys, and of tables that no writer has a right on.
        let ours = [
            "access_request_outbox",
            "access_request_delivery",
            "partner_",
            "account_head",
            "change_log",
            "commit_",
            "revision_log",
            "store_identity",
        ];
        if ours.iter().any(|table| name.starts_with(table))
            || ["_pkey", "_check"].iter().any(|end| name.ends_with(end))
        {
            continue;
        }
        assert!(name.len() <= 63, "{name}");
        // Actions are an array of Postgres here, and JSON there.
        let text = text.replace("an array of actions", "a JSON array of actions");
        assert!(sqlite.contains(&text), "{name}: {text}");
    }
}

#[tokio::test]
async fn rule_3_5_an_assigned_resource_stays_partitioned() {
    let mut beside = beside().await;
    let texts = beside.texts().await;
    for sql in [
        "UPDATE ambit.resource SET partitioned = false WHERE resource_id = 'c1'",
        "INSERT INTO ambit.resource VALUES ('acme', 'contact', 'c1', NULL, false)
            ON CONFLICT (account_id, resource_type, resource_id)
            DO UPDATE SET partitioned = excluded.partitioned",
    ] {
        beside
            .refuses(
                &texts,
                "3.5: a resource with assignments is partitioned",
                sql,
            )
            .await;
    }
    let walled = "ambit.resource WHERE partitioned";
    assert_eq!(beside.count(walled).await, 1);
    // The last assignment gone, the wall stands; then it may be taken down.
    beside.run("DELETE FROM ambit.assignment").await.unwrap();
    assert_eq!(beside.count(walled).await, 1);
    beside
        .run("UPDATE ambit.resource SET partitioned = false")
        .await
        .unwrap();
    assert_eq!(beside.count(walled).await, 0);
    // And the first one puts it up again, also where both come in one statement.
    beside
        .run(
            "WITH made AS (
                INSERT INTO ambit.resource VALUES ('acme', 'contact', 'c3', NULL, false))
            INSERT INTO ambit.assignment (account_id, resource_type, resource_id, principal_kind,
                principal_id) VALUES ('acme', 'contact', 'c2', 'team', 'us'),
                ('acme', 'contact', 'c3', 'user', 'us1')",
        )
        .await
        .unwrap();
    assert_eq!(
        beside
            .count("ambit.resource WHERE partitioned AND resource_id IN ('c2', 'c3')")
            .await,
        2
    );
}

#[tokio::test]
async fn d9_the_last_super_admin_goes_only_where_somebody_stands_in() {
    let mut beside = beside().await;
    let texts = beside.texts().await;
    let demote =
        "UPDATE ambit.app_user SET super_admin = (user_id = 'us1') WHERE account_id = 'acme'";
    // Another one in the same transaction.
    beside.run(demote).await.unwrap();
    beside
        .refuses(
            &texts,
            "D9",
            "DELETE FROM ambit.app_user WHERE user_id = 'us1'",
        )
        .await;
    // An owner is enough where the account's catalog says so.
    beside
        .run("UPDATE ambit.account SET owner_may_stand_alone = true")
        .await
        .unwrap();
    beside
        .run("DELETE FROM ambit.app_user WHERE user_id = 'us1'")
        .await
        .unwrap();
    // And an account that had none need not get one.
    beside
        .run(
            "INSERT INTO ambit.app_user (account_id, user_id) VALUES ('acme', 'u'), ('other', 'u')",
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_tree_that_was_planted_with_the_rules_off_doesnt_hold_up_others() {
    let mut beside = beside().await;
    beside
        .run(
            "SET LOCAL session_replication_role = replica;
             INSERT INTO ambit.team VALUES ('acme', 'orphan', 'absent')",
        )
        .await
        .unwrap();
    beside
        .run("UPDATE ambit.team SET parent = 'us' WHERE team_id = 'eu' AND account_id = 'acme'")
        .await
        .unwrap();
}
