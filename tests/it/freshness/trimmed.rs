//! The change log is trimmed by age under running replicas.

use std::sync::Arc;
use std::time::Duration;

use ambit::clock::{Clock as _, ManualClock, SystemClock};
use ambit::graph_cache::Consistency;
use ambit::retention::Retention;
use tokio_util::sync::CancellationToken;

use super::{Following, until};
use crate::database::Database;
use crate::directory::{Replica, entities, fresh_graph, id, put_user};

const DAY: Duration = Duration::from_secs(86_400);

/// Several replicas trim at once. One that is behind the trim loads
/// anew, one that is not follows on, and both are right.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_behind_the_trim_reloads_and_any_other_follows_on() {
    const WRITES: usize = 30;
    let database = Database::new();
    let writing = Replica::open(&database).await;
    let behind = Replica::open(&database).await;
    let beside = Replica::open(&database).await;
    let account = id("acme");
    writing.make_account("acme").await;
    let ask = async |replica: &Replica| {
        let consistency = Consistency::FullyConsistent;
        replica.graphs.read(&account, &consistency).await.unwrap()
    };
    ask(&behind).await;
    for n in 0..WRITES {
        let write = vec![put_user(&format!("u{n}"))];
        writing.apply("acme", write).await.unwrap();
    }
    ask(&beside).await;

    // What was written up to here is older than a day, and what comes is not.
    let clock = ManualClock::at(SystemClock::new().now());
    clock.advance(DAY);
    let clock = Arc::new(clock);
    let ending = CancellationToken::new();
    let _trimming = Following(ending.clone());
    for replica in [&writing, &behind] {
        let store = Arc::clone(&replica.store);
        let batches = database.open_batches().await;
        let retention = Retention::new(store, batches, clock.clone(), DAY, 400 * DAY);
        tokio::spawn(retention.run(ending.clone()));
    }
    until("the log is trimmed", async || {
        let first = writing.store.nonce_at(&account, 1).await;
        first.unwrap().is_none()
    })
    .await;
    writing.apply("acme", vec![put_user("last")]).await.unwrap();
    for (replica, reloads) in [(&behind, 1), (&beside, 0)] {
        let read = ask(replica).await;
        let (fresh, head) = fresh_graph(&writing.store, "acme").await;
        assert_eq!(read.head, head);
        assert_eq!(entities(&read.graph), entities(&fresh));
        assert_eq!(replica.graphs.reloads_begun(), reloads);
    }
}
