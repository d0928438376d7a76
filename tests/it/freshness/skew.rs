//! Clocks that differ or jump (case 16): measured and told, and nothing else depends on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ambit::authz::model::Timestamp;
use ambit::clock::{Clock, SystemClock};
use ambit::feed::{Feed, FeedStatus};
use ambit::graph_cache::Consistency;
use tokio_util::sync::CancellationToken;

use super::{Following, POLL, read, until};
use crate::database::{Database, Kind, kind};
use crate::directory::{LIMITS, Replica, put_user};

const HOUR_MICROS: i64 = 3_600_000_000;
/// The database is on this machine, so what is measured is what was set, but for a slow answer.
const TOLERANCE: f64 = 5.0;

/// This machine's clock as somebody has set it.
#[derive(Debug, Default)]
struct SetClock {
    system: SystemClock,
    ahead_micros: AtomicI64,
}

impl SetClock {
    fn set(&self, ahead_micros: i64) {
        self.ahead_micros.store(ahead_micros, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_micros.load(Ordering::SeqCst);
        Timestamp::from_unix_micros(self.system.now().unix_micros() + ahead).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }
}

async fn measured(status: &FeedStatus, expected: f64) {
    until("the skew is measured", async || {
        status
            .clock_skew()
            .is_some_and(|skew| (skew - expected).abs() < TOLERANCE)
    })
    .await;
}

/// An hour ahead, an hour behind, and set while it runs: on PostgreSQL it is measured against the
/// database's clock. What is followed and what tokens are good for stays as it was, and nothing goes
/// round faster or stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_16_a_clock_that_is_off_or_jumps_is_told_and_breaks_nothing() {
    let database = Database::new();
    let clock = Arc::new(SetClock::default());
    let reading = Replica::with(&database, clock.clone(), LIMITS).await;
    let feed = Feed::new(
        Arc::clone(&reading.store),
        reading.graphs.clone(),
        clock.clone(),
        POLL,
        metrics::Histogram::noop(),
    );
    let status = feed.status();
    let ending = CancellationToken::new();
    tokio::spawn(feed.run(ending.clone()));
    let _feed = Following(ending);

    let writing = Replica::open(&database).await;
    let mut tokens = vec![(0, writing.make_account("acme").await)];
    for (turn, ahead) in [0, HOUR_MICROS, -HOUR_MICROS, 0].into_iter().enumerate() {
        clock.set(ahead);
        if kind() == Kind::Postgres {
            #[expect(clippy::cast_precision_loss, reason = "hours in microseconds")]
            let skew = -(ahead as f64) / 1e6;
            measured(&status, skew).await;
        }
        let write = vec![put_user(&format!("u{turn}"))];
        let head = writing.apply("acme", write).await.unwrap().head.unwrap();
        tokens.push((ahead, head));
        // The tokens of all the times before, too.
        for (made_at, head) in &tokens {
            let token = Consistency::AtLeastAsFresh(writing.token("acme", *head));
            let seen = read(&reading, "acme", token).await;
            assert!(seen.is_ok(), "a token of {made_at} at {ahead}: {seen:?}");
        }
        let seen = read(&reading, "acme", Consistency::FullyConsistent).await;
        assert_eq!(seen.unwrap(), head);
        let (before, began) = (status.passes(), clock.monotonic());
        until("passes go on", async || status.passes() >= before + 3).await;
        let most = (clock.monotonic() - began).as_micros() / POLL.as_micros() + 2;
        let passes = u128::from(status.passes() - before);
        assert!(passes <= most, "{passes} passes where {most} are due");
    }
    assert_eq!(status.failed_passes(), 0);
    // The control: without a machine of its own the database has no clock to differ from.
    if kind() == Kind::Sqlite {
        assert_eq!(status.clock_skew(), None);
    }
}
