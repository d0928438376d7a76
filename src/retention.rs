//! Keeps the change log and the audit as long as they are configured to be, and no longer; and what
//! bulks of assignments did as long as it can be undone.
//!
//! Every replica runs this loop; what one has trimmed, the next finds gone. Steps are small, so
//! that no writer waits for one. A failure is no harm: the log is a little longer until the next
//! attempt.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::authz::model::Timestamp;
use crate::clock::Clock;
use crate::store::batches::{BATCH_AGE_MAX_S, BatchStore};
use crate::store::{Store, StoreError};

/// Revisions, or records of the audit, that one step removes at most.
pub const STEP_REVISIONS: u32 = 500;

/// Between two looks at a log that is short enough.
const INTERVAL: Duration = Duration::from_secs(10);

/// Between two steps of a log that is too long: most of the time is left to others.
const STEP_INTERVAL: Duration = Duration::from_millis(100);

/// A step that takes longer is given up.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Retention {
    store: Arc<dyn Store>,
    batches: Arc<dyn BatchStore>,
    clock: Arc<dyn Clock>,
    age_max: Duration,
    audit_age_max: Duration,
}

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database did not answer in time")]
    Timeout,
}

impl Retention {
    /// Keeps revisions for `age_max` after they were followed by another, and records of the audit
    /// for `audit_age_max`; bulks of assignments for [`BATCH_AGE_MAX_S`].
    pub fn new(
        store: Arc<dyn Store>,
        batches: Arc<dyn BatchStore>,
        clock: Arc<dyn Clock>,
        age_max: Duration,
        audit_age_max: Duration,
    ) -> Self {
        Self {
            store,
            batches,
            clock,
            age_max,
            audit_age_max,
        }
    }

    /// Runs until told to end.
    pub async fn run(self, ending: CancellationToken) {
        ending
            .run_until_cancelled(async {
                let mut failures = 0_u32;
                loop {
                    match self.round().await {
                        Ok((revisions, records)) => {
                            failures = 0;
                            if revisions > 0 || records > 0 {
                                tracing::debug!(revisions, records, "the change log and the audit were trimmed");
                            }
                        }
                        Err(error) => {
                            failures = failures.saturating_add(1);
                            if failures == 1 {
                                tracing::warn!(error = %error, "the change log and the audit could not be trimmed");
                            }
                        }
                    }
                    tokio::time::sleep(self.spread(INTERVAL)).await;
                }
            })
            .await;
    }

    /// Removes what is too old; answers how many revisions, and how many records of the audit.
    async fn round(&self) -> Result<(u64, u64), StepError> {
        let store = &self.store;
        let history = |before| store.trim_history(before, STEP_REVISIONS);
        let revisions = self.trim(self.age_max, history).await?;
        let batches = |before| self.batches.trim_batches(before, STEP_REVISIONS);
        self.trim(Duration::from_secs(BATCH_AGE_MAX_S), batches)
            .await?;
        let audit = |before| store.trim_audit(before, STEP_REVISIONS);
        Ok((revisions, self.trim(self.audit_age_max, audit).await?))
    }

    /// Removes what is older, step by step; answers how much.
    async fn trim<Step>(
        &self,
        age_max: Duration,
        step: impl Fn(Timestamp) -> Step,
    ) -> Result<u64, StepError>
    where
        Step: Future<Output = Result<u64, StoreError>>,
    {
        let mut trimmed = 0;
        // Nothing can be older than the calendar begins.
        let Some(before) = earlier(self.clock.now(), age_max) else {
            return Ok(0);
        };
        loop {
            let step = step(before);
            let removed = tokio::time::timeout(STEP_TIMEOUT, step)
                .await
                .map_err(|_elapsed| StepError::Timeout)??;
            trimmed += removed;
            if removed < u64::from(STEP_REVISIONS) {
                return Ok(trimmed);
            }
            tokio::time::sleep(STEP_INTERVAL).await;
        }
    }

    /// Up to a half longer, so that replicas don't trim in step.
    fn spread(&self, wait: Duration) -> Duration {
        let part = self.clock.monotonic().subsec_nanos() % 1_000;
        wait + wait.mul_f64(f64::from(part) / 2_000.0)
    }
}

fn earlier(now: Timestamp, by: Duration) -> Option<Timestamp> {
    let by = i64::try_from(by.as_micros()).ok()?;
    Timestamp::from_unix_micros(now.unix_micros().checked_sub(by)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_counts_back_from_now_and_never_past_the_calendar() {
        let now = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
        let day = Duration::from_secs(86_400);
        assert_eq!(
            earlier(now, day),
            Some(Timestamp::parse("2026-11-21T12:00:00Z").unwrap())
        );
        assert_eq!(earlier(Timestamp::MIN, day), None);
        assert_eq!(earlier(now, Duration::MAX), None);
    }
}
