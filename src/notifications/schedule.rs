//! When a delivery that failed is attempted again.

use std::time::Duration;

/// The bound of the first wait; the wait itself is anywhere below, so five seconds on average.
const FIRST: Duration = Duration::from_secs(10);

/// Each bound is so many times the one before.
const GROWTH: u32 = 3;

/// The greatest bound.
const MOST: Duration = Duration::from_secs(4 * 60 * 60);

/// With these bounds, almost two days on average and always more than one.
const ATTEMPTS_MAX: u32 = 30;

/// Longest that a receiver can ask us to wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// The wait after so many attempts that failed; `None`: it is given up.
///
/// Full jitter: any time below the bound, so that what failed together doesn't come back together.
pub fn wait_after(
    attempts: u32,
    random: [u8; 16],
    retry_after: Option<Duration>,
) -> Option<Duration> {
    if attempts >= ATTEMPTS_MAX {
        return None;
    }
    let growth = GROWTH.saturating_pow(attempts.saturating_sub(1));
    let bound = FIRST.saturating_mul(growth).min(MOST);
    let [a, b, c, d, ..] = random;
    let part = f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX);
    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    Some(bound.mul_f64(part).max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::{Randomness as _, SeededRandomness};

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn waits_begin_at_about_five_seconds_grow_to_hours_and_end_after_a_day() {
        let randomness = SeededRandomness::new(20_261_122);
        let mut firsts = Duration::ZERO;
        let mut longest = Duration::ZERO;
        for _ in 0..1_000 {
            let mut whole = Duration::ZERO;
            for attempts in 1.. {
                let random = randomness.bytes().unwrap();
                let Some(wait) = wait_after(attempts, random, None) else {
                    break;
                };
                if attempts == 1 {
                    firsts += wait;
                }
                longest = longest.max(wait);
                whole += wait;
            }
            assert!(whole > DAY, "given up after {whole:?}");
            assert!(whole < 4 * DAY, "given up after {whole:?}");
        }
        let first = firsts / 1_000;
        let about = Duration::from_secs(4)..Duration::from_secs(6);
        assert!(about.contains(&first), "{first:?}");
        assert!(longest > MOST / 2 && longest <= MOST, "{longest:?}");
    }

    #[test]
    fn jitter_is_full_and_a_receiver_is_waited_for_within_a_bound() {
        let seconds = Duration::from_secs;
        assert_eq!(wait_after(1, [0; 16], None), Some(Duration::ZERO));
        assert_eq!(wait_after(1, [0xff; 16], None), Some(seconds(10)));
        assert_eq!(wait_after(3, [0xff; 16], None), Some(seconds(90)));
        assert_eq!(wait_after(29, [0xff; 16], None), Some(MOST));
        assert_eq!(wait_after(30, [0xff; 16], None), None);
        assert_eq!(wait_after(u32::MAX, [0; 16], None), None);
        let asked = |asked| wait_after(2, [0; 16], Some(asked));
        assert_eq!(asked(seconds(120)), Some(seconds(120)));
        assert_eq!(asked(Duration::MAX), Some(RETRY_AFTER_MAX));
        let more = wait_after(1, [0xff; 16], Some(seconds(3)));
        assert_eq!(more, Some(seconds(10)), "our own wait is longer");
    }
}
