//! Waits between attempts, longer with each failure in a row.

use std::time::Duration;

use crate::clock::Clock;

/// Waits after the first failure and after many of them.
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
}

impl Backoff {
    /// Doubles with each failure in a row (counted from 1), plus up to a half, so that replicas
    /// don't come back in step. The part comes from the clock's low digits: random enough to
    /// spread replicas out, and no secret hangs on it.
    pub fn after(&self, failures: u32, clock: &dyn Clock) -> Duration {
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
        let backoff = Backoff {
            first: Duration::from_millis(50),
            most: Duration::from_secs(1),
        };
        let clock = ManualClock::at(Timestamp::MIN);
        let mut last = Duration::ZERO;
        for failures in 1..=40 {
            let wait = backoff.after(failures, &clock);
            assert!(wait >= last, "{failures}: {wait:?} < {last:?}");
            last = wait;
        }
        assert_eq!(last, backoff.most);
        clock.advance(Duration::from_nanos(999));
        let spread = backoff.after(40, &clock);
        assert!(spread > backoff.most);
        assert!(spread <= backoff.most.mul_f64(1.5));
    }
}
