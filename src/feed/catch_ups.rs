//! Lets accounts catch up beside the loops, so that a slow one holds up no other.
//!
//! At most one catch-up of an account runs; what comes while it runs makes it look once more when
//! it is done. So the memory is bounded by the cached accounts, whatever is announced.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use crate::authz::model::Id;
use crate::clock::Clock;
use crate::graph_cache::{GraphCache, LiveAccount, ReadError};

/// Accounts that ask the store what changed at a time.
const AT_ONCE: usize = 8;

/// Between catch-ups of an account that can't be brought to the store's head.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    most: Duration::from_secs(5),
};

/// How long announcements of an account are not believed after one that was not true: anyone who
/// may connect to the database may write to the channel. The poll goes on meanwhile.
const FALSE_ALARM: Duration = Duration::from_millis(100);

/// Cheap to clone; all clones are the same catch-ups.
#[derive(Clone)]
pub(super) struct CatchUps {
    inner: Arc<Inner>,
}

struct Inner {
    graphs: GraphCache,
    clock: Arc<dyn Clock>,
    permits: Semaphore,
    accounts: Mutex<HashMap<Id, Progress>>,
    tasks: TaskTracker,
    ending: CancellationToken,
    seconds: metrics::Histogram,
}

/// Of an account that runs, fails, or was announced wrongly.
#[derive(Default)]
struct Progress {
    runs: bool,
    /// Announced while it ran.
    again: Option<u64>,
    failures: u32,
    not_before: Duration,
}

impl CatchUps {
    pub(super) fn new(
        graphs: GraphCache,
        clock: Arc<dyn Clock>,
        seconds: metrics::Histogram,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                graphs,
                clock,
                permits: Semaphore::new(AT_ONCE),
                accounts: Mutex::new(HashMap::new()),
                tasks: TaskTracker::new(),
                ending: CancellationToken::new(),
                seconds,
            }),
        }
    }

    /// The poll saw an account stand elsewhere than the store.
    pub(super) fn differs(&self, live: &Arc<LiveAccount>) {
        self.begin(live, None);
    }

    /// A notification told of a revision of an account; 0: it is gone.
    pub(super) async fn announced(&self, account: &Id, revision: u64) {
        let Some(live) = self.inner.graphs.cached_account(account).await else {
            return;
        };
        if revision == 0 {
            self.begin(&live, None);
        } else if live.head().revision < revision {
            self.begin(&live, Some(revision));
        }
    }

    /// Forgets what is known of accounts that are no longer cached.
    pub(super) fn keep_only(&self, cached: &[Arc<LiveAccount>]) {
        let mut accounts = self.inner.lock();
        if accounts.is_empty() {
            return;
        }
        let cached: HashSet<&Id> = cached.iter().map(|live| live.id()).collect();
        let now = self.inner.clock.monotonic();
        accounts.retain(|account, progress| {
            progress.runs
                || (cached.contains(account)
                    && (progress.failures > 0 || now < progress.not_before))
        });
    }

    /// Drops what still runs.
    pub(super) async fn end(&self) {
        self.inner.ending.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn begin(&self, live: &Arc<LiveAccount>, announced: Option<u64>) {
        let now = self.inner.clock.monotonic();
        {
            let mut accounts = self.inner.lock();
            let progress = accounts.entry(live.id().clone()).or_default();
            if progress.runs {
                progress.again = progress.again.max(announced);
                return;
            }
            if now < progress.not_before {
                return;
            }
            progress.runs = true;
        }
        let turn = Turn {
            inner: Arc::clone(&self.inner),
            live: Arc::clone(live),
        };
        let ending = self.inner.ending.clone();
        self.inner.tasks.spawn(async move {
            ending.run_until_cancelled(turn.run(announced, now)).await;
        });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Progress>> {
        // Each change to it is one step; a panic elsewhere can't leave it half made.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one catch-up of an account that runs; gives up its place however it ends.
struct Turn {
    inner: Arc<Inner>,
    live: Arc<LiveAccount>,
}

impl Turn {
    async fn run(self, mut announced: Option<u64>, mut told_at: Duration) {
        loop {
            let before = self.live.head();
            let caught_up = self
                .inner
                .graphs
                .catch_up_followed(&self.live, announced, &self.inner.permits)
                .await;
            let head = self.live.head();
            if head != before {
                let took = self.inner.clock.monotonic().saturating_sub(told_at);
                self.inner.seconds.record(took.as_secs_f64());
            }
            let was_true = head != before || announced.is_none_or(|told| head.revision >= told);
            let again = self.note(caught_up, was_true);
            match again {
                Some(told) if told > self.live.head().revision => {
                    announced = again;
                    told_at = self.inner.clock.monotonic();
                }
                Some(_) | None => return,
            }
        }
    }

    /// What was announced meanwhile, if it is worth another look.
    fn note(&self, caught_up: Result<(), ReadError>, was_true: bool) -> Option<u64> {
        let account = self.live.id();
        let now = self.inner.clock.monotonic();
        let mut accounts = self.inner.lock();
        let progress = accounts.get_mut(account)?;
        let again = progress.again.take();
        match caught_up {
            Ok(()) | Err(ReadError::UnknownAccount(_)) => {
                if std::mem::take(&mut progress.failures) > 0 {
                    tracing::info!(account = %account, "account follows the store again");
                }
                if was_true {
                    return again;
                }
                progress.not_before = now + FALSE_ALARM;
            }
            Err(error) => {
                progress.failures += 1;
                progress.not_before =
                    now + BACKOFF.after(progress.failures, self.inner.clock.as_ref());
                if progress.failures == 1 {
                    tracing::warn!(account = %account, error = %error, "account can't follow the store");
                }
            }
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let now = self.inner.clock.monotonic();
        let mut accounts = self.inner.lock();
        if let Some(progress) = accounts.get_mut(self.live.id()) {
            progress.runs = false;
            if progress.failures == 0 && progress.not_before <= now {
                accounts.remove(self.live.id());
            }
        }
    }
}
