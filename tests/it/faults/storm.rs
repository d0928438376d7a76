//! Many callers ask at once for an account that is not in memory.

use std::sync::Arc;
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use tokio::task::JoinSet;
use tonic::Code;

use super::by_soak;
use super::replica::Replica;
use super::scene::{ACCOUNT, Scene, view};

/// The longest load, as this server is told.
const LOAD: Duration = Duration::from_secs(2);

/// How all of so many checks ended: allowed, and refused as unavailable.
async fn storm(replica: &Arc<Replica>, callers: usize) -> (usize, usize) {
    let mut asked = JoinSet::new();
    for _ in 0..callers {
        let replica = Arc::clone(replica);
        asked.spawn(async move { replica.check(view()).await });
    }
    let (mut allowed, mut refused) = (0, 0);
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            Ok(answer) => {
                assert!(answer, "the user may view it");
                allowed += 1;
            }
            Err(status) => {
                assert!(
                    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
                    "{status:?}"
                );
                refused += 1;
            }
        }
    }
    (allowed, refused)
}

/// reliability.md case 23: one load for all of them; one that fails fails those who wait for it, in
/// time, and nobody after them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_23_a_storm_on_a_cold_account_is_one_load() {
    let scene = Scene::alone().await;
    let mut sql = scene.sql().await;
    let resources = by_soak(20_000, 300_000);
    let made = format!(
        "INSERT INTO ambit.resource (account_id, resource_type, resource_id)
            SELECT 'acme', 'contact', 'm' || n FROM generate_series(1, {resources}) AS n"
    );
    assert_eq!(sql.run(&made).await, resources);
    let callers = by_soak(1_000, 10_000);
    let url = scene.cluster.url(&scene.database);
    let start = async || {
        let load = LOAD.as_millis().to_string();
        let more = [
            "--load-timeout-ms",
            &load,
            "--cache-bytes-max",
            "1073741824",
        ];
        Arc::new(Replica::start_with(&url, &more).await)
    };

    let replica = start().await;
    assert_eq!(storm(&replica, callers).await, (callers, 0));
    let loads = replica.metric("ambit_graph_loads_total").await;
    assert!((loads - 1.0).abs() < 0.5, "{loads} loads of {ACCOUNT}");

    // A load that hangs (the rows of the account are locked away) holds up its waiters for its own
    // time and no longer, and leaves nothing behind.
    let replica = start().await;
    sql.run("BEGIN").await;
    sql.run("LOCK TABLE ambit.app_user IN ACCESS EXCLUSIVE MODE")
        .await;
    let begun = SystemClock::new();
    assert_eq!(storm(&replica, callers).await, (0, callers));
    let took = begun.monotonic();
    assert!(took < LOAD * 4, "{took:?}");
    // The control: they did wait for that load.
    assert!(took >= LOAD / 2, "{took:?}");
    sql.run("ROLLBACK").await;
    assert_eq!(storm(&replica, callers).await, (callers, 0));
    sql.close().await;
}
