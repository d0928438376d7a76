//! What the rules can't keep out, since a session may switch them off, is survived by the reader.

use super::*;

/// Statements that make a row unreadable, each with its table and column.
const UNREADABLE: &[(&str, &str)] = &[
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
];

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
    for (place, sql) in UNREADABLE {
        let mut beside = beside().await;
        let have = beside.head().await;
        beside
            .run(&format!("PRAGMA ignore_check_constraints = on; {sql}"))
            .await
            .unwrap();
        let loaded = loading(beside.store.clone()).await;
        let followed = beside.store.changes_since(&id("acme"), have).await;
        let mut results = vec![loaded];
        if place.ends_with(".*") || *place == "team.team_id" {
            // A key that can't be read names nothing: only a load can tell.
            assert_eq!(followed.unwrap(), Changes::Reload, "{sql}");
        } else if !place.starts_with("resource_attributes") {
            // Attributes are no part of a delta.
            results.push(followed.map(|_| ()));
        }
        for result in results {
            let Err(StoreError::Inconsistent { table, column, .. }) = &result else {
                panic!("{sql}: {result:?}");
            };
            assert_eq!(format!("{table}.{column}"), *place, "{sql}: {result:?}");
        }
        // The rest of the store goes on.
        let mut other = everything();
        let Some(EntityChange::Put(Entity::Account(account))) = other.first_mut() else {
            panic!("everything begins with the account");
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
async fn an_unreadable_id_that_is_gone_again_is_no_obstacle() {
    let mut beside = beside().await;
    let have = beside.head().await;
    beside
        .run(
            "INSERT INTO team VALUES ('acme', CAST(x'ff' AS TEXT), NULL);
             DELETE FROM team WHERE team_id = CAST(x'ff' AS TEXT)",
        )
        .await
        .unwrap();
    let followed = beside.store.changes_since(&id("acme"), have).await;
    assert_eq!(followed.unwrap(), Changes::Reload);
    load(&*beside.store, "acme", true).await;
}

/// What rows that were taken out of the log told is not known, so it is never taken for nothing.
#[tokio::test]
async fn a_log_that_lost_rows_is_not_followed_in_steps() {
    let mut beside = beside().await;
    let have = beside.head().await;
    beside
        .run("BEGIN; DELETE FROM user_grant; DELETE FROM change_log; COMMIT")
        .await
        .unwrap();
    assert_ne!(beside.head().await, have, "the write was not numbered");
    let followed = beside.store.changes_since(&id("acme"), have).await;
    assert_eq!(followed.unwrap(), Changes::Reload);
}
