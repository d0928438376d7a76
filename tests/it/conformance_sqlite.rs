//! The contract of `store_contract` on the embedded store, and what is this store's own: the file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use ambit::store::audit::Author;
use ambit::store::sqlite::SqliteStore;
use ambit::store::{Changes, Store, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::store_contract::{Fresh, apply, everything, id, load, run_all, try_apply, user};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_holds_the_contract() {
    run_all(|| async {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        let store = Arc::new(store);
        Fresh {
            outbox: store.clone(),
            tokens: store.clone(),
            segment_jobs: store.clone(),
            partners: store.clone(),
            store,
            kept: Box::new(directory),
        }
    })
    .await;
}

async fn run(directory: &Path, sql: &str) {
    let mut connection = SqliteConnectOptions::new()
        .filename(directory.join("ambit.db"))
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
}

/// The feed relies on it that nothing is read while nothing changes.
#[tokio::test]
async fn the_probe_is_never_in_doubt() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let mut probe = store.change_probe().await.unwrap();
    assert!(!probe.changed().await.unwrap());
    apply(&store, "acme", &everything()).await;
    assert!(probe.changed().await.unwrap());
    assert!(!probe.changed().await.unwrap());
}

#[tokio::test]
async fn what_was_written_is_there_when_opened_again() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("made").join("here");
    let store = SqliteStore::open(&directory).await.unwrap();
    let mode = directory.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "nobody else may read it");
    let identity = store.identity();
    let head = apply(&store, "acme", &everything()).await;
    let written = load(&store, "acme", true).await;
    drop(store);

    let store = SqliteStore::open(&directory).await.unwrap();
    assert_eq!(store.identity(), identity);
    assert_eq!(store.head(&id("acme")).await.unwrap(), Some(head));
    assert_eq!(load(&store, "acme", true).await, written);

    let other = tempfile::tempdir().unwrap();
    let other = SqliteStore::open(other.path()).await.unwrap();
    assert_ne!(other.identity(), identity);
    assert_ne!(other.identity().token_key, identity.token_key);
    let shown = format!("{:?}", other.identity());
    assert!(
        !shown.contains("token_key"),
        "the key is never shown: {shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_that_open_a_new_place_together_agree() {
    let directory = tempfile::tempdir().unwrap();
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let path = directory.path().to_owned();
            tokio::spawn(async move { SqliteStore::open(&path).await.unwrap() })
        })
        .collect();
    let mut stores = Vec::new();
    for store in opening {
        stores.push(store.await.unwrap());
    }
    for (number, store) in stores.iter().enumerate() {
        assert_eq!(store.identity(), stores[0].identity());
        let change = [vec![user(&format!("u{number}"))], everything()].concat();
        apply(store, "acme", &change).await;
    }
    let heads = stores[0].head(&id("acme")).await.unwrap().unwrap();
    assert_eq!(heads.revision, 6);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(directory.path()).await.unwrap());
    run(directory.path(), "PRAGMA user_version = 9999").await;
    let refused = SqliteStore::open(directory.path()).await.map(|_| ());
    let Err(StoreError::Schema(problem)) = refused else {
        panic!("{refused:?}");
    };
    assert!(problem.contains("9999"), "{problem}");
}

#[tokio::test]
async fn a_file_of_something_else_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    run(
        directory.path(),
        "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)",
    )
    .await;
    let before = std::fs::read(directory.path().join("ambit.db")).unwrap();
    let refused = SqliteStore::open(directory.path()).await.map(|_| ());
    assert!(matches!(refused, Err(StoreError::Schema(_))), "{refused:?}");
    assert_eq!(
        std::fs::read(directory.path().join("ambit.db")).unwrap(),
        before
    );

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("ambit.db"),
        "no database at all".repeat(100),
    )
    .unwrap();
    let refused = SqliteStore::open(directory.path()).await.map(|_| ());
    assert!(matches!(refused, Err(StoreError::Schema(_))), "{refused:?}");
}

#[tokio::test]
async fn a_place_that_is_none_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = SqliteStore::open(&file).await.map(|_| ());
    let Err(error @ StoreError::Unavailable(_)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        !error.to_string().contains("file"),
        "no path goes outward: {error}"
    );
}

#[tokio::test]
async fn a_file_that_is_replaced_takes_no_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    apply(&store, "acme", &everything()).await;
    let mut probe = store.change_probe().await.unwrap();
    let (now, away) = (
        directory.path().join("ambit.db"),
        directory.path().join("away.db"),
    );
    let refused = |result: Result<(), StoreError>| {
        assert!(
            matches!(result, Err(StoreError::Unavailable(_))),
            "{result:?}"
        );
    };
    std::fs::rename(&now, &away).unwrap();
    refused(try_apply(&store, "acme", &[user("u")]).await.map(|_| ()));
    std::fs::copy(&away, &now).unwrap();
    refused(try_apply(&store, "acme", &[user("u")]).await.map(|_| ()));
    refused(
        store
            .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
            .await
            .map(|_| ()),
    );
    refused(probe.changed().await.map(|_| ()));
    refused(store.clock().await.map(|_| ()));
    std::fs::rename(&away, &now).unwrap();
    apply(&store, "acme", &[user("u")]).await;
    assert!(probe.changed().await.unwrap());
}

/// The log is kept for so many revisions; the oldest go little by little, and who has fallen
/// behind them reloads.
#[tokio::test]
async fn the_log_is_trimmed() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let first = apply(&store, "acme", &everything()).await;
    // A revision for each row, as a plain writer takes them.
    run(
        directory.path(),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50010)
            INSERT INTO user_seat SELECT 'acme', 'us1', 'seat-' || i FROM n",
    )
    .await;
    let behind = store.changes_since(&id("acme"), first).await.unwrap();
    assert_eq!(behind, Changes::Reload);
    let nonce = store.nonce_at(&id("acme"), 1).await.unwrap();
    assert_eq!(nonce, Some(first.nonce), "only a write of our own trims");
    let have = store.head(&id("acme")).await.unwrap().unwrap();
    apply(&store, "acme", &[user("u")]).await;
    assert_eq!(store.nonce_at(&id("acme"), 1).await.unwrap(), None);
    assert_eq!(store.nonce_at(&id("acme"), 11).await.unwrap(), None);
    assert!(store.nonce_at(&id("acme"), 12).await.unwrap().is_some());
    let recent = store.changes_since(&id("acme"), have).await.unwrap();
    assert!(matches!(recent, Changes::Delta { .. }), "{recent:?}");
}
