//! Time as an argument: the one place that asks the system what time it is.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::authz::model::Timestamp;

/// Where the shell gets its time from. Two readings, since they answer two questions: the wall
/// says *when* (it may jump), the monotonic clock says *how long* (it never goes back).
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The moment that grants and assignments are judged at.
    fn now(&self) -> Timestamp;

    /// Time since a fixed origin of this clock; only differences mean anything.
    fn monotonic(&self) -> Duration;
}

/// The clock of the machine.
#[derive(Debug, Clone)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everything else is handed"
    )]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    /// A machine that believes to be before 1970 or after 9999 is at the nearest end: expired
    /// grants stay expired, and no question fails on the clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everything else is handed"
    )]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since_epoch.as_micros())
            .ok()
            .and_then(Timestamp::from_unix_micros)
            .unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that stands still until it is set: for tests and for runs at a given time.
#[derive(Debug)]
pub struct ManualClock {
    reading: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// The monotonic side starts an hour in, so that a test can look back.
    pub fn at(now: Timestamp) -> Self {
        Self {
            reading: Mutex::new((now, Duration::from_secs(3_600))),
        }
    }

    /// Moves both readings forward.
    pub fn advance(&self, by: Duration) {
        let mut reading = self.lock();
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        reading.0 = Timestamp::from_unix_micros(reading.0.unix_micros().saturating_add(micros))
            .unwrap_or(Timestamp::MAX);
        reading.1 = reading.1.saturating_add(by);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Timestamp, Duration)> {
        // Two plain values are whole whatever happened to a thread that held the lock.
        self.reading
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_gives_this_century_and_never_goes_back() {
        let clock = SystemClock::new();
        let before = clock.monotonic();
        assert!(clock.now() > Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        assert!(clock.now() < Timestamp::parse("2126-01-01T00:00:00Z").unwrap());
        assert!(clock.monotonic() >= before);
    }

    #[test]
    fn a_manual_clock_moves_both_readings_and_only_when_told() {
        let start = Timestamp::parse("2026-11-22T00:00:00Z").unwrap();
        let clock = ManualClock::at(start);
        let before = clock.monotonic();
        assert_eq!(clock.now(), start);
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(
            clock.now(),
            Timestamp::parse("2026-11-22T00:00:01.5Z").unwrap()
        );
        assert_eq!(clock.monotonic() - before, Duration::from_millis(1_500));
    }
}
