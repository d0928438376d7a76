//! Anyone who may connect to the database may write to the channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};

use super::by_soak;
use super::replica::until;
use super::scene::Scene;

const FOREIGN: &str = "ambit_feed_notifications_total{of=\"foreign\"}";

/// Junk of every kind that a payload can be: of none of our words, of our words in nonsense, as long
/// as it may be, and announcements of revisions that never were.
const FLOOD: &str = "SELECT pg_notify('ambit', CASE n % 5
        WHEN 0 THEN 'junk ' || n
        WHEN 1 THEN 'r ' || n || ' nobody-' || n
        WHEN 2 THEN 'r ' || 1000000000 + n || ' acme'
        WHEN 3 THEN 'h ' || md5(n::text) || ' ' || n
        ELSE rpad('r -1 ' || n, 7999, 'x') END)
    FROM generate_series(1, 20000) AS n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_9_a_flood_of_junk_on_the_channel_stops_nothing_and_the_bound_holds() {
    let mut scene = Scene::alone().await;
    scene.reader.until_listening().await;
    let lasting = by_soak(Duration::from_secs(6), Duration::from_secs(60));
    let floods = Arc::new(AtomicBool::new(true));
    let flooding = {
        let floods = Arc::clone(&floods);
        let mut sql = scene.sql().await;
        tokio::spawn(async move {
            let mut rounds = 0_u64;
            while floods.load(Ordering::SeqCst) {
                sql.run(FLOOD).await;
                sql.run("NOTIFY ambit").await;
                rounds += 1;
            }
            rounds
        })
    };
    let mut sql = scene.sql().await;
    let catch_ups = "ambit_graph_catch_ups_total";
    let before = scene.reader.metric(catch_ups).await;
    let begun = SystemClock::new();
    let mut slowest = Duration::ZERO;
    let mut toggles = 0.0;
    while begun.monotonic() < lasting {
        slowest = slowest.max(scene.toggle(&mut sql, false).await);
        slowest = slowest.max(scene.toggle(&mut sql, true).await);
        toggles += 2.0;
    }
    let took = begun.monotonic();
    floods.store(false, Ordering::SeqCst);
    let rounds = flooding.await.unwrap();
    let sent = rounds * 20_000;
    println!(
        "{sent} in {took:?}, slowest {slowest:?}, cpu {:?}",
        scene.reader.cpu()
    );
    // The control: it was a flood, and it arrived. Not all of it must: a channel that is seconds
    // behind is given up for a new one, which begins at the end of the queue.
    assert!(sent > 10_000, "{sent}");
    assert!(scene.reader.metric(FOREIGN).await > 1_000.0);
    // Announcements that were not true ask the database ten times a second and no more.
    let asked = scene.reader.metric(catch_ups).await - before;
    let at_most = 3.0 * toggles + 12.0 * took.as_secs_f64() + 10.0;
    assert!(asked <= at_most, "{asked} questions, {at_most} at most");
    // What is over is over, once what lay in sockets is read: no work is left behind.
    until("all of it is read", async || {
        let before = scene.reader.metric(FOREIGN).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        scene
            .reader
            .metric(FOREIGN)
            .await
            .total_cmp(&before)
            .is_eq()
    })
    .await;
    let idle = scene.reader.cpu();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = scene.reader.cpu() - idle;
    assert!(
        idle < Duration::from_secs(1),
        "{idle:?} in two quiet seconds"
    );
    scene.reader.assert_alive();
}
