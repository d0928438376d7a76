//! How old an answer may be: seen in time, or refused.

use std::sync::Arc;
use std::time::Duration;

use ambit::clock::{Clock as _, ManualClock, SystemClock};
use ambit::graph_cache::{CacheLimits, Consistency, ReadError};
use ambit::store::Head;

use super::held::{HeldStore, Hold};
use super::{POLL, followed, following, read, until};
use crate::database::Database;
use crate::directory::{LIMITS, Replica, id, put_user};

/// Without a token, a write of another process is seen by polling, well within the bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_of_another_process_is_seen_within_the_staleness_bound() {
    let database = Database::new();
    let (reading, _feed) = following(&database, LIMITS).await;
    let writing = Replica::open(&database).await;
    writing.make_account("acme").await;
    writing.make_account("idle").await;
    let mut slowest = Duration::ZERO;
    read(&reading, "idle", Consistency::MinimizeLatency)
        .await
        .unwrap();
    read(&reading, "acme", Consistency::MinimizeLatency)
        .await
        .unwrap();
    for n in 0..20 {
        let write = vec![put_user(&format!("a{n}"))];
        let head = writing.apply("acme", write).await.unwrap().head.unwrap();
        let committed = SystemClock::new();
        until("the write is seen", async || {
            // A read that fails would be within the promise, but nothing is wrong here.
            let seen = read(&reading, "acme", Consistency::MinimizeLatency).await;
            seen.unwrap() == head
        })
        .await;
        slowest = slowest.max(committed.monotonic());
    }
    assert!(slowest <= LIMITS.staleness_bound, "{slowest:?}");
    // Seen by the feed alone, change by change: nothing was loaded a second time.
    assert_eq!(reading.graphs.loads_begun(), 2);
}

/// A probe that says nothing costs latency and not truth: heads are compared once a second anyway.
/// And while no probe is to be had at all, nobody is told that the picture is fresh.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_probe_that_is_silent_or_refused_is_no_reason_to_be_stale() {
    let database = Database::new();
    let writing = Replica::open(&database).await;
    writing.make_account("acme").await;
    let (store, hold) = HeldStore::open(&database).await;
    hold.send_replace(Hold::Probes);
    let (graphs, _feed, _status) = followed(store, LIMITS, POLL);
    let account = id("acme");
    let seen = async || {
        let consistency = Consistency::MinimizeLatency;
        graphs
            .read(&account, &consistency)
            .await
            .map(|read| read.head)
    };
    // Within the bound the load itself vouches for what it read; after it nobody does.
    until("nobody vouches", async || {
        matches!(seen().await, Err(ReadError::Stale { .. }))
    })
    .await;
    assert!(!graphs.is_fresh());

    hold.send_replace(Hold::News);
    until("the feed comes back", async || graphs.is_fresh()).await;
    for user in ["a", "b"] {
        let head = writing
            .apply("acme", vec![put_user(user)])
            .await
            .unwrap()
            .head;
        let committed = SystemClock::new();
        until("the write is seen", async || seen().await.ok() == head).await;
        assert!(committed.monotonic() <= LIMITS.staleness_bound);
    }
}

/// reliability.md case 2 in small: the database goes away under a running server. Reads go on up to
/// the bound and not a moment longer; a fully consistent read and a token ahead of the cache never
/// get anything older than they ask for.
#[tokio::test]
async fn case_2_after_a_store_failure_reads_end_exactly_at_the_staleness_bound() {
    let database = Database::new();
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let replica = Replica::with(&database, clock.clone(), LIMITS).await;
    let head = replica.make_account("acme").await;
    let reached = replica.token("acme", head);
    let ahead = replica.token(
        "acme",
        Head {
            revision: head.revision + 1,
            nonce: head.nonce,
        },
    );
    read(&replica, "acme", Consistency::FullyConsistent)
        .await
        .unwrap();
    replica.store.close().await;

    clock.advance(LIMITS.staleness_bound);
    let at_the_bound = read(&replica, "acme", Consistency::MinimizeLatency).await;
    assert_eq!(at_the_bound.unwrap(), head);
    let at_the_bound = read(&replica, "acme", Consistency::AtLeastAsFresh(reached)).await;
    assert_eq!(at_the_bound.unwrap(), head);
    for consistency in [
        Consistency::FullyConsistent,
        Consistency::AtLeastAsFresh(ahead),
    ] {
        let refused = read(&replica, "acme", consistency).await;
        assert!(matches!(refused, Err(ReadError::Store(_))), "{refused:?}");
    }

    clock.advance(Duration::from_millis(1));
    let past = read(&replica, "acme", Consistency::MinimizeLatency).await;
    assert!(
        matches!(
            past,
            Err(ReadError::Stale {
                age_ms: 2_001,
                bound_ms: 2_000
            })
        ),
        "{past:?}"
    );
    // A token sets a lower bound on the revision; it does not lift the bound on the age.
    let past = read(&replica, "acme", Consistency::AtLeastAsFresh(reached)).await;
    assert!(matches!(past, Err(ReadError::Store(_))), "{past:?}");
}

/// The same with the feed: it keeps a quiet account fresh for as long as the store answers, and no
/// longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_feed_keeps_a_quiet_account_fresh_until_the_store_is_gone() {
    let limits = CacheLimits {
        staleness_bound: Duration::from_millis(300),
        ..LIMITS
    };
    let database = Database::new();
    let (replica, _feed) = following(&database, limits).await;
    replica.make_account("acme").await;
    let loads = replica.graphs.loads_begun();
    let quiet = SystemClock::new();
    while quiet.monotonic() < limits.staleness_bound * 4 {
        until("the account is fresh", async || {
            read(&replica, "acme", Consistency::MinimizeLatency)
                .await
                .is_ok()
        })
        .await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(replica.graphs.is_fresh());
    assert_eq!(replica.graphs.loads_begun(), loads);

    replica.store.close().await;
    until("reads fail", async || {
        let read = read(&replica, "acme", Consistency::MinimizeLatency).await;
        matches!(read, Err(ReadError::Stale { .. }))
    })
    .await;
    until("readiness is off", async || !replica.graphs.is_fresh()).await;
}

/// A change after a long quiet makes nobody wait: until the account has caught up, it is as fresh as
/// the feed knew it to be a moment ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_after_a_long_quiet_makes_no_reader_fail() {
    let limits = CacheLimits {
        staleness_bound: Duration::from_secs(1),
        ..LIMITS
    };
    let database = Database::new();
    let writing = Replica::open(&database).await;
    let head = writing.make_account("acme").await;
    let (store, hold) = HeldStore::open(&database).await;
    let (graphs, _feed, _status) = followed(store, limits, POLL);
    let account = id("acme");
    let seen = async || {
        let consistency = Consistency::MinimizeLatency;
        graphs
            .read(&account, &consistency)
            .await
            .map(|read| read.head)
    };
    assert_eq!(seen().await.unwrap(), head);
    let quiet = SystemClock::new();
    until("the quiet is longer than the bound", async || {
        quiet.monotonic() > limits.staleness_bound * 2
    })
    .await;
    assert_eq!(seen().await.unwrap(), head);
    // The account can't catch up now, so the feed sees it behind and no longer vouches for it.
    hold.send_replace(Hold::Changes);
    writing.apply("acme", vec![put_user("a")]).await.unwrap();
    until("the feed has seen the difference", async || {
        graphs.catch_ups_begun() > 1
    })
    .await;
    assert_eq!(seen().await.unwrap(), head, "within the bound");
    // The control: past it, the account is refused for as long as it can't follow.
    until("the bound is over", async || {
        matches!(seen().await, Err(ReadError::Stale { .. }))
    })
    .await;
    hold.send_replace(Hold::Nothing);
    until("it follows again", async || {
        seen().await.is_ok_and(|now| now != head)
    })
    .await;
}
