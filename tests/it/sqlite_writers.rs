//! Writers beside an open store: the `sqlite3` shell where it exists, and connections of their own
//! with foreign keys off. They are noticed, followed, and held to the rules.

mod access_requests;
mod audited;
mod followed;
mod rules;
mod unreadable;

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
