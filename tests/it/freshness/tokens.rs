//! Read your write: the token of a write brings its effect, on any replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ambit::authz::model::Level;
use ambit::graph_cache::Consistency;

use super::read;
use crate::database::Database;
use crate::directory::{Replica, grant, id, put_user, view};

/// reliability.md section 2 row 4, case 12: a check with the token of a write sees the write, on a
/// replica that nothing else brings up to date. The control without a token is stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_4_case_12_a_check_with_the_token_of_a_write_is_never_stale() {
    const WRITERS: usize = 8;
    const READERS_A_WRITER: usize = 2;
    const WRITES: usize = 25;

    let database = Database::new();
    let writing = Arc::new(Replica::open(&database).await);
    let reading = Arc::new(Replica::open(&database).await);
    writing.make_account("acme").await;
    let users = (0..WRITERS).map(|n| put_user(&format!("w{n}"))).collect();
    let start = writing.apply("acme", users).await.unwrap().head.unwrap();
    let cold = read(&reading, "acme", Consistency::MinimizeLatency).await;
    assert_eq!(cold.unwrap(), start);

    let checks = Arc::new(AtomicU64::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (writing, reading) = (Arc::clone(&writing), Arc::clone(&reading));
        let checks = Arc::clone(&checks);
        writers.spawn(async move {
            let user = format!("w{writer}");
            for n in 0..WRITES {
                let allowed = n % 2 == 0;
                let level = allowed.then_some(Level::Everything);
                let applied = writing.apply("acme", vec![grant(&user, level)]).await;
                let token = writing.token("acme", applied.unwrap().head.unwrap());
                let readers: Vec<_> = (0..READERS_A_WRITER)
                    .map(|_| {
                        let (reading, user) = (Arc::clone(&reading), user.clone());
                        tokio::spawn(async move {
                            let consistency = Consistency::AtLeastAsFresh(token);
                            let read = reading.graphs.read(&id("acme"), &consistency).await;
                            view(&read.unwrap().graph, &user, "c1").is_allow()
                        })
                    })
                    .collect();
                for reader in readers {
                    assert_eq!(reader.await.unwrap(), allowed, "{user}, write {n}");
                    checks.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(checks.load(Ordering::SeqCst), 8 * 2 * 25);

    // The control: without a token nothing tells this replica, which has no feed, of a write.
    let before = read(&reading, "acme", Consistency::FullyConsistent).await;
    writing
        .apply("acme", vec![grant("w0", None), put_user("late")])
        .await
        .unwrap();
    let stale = read(&reading, "acme", Consistency::MinimizeLatency).await;
    assert_eq!(stale.unwrap(), before.unwrap());
}
