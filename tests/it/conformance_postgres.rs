//! The contract of `store_contract` on Postgres, and what is this store's own: the server, the
//! schema, who may come in.

use std::sync::Arc;
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::store::postgres::{OpenError, OpenOptions, PostgresStore};
use ambit::store::{Heartbeat, Notification, Store, StoreError};
use sqlx::Row as _;

use crate::postgres::cluster::{Cluster, Database, connect, execute};
use crate::store_contract::{Fresh, apply, everything, id, load, run_all, try_apply, user};

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
        Fresh {
            store: Arc::new(store),
            kept: Box::new(database),
        }
    })
    .await;
}
