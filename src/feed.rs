//! Follows the store: whatever is committed by anyone reaches the cached accounts.
//!
//! Two loops beside each other, for the whole process:
//!
//! - **[The poll](poll)** carries what is promised. Each interval it asks who the database is and
//!   compares the heads of the cached accounts; each that differs catches up. A pass that succeeds
//!   as a whole moves the moment for which the cache vouches. A pass that fails moves nothing, so
//!   reads run into the staleness bound rather than into old answers.
//! - **[The notifications](notify)** make it fast, where the store has any and they arrive: one
//!   that tells of a cached account wakes its catch-up at once. That they arrive is proven by
//!   heartbeats through the database and never assumed; where they don't, the poll goes on alone,
//!   at a shorter interval.
//!
//! A third looks, now and then, [how far the clocks are apart](skew): nothing is followed by it, but
//! what is granted for a time ends by the clock of each server.
//!
//! Both loops hand accounts to the same [catch-ups](catch_ups), which do one at a time of an account.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::graph_cache::GraphCache;
use crate::store::{Store, StoreError};

mod backoff;
mod catch_ups;
mod notify;
mod poll;
mod skew;

pub use backoff::Backoff;
use catch_ups::CatchUps;
use notify::Listener;
use poll::Poll;
use skew::SkewWatch;

/// In poll mode the staleness bound holds that many intervals, so that a few lost ones matter to
/// nobody.
const POLLS_WITHIN_BOUND: u32 = 20;

/// No store is asked more often than this because notifications are away.
const SHORTENED_INTERVAL_MIN: Duration = Duration::from_millis(20);

pub struct Feed {
    poll: Poll,
    listener: Listener,
    skew: SkewWatch,
    catch_ups: CatchUps,
    status: Arc<FeedStatus>,
}

/// How the feed learns of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedMode {
    /// By notifications that are known to arrive, and by polling.
    Notify,
    /// By polling alone.
    Poll,
}

/// What the feed tells of itself, for the operator.
#[derive(Debug)]
pub struct FeedStatus {
    listens: AtomicBool,
    /// Whether the store has notifications, so that their absence is a fault.
    could_listen: AtomicBool,
    reconnects: AtomicU64,
    notifications: AtomicU64,
    foreign: AtomicU64,
    passes: AtomicU64,
    failed_passes: AtomicU64,
    /// The bits of an `f64`; not a number where it is not known.
    queue_usage: AtomicU64,
    /// The same, in seconds.
    clock_skew: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database did not answer within {timeout_ms} ms")]
    Timeout { timeout_ms: u128 },
}

/// What both loops stand on; cheap to clone.
#[derive(Clone)]
struct Ground {
    store: Arc<dyn Store>,
    graphs: GraphCache,
    clock: Arc<dyn Clock>,
    status: Arc<FeedStatus>,
    /// Wakes the poll for a comparison of everything.
    compare_now: Arc<Notify>,
}

impl Feed {
    /// The histogram is told how long catch-ups take, from the news to the graph that has it.
    pub fn new(
        store: Arc<dyn Store>,
        graphs: GraphCache,
        clock: Arc<dyn Clock>,
        poll_interval: Duration,
        catch_up_seconds: metrics::Histogram,
    ) -> Self {
        let status = Arc::new(FeedStatus::default());
        let ground = Ground {
            store,
            graphs,
            clock,
            status: Arc::clone(&status),
            compare_now: Arc::new(Notify::new()),
        };
        let catch_ups = CatchUps::new(
            ground.graphs.clone(),
            Arc::clone(&ground.clock),
            catch_up_seconds,
        );
        Self {
            poll: Poll::new(ground.clone(), catch_ups.clone(), poll_interval),
            skew: SkewWatch::new(ground.clone()),
            listener: Listener::new(ground, catch_ups.clone()),
            catch_ups,
            status,
        }
    }

    pub fn status(&self) -> Arc<FeedStatus> {
        Arc::clone(&self.status)
    }

    /// Runs until told to end. Never fails: what it can't do shows as staleness.
    pub async fn run(self, ending: CancellationToken) {
        let Self {
            mut poll,
            mut listener,
            skew,
            catch_ups,
            status: _,
        } = self;
        ending
            .run_until_cancelled(async { tokio::join!(poll.run(), listener.run(), skew.run()) })
            .await;
        catch_ups.end().await;
    }
}

impl Default for FeedStatus {
    fn default() -> Self {
        Self {
            listens: AtomicBool::new(false),
            could_listen: AtomicBool::new(false),
            reconnects: AtomicU64::new(0),
            notifications: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            passes: AtomicU64::new(0),
            failed_passes: AtomicU64::new(0),
            queue_usage: AtomicU64::new(f64::NAN.to_bits()),
            clock_skew: AtomicU64::new(f64::NAN.to_bits()),
        }
    }
}

impl FeedStatus {
    pub fn mode(&self) -> FeedMode {
        if self.listens.load(Ordering::SeqCst) {
            FeedMode::Notify
        } else {
            FeedMode::Poll
        }
    }

    /// Channels of notifications that were given up, and attempts at one that failed.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::SeqCst)
    }

    /// Notifications that told of an account.
    pub fn notifications(&self) -> u64 {
        self.notifications.load(Ordering::SeqCst)
    }

    /// Notifications that were none of Ambit's.
    pub fn foreign(&self) -> u64 {
        self.foreign.load(Ordering::SeqCst)
    }

    /// Passes of the poll that succeeded.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::SeqCst)
    }

    /// Passes of the poll that the database refused or did not answer in time.
    pub fn failed_passes(&self) -> u64 {
        self.failed_passes.load(Ordering::SeqCst)
    }

    /// How full the database's queue of notifications is, from 0 to 1; `None`: not known.
    pub fn queue_usage(&self) -> Option<f64> {
        let usage = f64::from_bits(self.queue_usage.load(Ordering::SeqCst));
        (!usage.is_nan()).then_some(usage)
    }

    fn set_queue_usage(&self, usage: Option<f64>) {
        let usage = usage.unwrap_or(f64::NAN);
        self.queue_usage.store(usage.to_bits(), Ordering::SeqCst);
    }

    /// Seconds by which the database's clock is ahead of this machine's; `None`: not known, or the
    /// database is on this machine.
    pub fn clock_skew(&self) -> Option<f64> {
        let skew = f64::from_bits(self.clock_skew.load(Ordering::SeqCst));
        (!skew.is_nan()).then_some(skew)
    }

    fn set_clock_skew(&self, skew: Option<f64>) {
        let skew = skew.unwrap_or(f64::NAN);
        self.clock_skew.store(skew.to_bits(), Ordering::SeqCst);
    }

    /// Whether the poll must make up for notifications that should be there and are not.
    fn lacks_notifications(&self) -> bool {
        self.could_listen.load(Ordering::SeqCst) && !self.listens.load(Ordering::SeqCst)
    }
}

impl Ground {
    /// A query that hangs for longer than reads may be stale is as good as failed.
    async fn in_time<T>(
        &self,
        query: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, FeedError> {
        let timeout = self.graphs.limits().staleness_bound;
        match tokio::time::timeout(timeout, query).await {
            Ok(answer) => Ok(answer?),
            Err(_elapsed) => Err(FeedError::Timeout {
                timeout_ms: timeout.as_millis(),
            }),
        }
    }

    /// The poll's interval now, given the configured one.
    fn interval(&self, configured: Duration) -> Duration {
        if self.status.lacks_notifications() {
            let shortened = self.graphs.limits().staleness_bound / POLLS_WITHIN_BOUND;
            configured.min(shortened.max(SHORTENED_INTERVAL_MIN))
        } else {
            configured
        }
    }
}
