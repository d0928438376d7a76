//! The contract of `store_contract` on Postgres, and what is this store's own: the server, the
//! schema, who may come in.

use std::sync::Arc;
use std::time::Duration;

use ambit::authz::model::EntityChange;
use ambit::clock::{Clock as _, SystemClock};
use ambit::store::audit::Author;
use ambit::store::postgres::{OpenError, OpenOptions, PostgresStore};
use ambit::store::{Heartbeat, Notification, Store, StoreError};
use sqlx::Row as _;

use crate::postgres::cluster::{Cluster, Database, connect, execute};
use crate::store_contract::{
    Fresh, account, apply, everything, id, load, run_all, try_apply, user,
};

mod upgraded;

const OPEN: OpenOptions = OpenOptions {
    migrate: true,
    connections_max: 8,
};

async fn open(database: &Database) -> PostgresStore {
    PostgresStore::open(database.url(), OPEN).await.unwrap()
}

async fn run(database: &Database, sql: &str) {
    execute(database.url().to_owned(), sql.to_owned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_holds_the_contract() {
    run_all(|| async {
        let database = Database::empty();
        let store = open(&database).await;
        let store = Arc::new(store);
        Fresh {
            outbox: store.clone(),
            tokens: store.clone(),
            segment_jobs: store.clone(),
            partners: store.clone(),
            store,
            kept: Box::new(database),
        }
    })
    .await;
}

async fn refused(url: &str, open: OpenOptions) -> OpenError {
    match PostgresStore::open(url, open).await {
        Ok(_) => panic!("a store that should have been refused"),
        Err(error) => error,
    }
}

/// The text of an error and of all that caused it: what a log would hold.
fn logged(error: &OpenError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_that_migrate_an_empty_database_together_agree() {
    let database = Database::empty();
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let url = database.url().to_owned();
            tokio::spawn(async move { PostgresStore::open(&url, OPEN).await.unwrap() })
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
    let head = stores[0].head(&id("acme")).await.unwrap().unwrap();
    assert_eq!(head.revision, 6);
    let other = Database::empty();
    assert_ne!(open(&other).await.identity(), stores[0].identity());
}

#[tokio::test]
async fn an_empty_database_is_left_alone_where_migrating_was_not_asked_for() {
    let database = Database::empty();
    let as_it_is = OpenOptions {
        migrate: false,
        ..OPEN
    };
    let error = refused(database.url(), as_it_is).await;
    assert!(error.to_string().contains("ambit migrate"), "{error}");
    assert!(!error.is_transient());
    let row = sqlx::query("SELECT count(*) FROM pg_namespace WHERE nspname = 'ambit'")
        .fetch_one(&mut connect(database.url()).await)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 0);
    PostgresStore::migrate(database.url()).await.unwrap();
    let store = PostgresStore::open(database.url(), as_it_is).await.unwrap();
    apply(&store, "acme", &everything()).await;
}

/// `reliability.md`, case 19: a version works on a newer schema as long as that says so, and no
/// longer, at its start as well as while it runs.
#[tokio::test]
async fn case_19_a_newer_schema_is_used_while_it_is_compatible() {
    let database = Database::empty();
    let store = open(&database).await;
    run(
        &database,
        "UPDATE ambit.store_identity SET schema_version = 9999",
    )
    .await;
    store.refresh_identity().await.unwrap();
    apply(&open(&database).await, "acme", &everything()).await;
    run(
        &database,
        "UPDATE ambit.store_identity SET compatible_from = 9999",
    )
    .await;
    let error = refused(database.url(), OPEN).await;
    assert!(
        matches!(&error, OpenError::Store(StoreError::Schema(problem)) if problem.contains("9999")),
        "{error}"
    );
    let running = store.refresh_identity().await;
    assert!(matches!(running, Err(StoreError::Schema(_))), "{running:?}");
}

/// `reliability.md`, case 20: one clear line, without the password, and no second try where that
/// would change nothing.
#[tokio::test]
async fn case_20_who_is_refused_is_told_why_and_no_password() {
    let cluster = Cluster::start_with(&[("password_encryption", "scram-sha-256")]);
    let url = cluster.make_database("kept");
    execute(
        url.clone(),
        "CREATE ROLE guarded LOGIN PASSWORD 'right horse'".to_owned(),
    )
    .await;
    cluster.require_password();
    let port = cluster.port();
    let of = |rest: &str| format!("postgres://guarded:s3cr%20et@127.0.0.1:{port}/{rest}");
    let fine = format!("postgres://guarded:right%20horse@127.0.0.1:{port}/kept");
    // The control: with the right password only the schema is missing.
    let as_it_is = OpenOptions {
        migrate: false,
        ..OPEN
    };
    let error = refused(&fine, as_it_is).await;
    assert!(error.to_string().contains("ambit migrate"), "{error}");
    let cases = [
        (of("kept"), "wrong user or password"),
        (
            format!("postgres://guarded:right%20horse@127.0.0.1:{port}/s3cr"),
            "no database of that name",
        ),
        (
            format!("postgres://guarded:right%20horse@127.0.0.1:{port}/kept?sslmode=require"),
            "no TLS",
        ),
        (of("kept?passwrd=s3cr"), "parameter that is not known"),
        (of("kept?sslmode=s3cr"), "can't be read"),
        ("mysql://u:s3cr@host/kept".to_owned(), "must begin with"),
        (
            "postgres://u:s3cr@host:notaport/kept".to_owned(),
            "can't be read",
        ),
    ];
    for (url, expected) in cases {
        let error = refused(&url, OPEN).await;
        assert!(error.to_string().contains(expected), "{url}: {error}");
        assert!(!error.is_transient(), "{url}: {error}");
        let all = logged(&error);
        for secret in ["s3cr", "right", "guarded"] {
            assert!(!all.contains(secret), "{url}: {all}");
        }
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
    // A server that can't be reached may come back.
    cluster.stop();
    let error = refused(&fine, OPEN).await;
    assert!(error.is_transient(), "{error}");
    assert!(!logged(&error).contains("right"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_refused_until_it_is_promoted() {
    let primary = Cluster::start();
    let url = primary.make_database("kept");
    let store = PostgresStore::open(&url, OPEN).await.unwrap();
    apply(&store, "acme", &everything()).await;
    let standby = Cluster::standby_of(&primary);
    let error = refused(&standby.url("kept"), OPEN).await;
    assert!(error.is_transient(), "it may be promoted: {error}");
    standby.promote();
    let promoted = PostgresStore::open(&standby.url("kept"), OPEN)
        .await
        .unwrap();
    // The same rows under another name: tokens of the old timeline are not taken for its own.
    assert_eq!(
        load(&promoted, "acme", false).await.1,
        load(&store, "acme", false).await.1
    );
    assert_ne!(promoted.identity().epoch, store.identity().epoch);
    assert_eq!(promoted.identity().token_key, store.identity().token_key);
}

#[tokio::test]
async fn what_is_committed_and_sent_arrives_and_what_is_foreign_is_told_as_such() {
    let database = Database::empty();
    let store = open(&database).await;
    let mut channel = store.notifications().await.unwrap().unwrap();
    let heartbeat = Heartbeat {
        sender: [1, 2, 3, 4, 5, 6, 7, 255],
        sequence: 17,
    };
    let head = apply(&store, "acme", &everything()).await;
    run(&database, "NOTIFY ambit, 'r one acme'").await;
    store.send_heartbeat(heartbeat).await.unwrap();
    store
        .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
        .await
        .unwrap();
    let changed = |revision| Notification::Changed {
        account: id("acme"),
        revision,
    };
    for expected in [
        changed(head.revision),
        Notification::Foreign,
        Notification::Heartbeat(heartbeat),
        changed(0),
    ] {
        assert_eq!(channel.next().await.unwrap(), expected);
    }
    let usage = store.notification_queue_usage().await.unwrap().unwrap();
    assert!((0.0..0.5).contains(&usage), "{usage}");
    // The end of the connection is an error, never silence.
    run(
        &database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    )
    .await;
    assert!(channel.next().await.is_err());
}

/// Who gives a call up in the middle leaves nothing locked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_writer_that_is_faster_is_a_conflict() {
    let database = Database::empty();
    let store = open(&database).await;
    apply(&store, "acme", &everything()).await;
    // A plain writer inserts a row and commits only after our write has read what is there.
    let mut plain = connect(database.url()).await;
    sqlx::raw_sql("BEGIN; INSERT INTO ambit.app_user (account_id, user_id) VALUES ('acme', 'new')")
        .execute(&mut plain)
        .await
        .unwrap();
    let writing = {
        let store = store.clone();
        tokio::spawn(async move { try_apply(&store, "acme", &[user("new")]).await })
    };
    // Until our write waits for the row.
    let mut watcher = connect(database.url()).await;
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut watcher)
        .await
        .unwrap();
        if waiting > 0 {
            break;
        }
        assert!(!writing.is_finished(), "nothing was waited for");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut plain).await.unwrap();
    let conflict = writing.await.unwrap();
    assert!(
        matches!(conflict, Err(StoreError::Conflict)),
        "{conflict:?}"
    );
    // What it did is rolled back: the next one finds the plain writer's state and none of its own.
    let head = store.head(&id("acme")).await.unwrap().unwrap();
    assert_eq!(head.revision, 2);
    assert_eq!(apply(&store, "acme", &[user("new")]).await, head);
}

/// `reliability.md`, case 4: a server that hangs costs each call its bound and no more, its
/// connections are given up, and it is worked with again at once when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_04_a_server_that_hangs_costs_a_call_its_bound() {
    let cluster = Cluster::start();
    let url = cluster.make_database("kept");
    let store = PostgresStore::open(&url, OPEN).await.unwrap();
    apply(&store, "acme", &everything()).await;
    store.clock().await.unwrap();
    cluster.pause();
    let begun = SystemClock::new();
    let acme = id("acme");
    let (clock, head) = tokio::join!(store.clock(), store.head(&acme));
    let took = begun.monotonic();
    cluster.resume();
    for answer in [clock.map(|_| ()), head.map(|_| ())] {
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
    }
    assert!(took < Duration::from_secs(9), "{took:?}");
    let resumed = SystemClock::new();
    while store.clock().await.is_err() {
        assert!(resumed.monotonic() < Duration::from_secs(5), "still away");
    }
    apply(&store, "acme", &[user("after")]).await;
}

/// `reliability.md`, case 15: after a failover some connections may still lead to the server of
/// before. When the database says that it is another one, none of them is used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_15_a_database_that_became_another_one_is_reached_by_new_connections_only() {
    let database = Database::empty();
    let store = open(&database).await;
    let mut plain = connect(database.url()).await;
    let mut servers = async || -> Vec<i32> {
        let sql = "SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'ambit' ORDER BY pid";
        let rows = sqlx::query(sql).fetch_all(&mut plain).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let work = async || {
        apply(&store, "acme", &everything()).await;
        load(&store, "acme", false).await;
        store.clock().await.unwrap();
    };
    work().await;
    let before = store.refresh_identity().await.unwrap();
    let old = servers().await;
    assert!(old.len() >= 2, "{old:?}");
    // The control: as long as it is the same one, so are its connections.
    assert_eq!(store.refresh_identity().await.unwrap(), before);
    work().await;
    let kept = servers().await;
    assert!(old.iter().all(|server| kept.contains(server)), "{kept:?}");

    run(
        &database,
        "UPDATE ambit.store_identity SET epoch = '\\x0102030405060708'",
    )
    .await;
    let after = store.refresh_identity().await.unwrap();
    assert_ne!(after.epoch, before.epoch);
    let renewed = SystemClock::new();
    while servers().await.iter().any(|server| kept.contains(server)) {
        assert!(renewed.monotonic() < Duration::from_secs(20), "still used");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    work().await;
}

/// Accounts that a plain writer holds, as many as there are connections for writes and more, hold
/// up no write to another, and are written to once they are let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_are_held_hold_up_no_other() {
    let database = Database::empty();
    let store = Arc::new(open(&database).await);
    let held: Vec<String> = (0..10).map(|n| format!("held{n}")).collect();
    for name in &held {
        let account = ambit::authz::model::Entity::Account(account(name));
        apply(&*store, name, &[EntityChange::Put(account)]).await;
    }
    apply(&*store, "acme", &everything()).await;
    let mut holder = connect(database.url()).await;
    sqlx::raw_sql(
        "BEGIN;
        INSERT INTO ambit.app_user (account_id, user_id)
            SELECT account_id, 'u' FROM ambit.account WHERE account_id LIKE 'held%';
        SELECT ambit.transaction_token('held0')",
    )
    .execute(&mut holder)
    .await
    .unwrap();
    let waiting: Vec<_> = held
        .iter()
        .map(|name| {
            let (store, name) = (Arc::clone(&store), name.clone());
            tokio::spawn(async move { try_apply(&*store, &name, &[user("v")]).await })
        })
        .collect();
    for n in 0..3 {
        apply(&*store, "acme", &[user(&format!("n{n}"))]).await;
    }
    for refused in waiting {
        let refused = refused.await.unwrap();
        assert!(
            matches!(
                refused,
                Err(StoreError::Conflict | StoreError::Unavailable(_))
            ),
            "a held account was written to: {refused:?}"
        );
    }
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut holder)
        .await
        .unwrap();
    apply(&*store, "held0", &[user("v")]).await;
}
