//! What takes a hand inside the store to bring about.

use sqlx::Connection as _;
use sqlx::migrate::Migrator;

use super::*;
use crate::authz::model::{
    Account, CatalogRef, Entity, EntityChange, PartnerProgram, Resource, Settings, User,
};

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

async fn write(store: &SqliteStore, changes: &[EntityChange]) -> Result<Head, StoreError> {
    let acme = id("acme");
    let expected = store.head(&acme).await.unwrap();
    store
        .apply(Write {
            account: &acme,
            expected,
            changes,
            events: &[],
            batch: None,
            idempotency: None,
            author: &Author::anyone("ApplyChanges"),
        })
        .await
}

fn account() -> EntityChange {
    EntityChange::Put(Entity::Account(Account {
        id: id("acme"),
        catalog: CatalogRef::BuiltIn(id("hubspot")),
        plan: id("enterprise"),
        partner_program: PartnerProgram::None,
        payment_method_valid: true,
        settings: Settings::default(),
    }))
}

fn resources(count: usize) -> Vec<EntityChange> {
    (0..count)
        .map(|number| {
            let resource = Resource {
                key: ResourceKey {
                    resource_type: id("contact"),
                    id: id(&format!("c{number}")),
                },
                owners: [id("u")].into(),
                owning_team: None,
                partitioned: false,
                assignments: [].into(),
            };
            EntityChange::Put(Entity::Resource(resource, None))
        })
        .collect()
}

async fn count(store: &SqliteStore, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(&store.readers)
        .await
        .unwrap()
}

/// `reliability.md`, case 17: nothing of a write that finds the disk full is kept, reading goes
/// on, and so does writing once there is room.
#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let user = EntityChange::Put(Entity::User(User::new(id("u"))));
    let head = write(&store, &[account(), user]).await.unwrap();
    let limit = |pages: i64| {
        let store = store.clone();
        async move {
            let sql = format!("PRAGMA max_page_count = {pages}");
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .fetch_one(&store.writer)
                .await
                .unwrap();
        }
    };
    let pages = count(&store, "PRAGMA page_count").await;
    limit(pages + 10).await;
    let many = resources(20_000);
    let refused = write(&store, &many).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    assert_eq!(store.head(&id("acme")).await.unwrap(), Some(head));
    assert_eq!(count(&store, "SELECT count(*) FROM resource").await, 0);
    assert_eq!(store.nonce_at(&id("acme"), 2).await.unwrap(), None);
    limit(1_000_000).await;
    assert_eq!(write(&store, &many).await.unwrap().revision, 2);
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    assert_eq!(sound, "ok");
}

/// The mark that a transaction sets for the triggers is seen by nobody, whatever becomes of it.
#[tokio::test]
async fn no_mark_of_a_transaction_outlives_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let marked = "SELECT count(*) FROM account_head WHERE writing <> 0";
    let user = EntityChange::Put(Entity::User(User::new(id("u"))));
    write(&store, &[account(), user]).await.unwrap();
    assert_eq!(count(&store, marked).await, 0);
    write(&store, &resources(60_000)).await.unwrap();
    assert_eq!(count(&store, marked).await, 0);
    let gone = User {
        main_team: Some(id("absent")),
        ..User::new(id("v"))
    };
    let refused = write(&store, &[EntityChange::Put(Entity::User(gone))]).await;
    assert!(matches!(refused, Err(StoreError::Constraint { .. })));
    assert_eq!(count(&store, marked).await, 0);
}

/// A file of the version before access requests, whose log is made anew for them.
#[tokio::test]
async fn a_file_of_before_access_requests_is_followed_on() {
    let directory = tempfile::tempdir().unwrap();
    let before = open::MIGRATIONS.iter().filter(|step| step.version < 5);
    let before = Migrator::with_migrations(before.cloned().collect());
    let mut connection = SqliteConnectOptions::new()
        .filename(directory.path().join("ambit.db"))
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    before
        .run_direct(None, &mut connection, false)
        .await
        .unwrap();
    sqlx::raw_sql(
        "PRAGMA application_id = 1634558580; PRAGMA user_version = 4;
        INSERT INTO account (account_id, catalog, plan) VALUES ('acme', 'hubspot', 'enterprise');
        INSERT INTO app_user (account_id, user_id) VALUES ('acme', 'u'), ('acme', 'v')",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let first = Head {
        revision: 1,
        nonce: store.nonce_at(&id("acme"), 1).await.unwrap().unwrap(),
    };
    let told = store.changes_since(&id("acme"), first).await.unwrap();
    let Changes::Delta {
        history, changes, ..
    } = told
    else {
        panic!("the log is kept: {told:?}");
    };
    assert_eq!(history.len(), 2);
    let users = ["u", "v"].map(|name| EntityChange::Put(Entity::User(User::new(id(name)))));
    assert_eq!(changes, users);
    assert_eq!(count(&store, "SELECT count(*) FROM change_log").await, 3);
    // The new kind is logged, and by the new name there is no other table.
    let have = store.head(&id("acme")).await.unwrap().unwrap();
    sqlx::raw_sql(
        "INSERT INTO access_request (account_id, access_request_id, user_id, resource_type, action,
            reason, denied_as, filed_at, expires_at, state)
        VALUES ('acme', 'r1', 'u', 'contact', 'view', 'why', 'NO_PERMISSION', 1, 2, 'pending')",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    let told = store.changes_since(&id("acme"), have).await.unwrap();
    assert!(
        matches!(&told, Changes::Delta { changes, .. }
            if matches!(changes[..], [EntityChange::Put(Entity::AccessRequest(_))])),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    write(&store, &[account()]).await.unwrap();
    store.close().await;
    assert!(
        !directory.path().join("ambit.db-wal").exists(),
        "closing leaves one file"
    );
    let answers = [
        store.head(&id("acme")).await.err(),
        store.clock().await.err(),
        store
            .changes_since(
                &id("acme"),
                Head {
                    revision: 1,
                    nonce: [0; 8],
                },
            )
            .await
            .err(),
    ];
    for answer in answers {
        assert!(
            matches!(answer, Some(StoreError::Unavailable(_))),
            "{answer:?}"
        );
    }
}
