//! What others write is noticed, and following it equals loading.

use super::*;

/// Statements, each with the kind of the entity that it changes.
const STATEMENTS: &[(&str, &str)] = &[
    ("account", "UPDATE account SET plan = 'starter'"),
    (
        "account",
        "INSERT INTO account_setting VALUES ('acme', 'partition_mode', 'email', 'share')",
    ),
    (
        "account",
        "DELETE FROM account_setting WHERE type_key = 'email'",
    ),
    ("team", "INSERT INTO team VALUES ('acme', 'fr', 'eu')"),
    ("team", "UPDATE team SET parent = NULL WHERE team_id = 'fr'"),
    ("team", "DELETE FROM team WHERE team_id = 'fr'"),
    ("set", "INSERT INTO permission_set VALUES ('acme', 'new')"),
    (
        "set",
        "INSERT INTO permission_set_grant (account_id, permission_set_id, resource_type,
                permission, level) VALUES ('acme', 'new', 'contact', 'view', 'team')",
    ),
    (
        "set",
        "DELETE FROM permission_set_grant WHERE permission_set_id = 'new'",
    ),
    (
        "user",
        "UPDATE app_user SET status = 'invited' WHERE user_id = 'us1'",
    ),
    ("user", "INSERT INTO user_team VALUES ('acme', 'us1', 'eu')"),
    (
        "user",
        "UPDATE user_team SET team_id = 'us' WHERE user_id = 'us1'",
    ),
    (
        "user",
        "INSERT INTO user_seat VALUES ('acme', 'us1', 'core')",
    ),
    (
        "user",
        "INSERT INTO user_permission_set (account_id, user_id, permission_set_id) VALUES ('acme', 'us1', 'rep')",
    ),
    (
        "user",
        "INSERT INTO user_membership (account_id, user_id, kind, id)
                VALUES ('acme', 'us1', 'team', 'eu')",
    ),
    (
        "user",
        "UPDATE user_membership SET expires_at = 7 WHERE user_id = 'us1'",
    ),
    ("user", "DELETE FROM user_membership WHERE user_id = 'us1'"),
    (
        "user",
        "UPDATE app_user SET email = 'us1@example.org' WHERE user_id = 'us1'",
    ),
    (
        "user",
        "INSERT INTO object_grant (account_id, user_id, resource_type, resource_id, action)
                VALUES ('acme', 'us1', 'contact', 'c1', 'view')",
    ),
    ("user", "DELETE FROM object_grant WHERE user_id = 'us1'"),
    ("group", "INSERT INTO access_group VALUES ('acme', 'new')"),
    (
        "group",
        "INSERT INTO access_group_member VALUES ('acme', 'new', 'user', 'us1', '[\"view\"]')",
    ),
    (
        "group",
        "UPDATE access_group_member SET actions = '[]' WHERE access_group_id = 'new'",
    ),
    (
        "resource",
        "INSERT INTO resource (account_id, resource_type, resource_id)
                VALUES ('acme', 'email', 'e1')",
    ),
    (
        "resource",
        "INSERT INTO resource_attributes VALUES ('acme', 'email', 'e1', '{\"a\": 1}')",
    ),
    (
        "resource",
        "INSERT INTO resource_owner VALUES ('acme', 'email', 'e1', 'us1')",
    ),
    (
        "resource",
        "UPDATE resource SET owning_team = 'us' WHERE resource_id = 'e1'",
    ),
    (
        "resource",
        "INSERT INTO assignment (account_id, resource_type, resource_id, principal_kind,
                principal_id) VALUES ('acme', 'email', 'e1', 'team', 'us')",
    ),
    (
        "resource",
        "DELETE FROM assignment WHERE resource_id = 'e1'",
    ),
    ("segment", "UPDATE segment SET enabled = 1"),
    (
        "segment",
        "DELETE FROM segment_target WHERE principal_kind = 'team'",
    ),
    ("segment", "DELETE FROM segment"),
];

#[tokio::test]
async fn the_sqlite3_shell_is_noticed_and_followed() {
    if Command::new("sqlite3").arg("--version").output().is_err() {
        println!("no sqlite3 shell here: the other tests write through connections of their own");
        return;
    }
    let beside = beside().await;
    let have = beside.head().await;
    let mut probe = beside.store.change_probe().await.unwrap();
    assert!(!probe.changed().await.unwrap());
    let shell = |sql: &str| {
        Command::new("sqlite3")
            .arg("-bail")
            .arg(beside.directory.path().join("ambit.db"))
            .arg(sql)
            .output()
            .unwrap()
    };
    let written = shell(
        "INSERT INTO app_user (account_id, user_id) VALUES ('acme', 'from-the-shell');
         INSERT INTO user_grant (account_id, user_id, resource_type, permission, level)
             VALUES ('acme', 'from-the-shell', 'contact', 'view', 'everything');",
    );
    assert!(written.status.success(), "{written:?}");
    assert!(probe.changed().await.unwrap());
    assert!(!probe.changed().await.unwrap());
    let (head, history, changes) = beside.since(have).await;
    // A plain writer takes a revision a row.
    assert_eq!(head.revision, have.revision + 2);
    assert_eq!(history.len(), 2);
    let [EntityChange::Put(Entity::User(user))] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(user.id, id("from-the-shell"));
    assert_eq!(user.grants.len(), 1);

    let refused = shell("INSERT INTO team (account_id, team_id, parent) VALUES ('acme', 'x', 'y')");
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        message.contains("dangling reference: team.parent"),
        "{message}"
    );
    assert_eq!(beside.head().await, head);
}

#[tokio::test]
async fn every_table_is_followed() {
    let mut beside = beside().await;
    let mut state = by_key(&load(&*beside.store, "acme", false).await.1);
    let mut probe = beside.store.change_probe().await.unwrap();
    for (kind, sql) in STATEMENTS {
        let have = beside.head().await;
        beside.run(sql).await.unwrap();
        assert!(probe.changed().await.unwrap(), "{sql}");
        let (head, history, changes) = beside.since(have).await;
        assert!(head.revision > have.revision, "{sql}");
        assert_eq!(history.len() as u64, head.revision - have.revision, "{sql}");
        assert!(!changes.is_empty(), "{sql}");
        for change in changes {
            let key = match &change {
                EntityChange::Put(entity) => entity.key(),
                EntityChange::Delete(key) => key.clone(),
            };
            assert_eq!(kind_of(&key), *kind, "{sql}");
            match change {
                EntityChange::Put(entity) => state.insert(key, entity),
                EntityChange::Delete(_) => state.remove(&key),
            };
        }
        let loaded = by_key(&load(&*beside.store, "acme", false).await.1);
        assert_eq!(state, loaded, "{sql}");
    }
}

fn kind_of(key: &EntityKey) -> &'static str {
    match key {
        EntityKey::Account => "account",
        EntityKey::Team(_) => "team",
        EntityKey::PermissionSet(_) => "set",
        EntityKey::User(_) => "user",
        EntityKey::AccessGroup(_) => "group",
        EntityKey::Resource(_) => "resource",
        EntityKey::Segment(_) => "segment",
        EntityKey::AccessRequest(_) => "access_request",
    }
}

#[tokio::test]
async fn upserts_and_replacements_are_followed_too() {
    let mut beside = beside().await;
    let mut state = by_key(&load(&*beside.store, "acme", false).await.1);
    for recursive in ["off", "on"] {
        beside
            .run(&format!("PRAGMA recursive_triggers = {recursive}"))
            .await
            .unwrap();
        for sql in [
            "INSERT OR REPLACE INTO team VALUES ('acme', 'de', 'us')",
            "REPLACE INTO resource_owner VALUES ('acme', 'contact', 'c1', 'us1')",
            "INSERT OR IGNORE INTO team VALUES ('acme', 'it', 'eu'), ('acme', 'de', 'eu')",
            "INSERT OR FAIL INTO user_seat VALUES ('acme', 'us1', 'seat of ' || random())",
            "INSERT INTO team VALUES ('acme', 'de', 'eu') ON CONFLICT DO UPDATE SET parent = 'eu'",
            "UPDATE OR REPLACE account SET plan = 'free'",
            "REPLACE INTO account (account_id, catalog, plan) VALUES ('other', 'brevo', 'free')",
        ] {
            let have = beside.head().await;
            beside.run(sql).await.unwrap();
            if beside.head().await != have {
                let (_, _, changes) = beside.since(have).await;
                for change in changes {
                    match change {
                        EntityChange::Put(entity) => state.insert(entity.key(), entity),
                        EntityChange::Delete(key) => state.remove(&key),
                    };
                }
            }
            let loaded = by_key(&load(&*beside.store, "acme", false).await.1);
            assert_eq!(state, loaded, "recursive triggers {recursive}: {sql}");
        }
    }
}

#[tokio::test]
async fn a_plain_deletion_cascades_and_is_followed() {
    for (sql, key) in [
        (
            "DELETE FROM team WHERE team_id = 'de'",
            EntityKey::Team(id("de")),
        ),
        (
            "DELETE FROM team WHERE team_id = 'eu'",
            EntityKey::Team(id("eu")),
        ),
        (
            "DELETE FROM app_user WHERE user_id = 'us1'",
            EntityKey::User(id("us1")),
        ),
        (
            "DELETE FROM access_group",
            EntityKey::AccessGroup(id("vip")),
        ),
        (
            "DELETE FROM permission_set WHERE permission_set_id = 'rep'",
            EntityKey::PermissionSet(id("rep")),
        ),
        (
            "DELETE FROM resource WHERE resource_type = 'contact' AND resource_id = 'c1'",
            EntityKey::Resource(ResourceKey {
                resource_type: id("contact"),
                id: id("c1"),
            }),
        ),
    ] {
        let mut plain = beside().await;
        let have = plain.head().await;
        let mut state = by_key(&load(&*plain.store, "acme", false).await.1);
        plain.run(sql).await.unwrap();
        for change in plain.since(have).await.2 {
            match change {
                EntityChange::Put(entity) => state.insert(entity.key(), entity),
                EntityChange::Delete(key) => state.remove(&key),
            };
        }
        let (_, by_sql) = load(&*plain.store, "acme", true).await;
        assert_eq!(state, by_key(&by_sql), "{sql}");

        // The same as through the store.
        let ours = beside().await;
        apply(&*ours.store, "acme", &[EntityChange::Delete(key)]).await;
        assert_eq!(load(&*ours.store, "acme", true).await.1, by_sql, "{sql}");
    }
}

const TABLES: &[&str] = &[
    "account_head",
    "account_setting",
    "team",
    "permission_set",
    "permission_set_grant",
    "app_user",
    "user_team",
    "user_seat",
    "user_permission_set",
    "user_membership",
    "user_grant",
    "object_grant",
    "access_group",
    "access_group_member",
    "segment",
    "segment_target",
    "resource",
    "resource_attributes",
    "resource_owner",
    "assignment",
    "access_request",
    "access_request_event",
    "access_request_outbox",
    "access_request_delivery",
    "partner_event",
    "partner_outbox",
    "partner_delivery",
    "spent_link",
    "change_log",
    "revision_log",
    "idempotency",
    "assignment_batch",
    "form",
    "assignment_batch_entry",
];

#[tokio::test]
async fn a_plain_deletion_of_an_account_leaves_nothing() {
    let mut plain = beside().await;
    let have = plain.head().await;
    plain.run("DELETE FROM account").await.unwrap();
    let changes = plain.store.changes_since(&id("acme"), have).await.unwrap();
    assert_eq!(changes, Changes::Gone);
    for table in TABLES {
        let sql = format!("SELECT count(*) FROM {table}");
        let left: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut plain.connection)
            .await
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[tokio::test]
async fn writers_of_both_kinds_leave_no_gap() {
    const WRITES: usize = 30;
    let beside = beside().await;
    let first = beside.head().await;
    let path = beside.directory.path().to_owned();
    let plain = tokio::spawn(async move {
        let mut connection = plain_connection(&path).await;
        for number in 0..WRITES {
            let sql = format!(
                "BEGIN IMMEDIATE;
                 INSERT INTO app_user (account_id, user_id) VALUES ('acme', 'plain-{number}');
                 INSERT INTO user_team VALUES ('acme', 'plain-{number}', 'us');
                 COMMIT"
            );
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await
                .unwrap();
        }
    });
    for number in 0..WRITES {
        let change = [EntityChange::Put(Entity::User(User::new(id(&format!(
            "ours-{number}"
        )))))];
        while let Err(error) =
            crate::store_contract::try_apply(&*beside.store, "acme", &change).await
        {
            assert!(matches!(error, StoreError::Conflict), "{error:?}");
        }
    }
    plain.await.unwrap();
    let (head, history, changes) = beside.since(first).await;
    assert_eq!(head.revision, first.revision + 3 * WRITES as u64);
    assert_eq!(history.len(), 3 * WRITES);
    assert_eq!(changes.len(), 2 * WRITES);
    for change in changes {
        let EntityChange::Put(Entity::User(user)) = change else {
            panic!("{change:?}");
        };
        // A plain transaction is seen whole too.
        assert_eq!(
            user.teams.len(),
            usize::from(user.id.as_str().starts_with("plain"))
        );
    }
}
