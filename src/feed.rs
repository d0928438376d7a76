//! Follows the store: whatever is committed by anyone reaches the cached accounts.
//!
//! One loop for the whole process. It asks the store's probe whether anything was committed, and
//! if so compares the heads of all cached accounts and lets each that differs catch up. Once a
//! second it compares even where the probe says nothing, so that a probe that lies costs latency
//! and not truth. Each pass that succeeds moves the moment for which the cache vouches; a pass that
//! fails moves nothing, so reads run into the staleness bound rather than into old answers.
//!
//! An error or a hanging query drops the probe. The loop backs off, makes another, and compares
//! everything before it trusts that one: what happened in between was seen by nobody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::authz::model::Id;
use crate::clock::Clock;
use crate::graph_cache::{GraphCache, LiveAccount, ReadError};
use crate::store::{ChangeProbe, Head, Store, StoreError};

/// A comparison of all heads is never further away than this.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);

/// Accounts whose heads are asked for in one query.
const HEADS_AT_ONCE: usize = 1_000;

/// Accounts that catch up at a time.
const CATCH_UPS_AT_ONCE: usize = 8;

/// Waits after the first failure in a row and after many of them; each is lengthened by up to a
/// half, so that replicas don't come back in step.
const STORE_BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(50),
    most: Duration::from_secs(1),
};
const ACCOUNT_BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    most: Duration::from_secs(5),
};

pub struct Feed {
    store: Arc<dyn Store>,
    graphs: GraphCache,
    clock: Arc<dyn Clock>,
    poll_interval: Duration,
    catch_ups: JoinSet<(Id, Result<(), ReadError>)>,
    catch_up_permits: Arc<Semaphore>,
    in_flight: HashSet<Id>,
    failing: HashMap<Id, Failing>,
}

/// An account that can't be brought to the store's head, e.g. because its rows are inconsistent.
struct Failing {
    failures: u32,
    not_before: Duration,
}

#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database did not answer within {timeout_ms} ms")]
    Timeout { timeout_ms: u128 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    /// Those that the feed does not vouch for: new ones, and those that were behind.
    Uncovered,
}

impl Feed {
    pub fn new(
        store: Arc<dyn Store>,
        graphs: GraphCache,
        clock: Arc<dyn Clock>,
        poll_interval: Duration,
    ) -> Self {
        Self {
            store,
            graphs,
            clock,
            poll_interval,
            catch_ups: JoinSet::new(),
            catch_up_permits: Arc::new(Semaphore::new(CATCH_UPS_AT_ONCE)),
            in_flight: HashSet::new(),
            failing: HashMap::new(),
        }
    }

    /// Runs until told to end. Never fails: what it can't do shows as staleness.
    pub async fn run(mut self, ending: CancellationToken) {
        ending
            .run_until_cancelled(async {
                let mut failures = 0;
                loop {
                    let error = self.follow(&mut failures).await;
                    failures += 1;
                    let wait = STORE_BACKOFF.after(failures, self.clock.as_ref());
                    if failures == 1 {
                        tracing::warn!(error = %error, "the store can't be followed; reads end at the staleness bound");
                    } else {
                        tracing::debug!(error = %error, failures, "the store still can't be followed");
                    }
                    tokio::time::sleep(wait).await;
                }
            })
            .await;
        self.catch_ups.shutdown().await;
    }

    /// Follows with one probe until something fails.
    async fn follow(&mut self, failures: &mut u32) -> FeedError {
        let mut probe = match self.in_time(self.store.change_probe()).await {
            Ok(probe) => probe,
            Err(error) => return error,
        };
        // What was committed before the probe was made is nothing that it reports.
        let mut compare_at = self.clock.monotonic();
        loop {
            let begun_at = self.clock.monotonic();
            if let Err(error) = self.pass(probe.as_mut(), &mut compare_at, begun_at).await {
                return error;
            }
            self.graphs.set_verified_at(begun_at);
            if std::mem::take(failures) > 0 {
                tracing::info!("the store is followed again");
            }
            // A comparison of very many accounts takes at most half of the time.
            let took = self.clock.monotonic().saturating_sub(begun_at);
            tokio::time::sleep(self.poll_interval.max(took)).await;
        }
    }

    async fn pass(
        &mut self,
        probe: &mut dyn ChangeProbe,
        compare_at: &mut Duration,
        begun_at: Duration,
    ) -> Result<(), FeedError> {
        self.reap();
        let changed = self.in_time(probe.changed()).await?;
        let uncovered = self.graphs.take_uncovered();
        let scope = if changed || begun_at >= *compare_at {
            Scope::All
        } else if uncovered {
            Scope::Uncovered
        } else {
            return Ok(());
        };
        self.compare(scope).await?;
        if scope == Scope::All {
            *compare_at = begun_at + COMPARE_INTERVAL;
        }
        Ok(())
    }

    /// Compares the heads of cached accounts with the store's.
    async fn compare(&mut self, scope: Scope) -> Result<(), FeedError> {
        let mut cached = self.graphs.cached();
        if scope == Scope::Uncovered {
            cached.retain(|live| !live.is_covered());
        } else if !self.failing.is_empty() {
            let still_cached: HashSet<&Id> = cached.iter().map(|live| live.id()).collect();
            self.failing
                .retain(|account, _| still_cached.contains(account));
        }
        for some in cached.chunks(HEADS_AT_ONCE) {
            let ids: Vec<Id> = some.iter().map(|live| live.id().clone()).collect();
            let summaries = self.in_time(self.store.heads(&ids)).await?;
            let heads: HashMap<Id, Head> = summaries
                .into_iter()
                .map(|summary| (summary.id, summary.head))
                .collect();
            for live in some {
                match heads.get(live.id()) {
                    Some(head) if *head == live.head() => live.set_covered(true),
                    Some(_) => self.catch_up(live),
                    None => {
                        tracing::info!(account = %live.id(), "account is gone from the store");
                        self.graphs.forget(live.id()).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets an account catch up beside the loop, so that a slow one holds up no other.
    fn catch_up(&mut self, live: &LiveAccount) {
        // Covered again when a later pass finds the heads equal: see INVARIANT (coverage).
        live.set_covered(false);
        self.graphs.note_uncovered();
        let held_back = self
            .failing
            .get(live.id())
            .is_some_and(|failing| self.clock.monotonic() < failing.not_before);
        if held_back || !self.in_flight.insert(live.id().clone()) {
            return;
        }
        let graphs = self.graphs.clone();
        let permits = Arc::clone(&self.catch_up_permits);
        let account = live.id().clone();
        self.catch_ups.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let caught_up = graphs.catch_up_cached(&account).await;
            (account, caught_up)
        });
    }

    /// Takes note of the catch-ups that are done.
    fn reap(&mut self) {
        while let Some(done) = self.catch_ups.try_join_next() {
            match done {
                Ok((account, caught_up)) => {
                    self.in_flight.remove(&account);
                    self.note(&account, caught_up);
                }
                Err(error) => {
                    tracing::error!(error = %error, "a catch-up ended in a panic");
                    // Which one is not told; a second catch-up of an account only waits its turn.
                    self.in_flight.clear();
                }
            }
        }
    }

    fn note(&mut self, account: &Id, caught_up: Result<(), ReadError>) {
        match caught_up {
            Ok(()) => {
                if self.failing.remove(account).is_some() {
                    tracing::info!(account = %account, "account follows the store again");
                }
            }
            Err(ReadError::UnknownAccount(_)) => {
                self.failing.remove(account);
            }
            Err(error) => {
                let now = self.clock.monotonic();
                let failing = self.failing.entry(account.clone()).or_insert(Failing {
                    failures: 0,
                    not_before: now,
                });
                failing.failures += 1;
                failing.not_before =
                    now + ACCOUNT_BACKOFF.after(failing.failures, self.clock.as_ref());
                if failing.failures == 1 {
                    tracing::warn!(account = %account, error = %error, "account can't follow the store");
                }
            }
        }
    }

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
}

struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// Doubles with each failure in a row (counted from 1), plus a part of the clock's low digits:
    /// random enough to spread replicas out, and no secret hangs on it.
    fn after(&self, failures: u32, clock: &dyn Clock) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let wait = self.first.saturating_mul(1 << doublings).min(self.most);
        let spread = u64::from(clock.monotonic().subsec_nanos()) % 1_000;
        wait + wait.mul_f64(f64::from(u32::try_from(spread).unwrap_or(0)) / 2_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::model::Timestamp;
    use crate::clock::ManualClock;

    #[test]
    fn a_backoff_grows_to_its_bound_and_is_spread_by_at_most_a_half() {
        let clock = ManualClock::at(Timestamp::MIN);
        let mut last = Duration::ZERO;
        for failures in 1..=40 {
            let wait = STORE_BACKOFF.after(failures, &clock);
            assert!(wait >= last, "{failures}: {wait:?} < {last:?}");
            last = wait;
        }
        assert_eq!(last, STORE_BACKOFF.most);
        clock.advance(Duration::from_nanos(999));
        let spread = STORE_BACKOFF.after(40, &clock);
        assert!(spread > STORE_BACKOFF.most);
        assert!(spread <= STORE_BACKOFF.most.mul_f64(1.5));
    }
}
