//! How far the clock of the database is from this machine's.
//!
//! No answer depends on it: what is followed is numbered, and ages are taken from a clock that
//! nobody sets. But what is granted for a time ends by the wall clock of the server that is asked, so
//! servers whose clocks differ disagree for as long as they differ. They all are compared with the
//! one clock that they share.

use std::time::Duration;

use super::Ground;
use crate::authz::model::Timestamp;

/// Between looks at whether somebody has set this machine's clock.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Between measurements while nobody has.
const MEASURE_INTERVAL: Duration = Duration::from_secs(10);

/// From here on the operator is told.
const WORRYING: Duration = Duration::from_secs(1);

/// The wall clock and the one that nobody sets drift apart by less than this between two looks.
const JUMP_MICROS: u64 = 100_000;

pub(super) struct SkewWatch {
    ground: Ground,
}

impl SkewWatch {
    pub(super) fn new(ground: Ground) -> Self {
        Self { ground }
    }

    /// Runs until it is dropped; at an end only where the database has no clock of its own.
    pub(super) async fn run(&self) {
        let clock = &self.ground.clock;
        let mut worried = false;
        loop {
            let (measured_at, offset) = (clock.monotonic(), self.offset());
            match self.measure().await {
                Ok(None) => return,
                Ok(Some(skew)) => worried = self.tell(skew, worried),
                // Whether the database answers is the poll's to tell.
                Err(_away) => self.ground.status.set_clock_skew(None),
            }
            loop {
                tokio::time::sleep(LOOK_INTERVAL).await;
                let is_due = clock.monotonic().saturating_sub(measured_at) >= MEASURE_INTERVAL;
                if is_due || self.offset().abs_diff(offset) > JUMP_MICROS {
                    break;
                }
            }
        }
    }

    /// What the wall clock is ahead of the monotonic one, in microseconds: the same for as long as
    /// nobody sets it.
    fn offset(&self) -> i64 {
        let clock = &self.ground.clock;
        ahead(clock.now(), clock.monotonic())
    }

    /// Microseconds by which the database is ahead. Its clock was read at some moment of the round
    /// trip; what that leaves unknown is not counted as a difference.
    async fn measure(&self) -> Result<Option<i64>, super::FeedError> {
        let clock = &self.ground.clock;
        let asked_at = clock.monotonic();
        let answer = self.ground.in_time(self.ground.store.clock()).await?;
        let took = clock.monotonic().saturating_sub(asked_at);
        Ok(answer.map(|theirs| between(clock.now(), theirs, took)))
    }

    fn tell(&self, skew_micros: i64, worried: bool) -> bool {
        let status = &self.ground.status;
        status.set_clock_skew(Some(seconds(skew_micros)));
        let worrying = u128::from(skew_micros.unsigned_abs()) >= WORRYING.as_micros();
        if worrying && !worried {
            tracing::warn!(
                skew_seconds = seconds(skew_micros),
                "the clock of the database and this machine's differ: what is granted for a time ends by this machine's; look at its time service"
            );
        } else if worried && !worrying {
            tracing::info!("the clocks of the database and this machine agree again");
        }
        worrying
    }
}

/// Theirs minus ours, given how long ago, at most, theirs was read.
fn between(ours: Timestamp, theirs: Timestamp, took: Duration) -> i64 {
    let took = micros(took);
    let apart = theirs.unix_micros().saturating_sub(ours.unix_micros());
    // Read just now they are `apart`, read at the beginning `took` more.
    if apart > 0 {
        apart
    } else {
        apart.saturating_add(took).min(0)
    }
}

fn ahead(wall: Timestamp, monotonic: Duration) -> i64 {
    wall.unix_micros().saturating_sub(micros(monotonic))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Exact up to 2^53 microseconds, which are centuries.
#[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 16: a slow answer is no difference of clocks, and hides none that is larger.
    #[test]
    fn what_the_round_trip_leaves_unknown_is_no_difference() {
        let at = |seconds: i64| Timestamp::from_unix_micros(seconds * 1_000_000).unwrap();
        let took = Duration::from_secs(3);
        // Ours is read when the answer is there, theirs up to three seconds before.
        for (theirs, apart) in [
            (100, 0),
            (98, 0),
            (97, 0),
            (96, -1_000_000),
            (101, 1_000_000),
            (3_700, 3_600_000_000),
            (-3_503, -3_600_000_000),
        ] {
            assert_eq!(between(at(100), at(theirs), took), apart, "{theirs}");
        }
        assert_eq!(
            between(Timestamp::MAX, at(0), Duration::ZERO),
            -Timestamp::MAX.unix_micros()
        );
    }
}
