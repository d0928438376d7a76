//! The poll: what carries correctness.
//!
//! A pass asks who the database is, then the store's probe whether anything was committed, and if
//! so compares the heads of all cached accounts. Once a second it compares even where the probe
//! says nothing, so that a probe that lies costs latency and not truth.
//!
//! An error or a hanging query drops the probe. The loop backs off, makes another, and compares
//! everything before it trusts that one: what happened in between was seen by nobody.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backoff::Backoff;
use super::catch_ups::CatchUps;
use super::{FeedError, Ground};
use crate::authz::model::Id;
use crate::store::{ChangeProbe, Head};

/// A comparison of all heads is never further away than this.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);

/// Accounts whose heads are asked for in one query.
const HEADS_AT_ONCE: usize = 1_000;

/// Between passes that fail.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(50),
    most: Duration::from_secs(1),
};

pub(super) struct Poll {
    ground: Ground,
    catch_ups: CatchUps,
    interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    /// Those that the feed does not vouch for: new ones, and those that were behind.
    Uncovered,
}

impl Poll {
    pub(super) fn new(ground: Ground, catch_ups: CatchUps, interval: Duration) -> Self {
        Self {
            ground,
            catch_ups,
            interval,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(&mut self) {
        let mut failures = 0;
        loop {
            let error = self.follow(&mut failures).await;
            failures += 1;
            self.ground
                .status
                .failed_passes
                .fetch_add(1, Ordering::SeqCst);
            let wait = BACKOFF.after(failures, self.ground.clock.as_ref());
            if failures == 1 {
                tracing::warn!(error = %error, "the store can't be followed; reads end at the staleness bound");
            } else {
                tracing::debug!(error = %error, failures, "the store still can't be followed");
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Follows with one probe until something fails.
    async fn follow(&mut self, failures: &mut u32) -> FeedError {
        let ground = self.ground.clone();
        let mut probe = match ground.in_time(ground.store.change_probe()).await {
            Ok(probe) => probe,
            Err(error) => return error,
        };
        // What was committed before the probe was made is nothing that it reports.
        let mut compare_at = ground.clock.monotonic();
        loop {
            let begun_at = ground.clock.monotonic();
            if let Err(error) = self.pass(probe.as_mut(), &mut compare_at, begun_at).await {
                return error;
            }
            ground.graphs.set_verified_at(begun_at);
            ground.status.passes.fetch_add(1, Ordering::SeqCst);
            if std::mem::take(failures) > 0 {
                tracing::info!("the store is followed again");
            }
            // A comparison of very many accounts takes at most half of the time.
            let took = ground.clock.monotonic().saturating_sub(begun_at);
            let pause = ground.interval(self.interval).max(took);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = ground.compare_now.notified() => compare_at = begun_at,
            }
        }
    }

    async fn pass(
        &mut self,
        probe: &mut dyn ChangeProbe,
        compare_at: &mut Duration,
        begun_at: Duration,
    ) -> Result<(), FeedError> {
        let ground = self.ground.clone();
        // First who answers, then what: heads of another database are compared with no graph of
        // this one.
        let is_another = ground.in_time(ground.graphs.verify_identity()).await?;
        let changed = ground.in_time(probe.changed()).await?;
        let uncovered = ground.graphs.take_uncovered();
        let scope = if changed || is_another || begun_at >= *compare_at {
            Scope::All
        } else if uncovered {
            Scope::Uncovered
        } else {
            return Ok(());
        };
        if let Err(error) = self.compare(scope).await {
            ground.graphs.note_uncovered();
            return Err(error);
        }
        if scope == Scope::All {
            *compare_at = begun_at + COMPARE_INTERVAL;
        }
        Ok(())
    }

    /// Compares the heads of cached accounts with the store's.
    async fn compare(&mut self, scope: Scope) -> Result<(), FeedError> {
        let ground = &self.ground;
        let mut cached = ground.graphs.cached();
        if scope == Scope::Uncovered {
            cached.retain(|live| !live.is_covered());
        } else {
            self.catch_ups.keep_only(&cached);
        }
        for some in cached.chunks(HEADS_AT_ONCE) {
            let ids: Vec<Id> = some.iter().map(|live| live.id().clone()).collect();
            let summaries = ground.in_time(ground.store.heads(&ids)).await?;
            let heads: HashMap<Id, Head> = summaries
                .into_iter()
                .map(|summary| (summary.id, summary.head))
                .collect();
            for live in some {
                match heads.get(live.id()) {
                    Some(head) if *head == live.head() => live.set_covered(true),
                    Some(_) => {
                        // Covered again when a later pass finds the heads equal: see INVARIANT
                        // (coverage).
                        ground.graphs.uncover(live);
                        self.catch_ups.differs(live);
                    }
                    None => {
                        tracing::info!(account = %live.id(), "account is gone from the store");
                        ground.graphs.forget(live.id()).await;
                    }
                }
            }
        }
        Ok(())
    }
}
