//! Writers beside an open store: the `sqlite3` shell where it exists, and connections of their own
//! with foreign keys off. They are noticed, followed, and held to the rules.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ambit::authz::model::*;
use ambit::store::sqlite::SqliteStore;
use ambit::store::{Changes, Head, Store, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection};

use crate::store_contract::{apply, by_key, everything, id, load};

struct Beside {
    directory: tempfile::TempDir,
    store: Arc<SqliteStore>,
    connection: SqliteConnection,
}

/// A store with one account, and a plain connection to its file.
async fn beside() -> Beside {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(directory.path()).await.unwrap());
    apply(&*store, "acme", &everything()).await;
    let connection = plain_connection(directory.path()).await;
    Beside {
        directory,
        store,
        connection,
    }
}

async fn plain_connection(directory: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(directory.join("ambit.db"))
        .foreign_keys(false)
        .connect()
        .await
        .unwrap()
}

impl Beside {
    async fn run(&mut self, sql: &str) -> Result<(), String> {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.connection)
            .await
            .map(|_| ())
            .map_err(|error| match error {
                sqlx::Error::Database(error) => error.message().to_owned(),
                other => panic!("{other:?}"),
            })
    }

    async fn head(&self) -> Head {
        self.store.head(&id("acme")).await.unwrap().unwrap()
    }

    /// Changes after a head that are steps.
    async fn since(&self, have: Head) -> (Head, Vec<Head>, Vec<EntityChange>) {
        match self.store.changes_since(&id("acme"), have).await.unwrap() {
            Changes::Delta {
                head,
                history,
                changes,
            } => (head, history, changes),
            other => panic!("expected a delta, got {other:?}"),
        }
    }

    /// The statement is refused by a rule whose text holds `rule`, and nothing is written.
    async fn refuses(&mut self, rule: &str, sql: &str) {
        let before = self.head().await;
        let message = self.run(sql).await.expect_err(sql);
        assert!(message.contains(rule), "{sql}: {message}");
        assert_eq!(self.head().await, before, "{sql}");
    }
}

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
    let statements = [
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
            "INSERT INTO user_permission_set VALUES ('acme', 'us1', 'rep')",
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
    let mut beside = beside().await;
    let mut state = by_key(&load(&*beside.store, "acme", false).await.1);
    let mut probe = beside.store.change_probe().await.unwrap();
    for (kind, sql) in statements {
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
            let told = match key {
                EntityKey::Account => "account",
                EntityKey::Team(_) => "team",
                EntityKey::PermissionSet(_) => "set",
                EntityKey::User(_) => "user",
                EntityKey::AccessGroup(_) => "group",
                EntityKey::Resource(_) => "resource",
                EntityKey::Segment(_) => "segment",
            };
            assert_eq!(told, kind, "{sql}");
            match change {
                EntityChange::Put(entity) => state.insert(key, entity),
                EntityChange::Delete(_) => state.remove(&key),
            };
        }
        let loaded = by_key(&load(&*beside.store, "acme", false).await.1);
        assert_eq!(state, loaded, "{sql}");
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
async fn forbidden_writes_name_their_rule() {
    let mut beside = beside().await;
    let dangling = "dangling reference";
    for sql in [
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
        "INSERT INTO user_permission_set VALUES ('acme', 'us1', 'absent')",
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
    ] {
        beside.refuses(dangling, sql).await;
    }
    for sql in [
        "INSERT INTO team VALUES ('acme', 't', 't')",
        "UPDATE team SET parent = 'eu' WHERE team_id = 'eu'",
        "UPDATE team SET parent = 'de' WHERE team_id = 'eu'",
        "INSERT OR REPLACE INTO team VALUES ('acme', 'eu', 'de')",
        "INSERT INTO team VALUES ('acme', 'fr', 'de');
         UPDATE team SET parent = 'fr' WHERE team_id = 'eu'",
    ] {
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
    let sticky = "3.5";
    for sql in [
        "UPDATE resource SET partitioned = 0 WHERE resource_id = 'c1'",
        "INSERT OR REPLACE INTO resource VALUES ('acme', 'contact', 'c1', NULL, 0)",
    ] {
        beside.refuses(sticky, sql).await;
    }
    for (rule, sql) in [
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
    ] {
        beside.refuses(rule, sql).await;
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
    // The whole account: nothing is left in any table.
    let mut plain = beside().await;
    let have = plain.head().await;
    plain.run("DELETE FROM account").await.unwrap();
    let changes = plain.store.changes_since(&id("acme"), have).await.unwrap();
    assert_eq!(changes, Changes::Gone);
    for table in [
        "account_head",
        "account_setting",
        "team",
        "permission_set",
        "permission_set_grant",
        "app_user",
        "user_team",
        "user_seat",
        "user_permission_set",
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
        "change_log",
        "revision_log",
        "idempotency",
    ] {
        let sql = format!("SELECT count(*) FROM {table}");
        let left: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut plain.connection)
            .await
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

/// What the rules can't keep out, since a session may switch them off, is survived by the reader.
#[tokio::test]
async fn unreadable_rows_are_told_and_survived() {
    let loading = |store: Arc<SqliteStore>| async move {
        let mut snapshot = store
            .snapshot(&id("acme"), true)
            .await?
            .expect("it is there");
        while let Some(chunk) = snapshot.chunks.recv().await {
            chunk?;
        }
        Ok::<(), StoreError>(())
    };
    for (place, sql) in [
        (
            "app_user.status",
            "UPDATE app_user SET status = 'asleep' WHERE user_id = 'us1'",
        ),
        (
            "app_user.super_admin",
            "UPDATE app_user SET super_admin = 7 WHERE user_id = 'us1'",
        ),
        (
            "app_user.partner_account",
            "UPDATE app_user SET partner_role = NULL WHERE user_id = 'pa'",
        ),
        (
            "user_grant.provenance",
            "UPDATE user_grant SET provenance = 'rumour:7'",
        ),
        (
            "user_grant.expires_at",
            "UPDATE user_grant SET expires_at = 9223372036854775807",
        ),
        (
            "resource.partitioned",
            "UPDATE resource SET partitioned = 5",
        ),
        (
            "assignment.provenance",
            "UPDATE assignment SET provenance = 'x' WHERE principal_kind = 'user'",
        ),
        (
            "resource_attributes.attributes",
            "UPDATE resource_attributes SET attributes = '{\"a\":'",
        ),
        (
            "resource_attributes.attributes",
            "UPDATE resource_attributes SET attributes = '[]'",
        ),
        (
            "account.catalog",
            "UPDATE account SET catalog_source = NULL",
        ),
        (
            "account_setting.value",
            "UPDATE account_setting SET value = 'sometimes'",
        ),
        (
            "account_setting.value",
            "UPDATE account_setting SET value = '99999999999999999999' WHERE type_key = ''",
        ),
        (
            "team.team_id",
            "INSERT INTO team VALUES ('acme', 'a' || char(10), NULL)",
        ),
        (
            "team.*",
            "INSERT INTO team VALUES ('acme', CAST(x'ff' AS TEXT), NULL)",
        ),
        (
            "resource.*",
            "INSERT INTO resource (account_id, resource_type, resource_id)
                VALUES ('acme', 'contact', CAST(x'c328' AS TEXT))",
        ),
    ] {
        let mut beside = beside().await;
        let have = beside.head().await;
        beside
            .run(&format!("PRAGMA ignore_check_constraints = on; {sql}"))
            .await
            .unwrap();
        let loaded = loading(beside.store.clone()).await;
        let followed = beside.store.changes_since(&id("acme"), have).await;
        let mut results = vec![loaded];
        // Attributes are no part of a delta.
        if !place.starts_with("resource_attributes") {
            results.push(followed.map(|_| ()));
        }
        for result in results {
            let Err(StoreError::Inconsistent { table, column, .. }) = &result else {
                panic!("{sql}: {result:?}");
            };
            // Of a key that is not even text, the log is what a follower stumbles over first.
            assert!(
                format!("{table}.{column}") == place || (*table == "change_log"),
                "{sql}: {result:?}"
            );
        }
        // The rest of the store goes on.
        let mut other = everything();
        let Some(EntityChange::Put(Entity::Account(account))) = other.first_mut() else {
            unreachable!("everything begins with the account")
        };
        account.id = id("other");
        apply(&*beside.store, "other", &other).await;
        load(&*beside.store, "other", true).await;
    }
}

#[tokio::test]
async fn a_planted_cycle_is_survived() {
    let mut beside = beside().await;
    let have = beside.head().await;
    beside
        .run(
            "DROP TRIGGER team_updated_rules;
             INSERT INTO team VALUES ('acme', 'x', 'us'), ('acme', 'y', 'x');
             UPDATE team SET parent = 'y' WHERE team_id = 'us';
             UPDATE team SET parent = 'de' WHERE team_id = 'de'",
        )
        .await
        .unwrap();
    let (_, entities) = load(&*beside.store, "acme", false).await;
    let teams = entities
        .iter()
        .filter(|entity| matches!(entity, Entity::Team(_)))
        .count();
    assert_eq!(teams, 5);
    let (_, _, changes) = beside.since(have).await;
    assert!(!changes.is_empty());
    // A cycle can be taken apart again through the store.
    for name in ["de", "us", "x", "y"] {
        apply(
            &*beside.store,
            "acme",
            &[EntityChange::Delete(EntityKey::Team(id(name)))],
        )
        .await;
    }
    beside.run("DELETE FROM account").await.unwrap();
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
