//! Notifications make the feed fast and carry nothing: what the line tells is followed at once, and
//! what it doesn't tell is found all the same.

use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::feed::{FeedMode, FeedStatus};
use ambit::graph_cache::{CacheLimits, Consistency, GraphCache};
use ambit::store::{Head, Heartbeat, Notification};

use super::held::{HeldStore, Line};
use super::{followed, until};
use crate::database::Database;
use crate::directory::{LIMITS, Replica, id, put_user};

/// So rarely that nothing here is found by the poll as it is configured.
const RARELY: Duration = Duration::from_secs(3_600);

/// Wide enough that the poll of a feed without notifications is as rare as that.
const WIDE: CacheLimits = CacheLimits {
    staleness_bound: Duration::from_secs(72_000),
    ..LIMITS
};

fn changed(account: &str, revision: u64) -> Notification {
    Notification::Changed {
        account: id(account),
        revision,
    }
}

async fn seen(graphs: &GraphCache, account: &str) -> Head {
    let consistency = Consistency::MinimizeLatency;
    let read = graphs.read(&id(account), &consistency).await;
    read.unwrap().head
}

/// Waits until notifications arrive, and until the comparison that a new line asks for is over, so
/// that none is still to come.
async fn listening(status: &FeedStatus) {
    until("notifications arrive", async || {
        status.mode() == FeedMode::Notify && status.passes() > 1
    })
    .await;
}

/// Nothing else could have told: the poll comes once an hour, and an account that is not announced
/// stays as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_announced_is_followed_at_once() {
    let database = Database::new();
    let writing = Replica::open(&database).await;
    let (store, _hold) = HeldStore::open(&database).await;
    store.set_line(Line::Alive);
    for account in ["acme", "other"] {
        writing.make_account(account).await;
    }
    let (graphs, _feed, status) = followed(store.clone(), WIDE, RARELY);
    listening(&status).await;
    let before = seen(&graphs, "other").await;
    seen(&graphs, "acme").await;
    for n in 0..20 {
        let users = vec![put_user(&format!("u{n}"))];
        let head = writing.apply("acme", users.clone()).await.unwrap().head;
        writing.apply("other", users).await.unwrap();
        store.say(&changed("acme", head.unwrap().revision));
        until("it is seen", async || {
            Some(seen(&graphs, "acme").await) == head
        })
        .await;
    }
    assert_eq!(seen(&graphs, "other").await, before);
}

/// A line that no longer delivers is told by its heartbeats, and after the next one stands
/// everything is compared: what was lost meanwhile is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_line_that_went_dead_is_given_up_and_what_it_lost_is_found() {
    let database = Database::new();
    let writing = Replica::open(&database).await;
    let (store, _hold) = HeldStore::open(&database).await;
    store.set_line(Line::Alive);
    let before = writing.make_account("acme").await;
    let (graphs, _feed, status) = followed(store.clone(), WIDE, RARELY);
    listening(&status).await;
    assert_eq!(seen(&graphs, "acme").await, before);
    assert_eq!(status.reconnects(), 0);

    store.set_line(Line::Dead);
    let written = writing.apply("acme", vec![put_user("lost")]).await;
    let head = written.unwrap().head.unwrap();
    store.say(&changed("acme", head.revision));
    // The control: the fault bites, for the feed still believes in the line.
    assert_eq!(status.mode(), FeedMode::Notify);
    assert_eq!(seen(&graphs, "acme").await, before);
    until("the line is given up", async || {
        status.mode() == FeedMode::Poll
    })
    .await;
    assert!(status.reconnects() > 0);
    store.set_line(Line::Alive);
    listening(&status).await;
    until("what was lost is found", async || {
        seen(&graphs, "acme").await == head
    })
    .await;
}

/// reliability.md case 8 in small: behind a pooler nothing ever arrives. The poll makes up for it by
/// coming often enough for the bound, whatever interval is configured for a database that notifies.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_8_without_notifications_the_poll_shortens_and_the_bound_holds() {
    let database = Database::new();
    let writing = Replica::open(&database).await;
    let (store, _hold) = HeldStore::open(&database).await;
    store.set_line(Line::Dead);
    writing.make_account("acme").await;
    let (graphs, _feed, status) = followed(store, LIMITS, RARELY);
    until("the line is given up", async || status.reconnects() > 0).await;
    assert_eq!(status.mode(), FeedMode::Poll);
    seen_soon(&graphs, &writing, 10).await;
}

async fn seen_soon(graphs: &GraphCache, writing: &Replica, times: usize) {
    for n in 0..times {
        let users = vec![put_user(&format!("n{n}"))];
        let head = writing.apply("acme", users).await.unwrap().head.unwrap();
        let committed = SystemClock::new();
        until("it is seen", async || {
            let consistency = Consistency::MinimizeLatency;
            let read = graphs.read(&id("acme"), &consistency).await;
            read.is_ok_and(|read| read.head == head)
        })
        .await;
        assert!(committed.monotonic() <= LIMITS.staleness_bound);
    }
}

/// reliability.md case 9 in small: anyone may write to the channel. Announcements of what never was,
/// of accounts that nobody asks for, and things that are none of Ambit's cost next to nothing, and
/// what is true is followed in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_9_a_flood_of_junk_costs_no_queries_and_hides_nothing() {
    const JUNK: u64 = 100_000;
    let database = Database::new();
    let writing = Replica::open(&database).await;
    let (store, _hold) = HeldStore::open(&database).await;
    store.set_line(Line::Alive);
    writing.make_account("acme").await;
    let (graphs, _feed, status) = followed(store.clone(), WIDE, RARELY);
    listening(&status).await;
    seen(&graphs, "acme").await;
    let before = graphs.catch_ups_begun();
    let begun = SystemClock::new();
    for n in 0..JUNK {
        store.say(&Notification::Foreign);
        store.say(&changed("acme", u64::MAX - n));
        store.say(&changed(&format!("nobody-{n}"), n));
        store.say(&Notification::Heartbeat(Heartbeat {
            sender: n.to_be_bytes(),
            sequence: n,
        }));
    }
    until("all is taken", async || status.foreign() == JUNK).await;
    let took = begun.monotonic();
    let asked = graphs.catch_ups_begun() - before;
    // One question for each tenth of a second at most, and the first.
    let at_most = 2 + took.as_millis() / 100;
    assert!(u128::from(asked) <= at_most, "{asked} in {took:?}");
    assert_eq!(graphs.loads_begun(), 1);
    assert_eq!(status.mode(), FeedMode::Notify, "its own heartbeats came");

    let written = writing.apply("acme", vec![put_user("true")]).await;
    let head = written.unwrap().head.unwrap();
    until("what is true is believed again", async || {
        store.say(&changed("acme", head.revision));
        seen(&graphs, "acme").await == head
    })
    .await;
}
