//! When a call is tried again: only what is safe to repeat, only while no answer came, at growing
//! intervals, and only as long as retries are few beside calls.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;
use tower::retry::backoff::{ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _};
use tower::retry::budget::{Budget as _, TpsBudget};
use tower::util::rng::HasherRng;

use super::error::ClientError;

/// How often and how soon a call is tried again.
///
/// Reads are repeated, and writes that have an idempotency key; nothing else is, and nothing is after
/// an answer. What makes a call worth repeating is a connection that broke or could not be made,
/// UNAVAILABLE, and RESOURCE_EXHAUSTED that says when to come back; where the server says when, no
/// try comes earlier.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Tries of a call, the first one included.
    pub tries_max: u32,
    /// Wait before the second try; doubles with each further one, and is spread by up to its whole.
    pub first_wait: Duration,
    /// Longest wait, unless the server asks for a longer one.
    pub longest_wait: Duration,
    /// Retries for each call of the last ten seconds, all calls of the client taken together, so
    /// that a server in trouble is not met with several times its load; between 0 and 1.
    pub budget_ratio: f32,
    /// Retries a second that are granted beside that, for clients that call rarely.
    pub budget_floor_per_second: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries_max: 4,
            first_wait: Duration::from_millis(50),
            longest_wait: Duration::from_secs(2),
            budget_ratio: 0.2,
            budget_floor_per_second: 3,
        }
    }
}

impl RetryPolicy {
    /// Every call is tried once.
    pub fn never() -> Self {
        Self {
            tries_max: 1,
            ..Self::default()
        }
    }
}

/// How long a call counts for the budget.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Whether a call may be carried out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A read, or a write with an idempotency key.
    Safe,
    /// A write without one.
    Never,
}

impl Repeat {
    pub fn of_key(key: &str) -> Self {
        if key.is_empty() {
            Self::Never
        } else {
            Self::Safe
        }
    }
}

/// A policy at work.
pub struct Retries {
    tries_max: u32,
    waits: ExponentialBackoffMaker,
    budget: Arc<TpsBudget>,
}

impl std::fmt::Debug for Retries {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Retries")
            .field("tries_max", &self.tries_max)
            .finish_non_exhaustive()
    }
}

impl Retries {
    pub fn new(policy: &RetryPolicy) -> Result<Self, ClientError> {
        let wrong = |what: &str| ClientError::Configuration(format!("the retry policy: {what}"));
        if !(0.0..=1.0).contains(&policy.budget_ratio) {
            return Err(wrong("`budget_ratio` must be between 0 and 1"));
        }
        if policy.budget_floor_per_second > 1_000_000 {
            return Err(wrong("`budget_floor_per_second` must be at most 1,000,000"));
        }
        let waits = ExponentialBackoffMaker::new(
            policy.first_wait,
            policy.longest_wait,
            1.0,
            HasherRng::default(),
        )
        .map_err(|error| wrong(&error.to_string()))?;
        Ok(Self {
            tries_max: policy.tries_max.max(1),
            waits,
            budget: Arc::new(TpsBudget::new(
                BUDGET_WINDOW,
                policy.budget_floor_per_second,
                policy.budget_ratio,
            )),
        })
    }

    /// Counts a call, which earns its part of a retry.
    pub fn called(&self) {
        self.budget.deposit();
    }

    pub fn waits(&self) -> ExponentialBackoff {
        self.waits.clone().make_backoff()
    }

    /// Whether a call that failed so may be tried once more, after so many tries.
    pub fn again(&self, error: &ClientError, repeat: Repeat, tries: u32) -> bool {
        repeat == Repeat::Safe
            && tries < self.tries_max
            && is_passing(error)
            && self.budget.withdraw()
    }
}

/// Whether the same call may succeed a little later.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable(_) => true,
        ClientError::Refused(refusal) => match refusal.code {
            Code::Unavailable => true,
            Code::ResourceExhausted => refusal.retry_after.is_some(),
            _ => false,
        },
        ClientError::Configuration(_)
        | ClientError::Credential(_)
        | ClientError::Timeout(_)
        | ClientError::Unreadable(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Refusal;

    fn refused(code: Code, retry_after: Option<Duration>) -> ClientError {
        ClientError::Refused(Box::new(Refusal {
            code,
            reason: String::new(),
            message: String::new(),
            field: None,
            retry_after,
        }))
    }

    fn lost() -> ClientError {
        ClientError::Unreachable("reset".to_owned())
    }

    #[tokio::test]
    async fn only_what_is_safe_and_may_pass_is_tried_again() {
        let retries = Retries::new(&RetryPolicy::default()).unwrap();
        let second = Some(Duration::from_secs(1));
        for (error, passes) in [
            (lost(), true),
            (refused(Code::Unavailable, None), true),
            (refused(Code::ResourceExhausted, second), true),
            // Too large a message stays too large.
            (refused(Code::ResourceExhausted, None), false),
            (refused(Code::PermissionDenied, second), false),
            (refused(Code::InvalidArgument, None), false),
            (ClientError::Timeout(Duration::ZERO), false),
            (ClientError::unreadable("no decision"), false),
        ] {
            assert_eq!(retries.again(&error, Repeat::Safe, 1), passes, "{error:?}");
            assert!(!retries.again(&error, Repeat::Never, 1), "{error:?}");
        }
        assert!(retries.again(&lost(), Repeat::Safe, 3));
        assert!(!retries.again(&lost(), Repeat::Safe, 4), "four tries");
    }

    #[tokio::test]
    async fn retries_end_when_their_budget_does() {
        let policy = RetryPolicy {
            budget_floor_per_second: 1,
            budget_ratio: 0.5,
            ..RetryPolicy::default()
        };
        let retries = Retries::new(&policy).unwrap();
        let granted = |retries: &Retries| {
            (0..1_000)
                .filter(|_| retries.again(&lost(), Repeat::Safe, 1))
                .count()
        };
        assert_eq!(granted(&retries), 10, "one a second of ten");
        for _ in 0..40 {
            retries.called();
        }
        let earned = granted(&retries);
        assert!((1..=20).contains(&earned), "{earned} for 40 calls");
    }

    #[test]
    fn a_policy_without_sense_is_refused() {
        for policy in [
            RetryPolicy {
                longest_wait: Duration::from_millis(1),
                ..RetryPolicy::default()
            },
            RetryPolicy {
                budget_ratio: f32::NAN,
                ..RetryPolicy::default()
            },
        ] {
            assert!(Retries::new(&policy).is_err(), "{policy:?}");
        }
    }
}
