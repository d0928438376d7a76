//! What breaks on the connection for notifications alone costs latency, never the bound.

use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::wire;

use super::by_soak;
use super::replica::{Replica, until};
use super::scene::{ACCOUNT, BOUND, Scene, follow, view};
use crate::grpc::server::{check, grant, put_user};
use crate::postgres::cluster;
use crate::postgres::proxy::{Flow, Which};

const NOTIFICATIONS: &str = "ambit_feed_notifications_total{of=\"account\"}";
const RECONNECTS: &str = "ambit_feed_reconnects_total";

/// The control of all of them: where nothing is broken, notifications arrive, and they are what
/// tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_broken_notifications_tell() {
    let scene = Scene::new().await;
    let mut sql = scene.sql().await;
    scene.reader.until_listening().await;
    assert_eq!(scene.proxy.count(Which::Listening), 1);
    let before = scene.reader.metric(NOTIFICATIONS).await;
    for round in 0..10 {
        let took = scene.toggle(&mut sql, round % 2 == 1).await;
        println!("visible after {took:?}");
    }
    assert!(scene.reader.metric(NOTIFICATIONS).await >= before + 10.0);
    assert!(scene.reader.listens().await);
}

/// A half-open connection: nothing arrives, and nothing says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_5_a_blackholed_connection_for_notifications_is_made_up_for_by_polling() {
    let scene = Scene::new().await;
    let mut sql = scene.sql().await;
    scene.reader.until_listening().await;
    let before = scene.reader.metric(NOTIFICATIONS).await;
    scene.proxy.set(Which::Listening, Flow::Blackhole);
    for allowed in [false, true, false] {
        scene.toggle(&mut sql, allowed).await;
    }
    // The control: the fault bites. The commits were told, and nobody heard.
    assert_eq!(scene.reader.metric(NOTIFICATIONS).await, before);
    assert!(scene.proxy.swallowed() > 0);
    scene.reader.until_polling().await;
    for allowed in [true, false] {
        scene.toggle(&mut sql, allowed).await;
    }
    scene.proxy.set(Which::Listening, Flow::Pass);
    scene.reader.until_listening().await;
    scene.toggle(&mut sql, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_6_a_reset_of_the_connection_for_notifications_loses_nothing() {
    let scene = Scene::new().await;
    let mut sql = scene.sql().await;
    for round in 0..by_soak(3, 30) {
        scene.reader.until_listening().await;
        let before = scene.reader.metric(RECONNECTS).await;
        // The control: there was one to cut.
        assert_eq!(scene.proxy.reset(Which::Listening), 1);
        scene.toggle(&mut sql, round % 2 == 1).await;
        until("the cut was noticed", async || {
            scene.reader.metric(RECONNECTS).await > before
        })
        .await;
    }
}

/// The connection ends every fifth of a second, by its server and by the network in turn, while
/// others write: it comes back ever more rarely, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_7_a_connection_that_ends_again_and_again_makes_no_storm_and_loses_nothing() {
    const USERS: usize = 20;
    let scene = Scene::new().await;
    let mut sql = scene.sql().await;
    scene.reader.until_listening().await;
    let names: Vec<String> = (0..USERS).map(|n| format!("w{n}")).collect();
    let users = names.iter().map(|name| put_user(name, None)).collect();
    scene.writer.apply(ACCOUNT, users).await.unwrap();
    let opened = scene.proxy.opened();
    let mut cuts = 0;
    let mut allowed = [false; USERS];
    let lasting = by_soak(Duration::from_secs(8), Duration::from_secs(60));
    let begun = SystemClock::new();
    let mut round = 0;
    while begun.monotonic() < lasting {
        let user = round % USERS;
        allowed[user] = !allowed[user];
        let level = match allowed[user] {
            true => wire::Level::Everything,
            false => wire::Level::None,
        };
        let write = vec![grant(&names[user], "contact", "view", level)];
        scene.writer.apply(ACCOUNT, write).await.unwrap();
        if round % 2 == 0 {
            cuts += scene.proxy.close(Which::Listening);
        } else {
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE query LIKE 'LISTEN%' AND datname = current_database()";
            cuts += usize::try_from(sql.run(cut).await).unwrap();
        }
        round += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let last = SystemClock::new();
    for (name, allowed) in names.iter().zip(allowed) {
        let question = || wire::CheckRequest {
            user_id: name.clone(),
            ..check(ACCOUNT, "c")
        };
        loop {
            let asked_at = last.monotonic();
            match scene.reader.check(question()).await {
                Ok(answer) if answer == allowed => break,
                Ok(_) => assert!(asked_at <= BOUND, "{name} is stale after {asked_at:?}"),
                Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable),
            }
        }
    }
    // The control: it was cut more than once. And no storm: the waits double up to ten seconds.
    println!("{cuts} cuts in {round} rounds");
    assert!(cuts >= 3, "{cuts}");
    let doublings = 6 + lasting.as_secs() / 10;
    assert!(u64::try_from(cuts).unwrap() <= 2 * doublings, "{cuts}");
    assert!(scene.proxy.opened() - opened <= 4 * doublings + 10);
    scene.reader.until_listening().await;
}

/// Behind a pooler in transaction mode LISTEN succeeds, and nothing ever comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_8_behind_a_pooler_polling_alone_keeps_the_bound() {
    let scene = Scene::new().await;
    let mut sql = scene.sql().await;
    scene.proxy.set(Which::All, Flow::Mute);
    let url = cluster::url(scene.proxy.port(), &scene.database);
    let reader = Replica::start(&url).await;
    assert!(reader.check(view()).await.unwrap());
    let mut slowest = Duration::ZERO;
    for round in 0..by_soak(10, 100) {
        let allowed = round % 2 == 1;
        sql.set(allowed).await;
        let committed = SystemClock::new();
        slowest = slowest.max(follow(&reader, allowed, &committed).await);
    }
    println!("slowest {slowest:?}");
    until("the self-test failed", async || {
        reader.metric(RECONNECTS).await > 0.0
    })
    .await;
    assert!(!reader.listens().await);
    assert_eq!(reader.metric(NOTIFICATIONS).await, 0.0);
    // The control: they were sent.
    assert!(scene.proxy.muted() > 0);
}

/// The must-show of the Postgres store: everything is being reconnected, and a plain SQL writer
/// takes a right away in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_written_while_the_server_is_reconnected_is_honoured_within_the_bound() {
    let scene = Scene::new().await;
    let mut sql = scene.sql().await;
    for round in 0..by_soak(6, 20) {
        scene.reader.until_listening().await;
        // The control: there was something to cut, the queries' connections too.
        assert!(scene.proxy.reset(Which::All) >= 2);
        if round % 3 == 2 {
            scene.proxy.refuse(true);
        }
        sql.set(false).await;
        let committed = SystemClock::new();
        if round % 3 == 2 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            scene.proxy.refuse(false);
        }
        let took = follow(&scene.reader, false, &committed).await;
        println!("round {round}: {took:?}");
        scene.toggle(&mut sql, true).await;
    }
}
