//! The contract of `store_contract` on the embedded store.

use std::sync::Arc;

use ambit::store::sqlite::SqliteStore;

use crate::store_contract::{Fresh, run_all};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_holds_the_contract() {
    run_all(|| async {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        Fresh {
            store: Arc::new(store),
            kept: Box::new(directory),
        }
    })
    .await;
}
