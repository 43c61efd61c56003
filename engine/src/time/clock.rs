//! The engine's clock: the only source of processing time.
//!
//! Place: handed as `Arc<dyn Clock>` to whatever needs the time. Invariants: `monotonic` never
//! decreases; `now` may (somebody sets the machine's clock). Threads: any. Cost of the system clock:
//! one vDSO call (about 25 ns), so ask once per batch, never per event.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the machine's clocks"
)]

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Timestamp;

/// Where processing time comes from.
pub trait Clock: Send + Sync + Debug {
    /// Wall-clock time. May jump, also backwards: never measure a span with it.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start, never decreasing: for spans, timeouts and backoff.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero, here.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp::EPOCH.saturating_add(since),
            Err(before) => Timestamp::EPOCH.saturating_sub(before.duration()),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is moved: for tests and simulation.
#[derive(Debug)]
pub struct ManualClock {
    wall_micros: AtomicI64,
    monotonic_nanos: AtomicU64,
}

impl ManualClock {
    /// A clock whose wall shows `start` and whose monotonic time is zero.
    pub fn new(start: Timestamp) -> Self {
        Self {
            wall_micros: AtomicI64::new(start.0),
            monotonic_nanos: AtomicU64::new(0),
        }
    }

    /// Lets `by` pass on both times. The wall moves by whole microseconds.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // The closures always give a value, so neither update can fail.
        let _ = self
            .monotonic_nanos
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
                Some(old.saturating_add(nanos))
            });
        let _ = self
            .wall_micros
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
                Some(Timestamp(old).saturating_add(by).0)
            });
    }

    /// Sets the wall, also backwards, as an administrator would; monotonic time does not move.
    pub fn set(&self, wall: Timestamp) {
        self.wall_micros.store(wall.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall_micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_nanos.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_may_jump_back_and_monotonic_time_does_not() {
        let clock = ManualClock::new(Timestamp::from_seconds(100));
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now(), Timestamp::from_millis(101_500));
        clock.set(Timestamp::EPOCH);
        assert_eq!(clock.now(), Timestamp::EPOCH);
        assert_eq!(clock.monotonic(), Duration::from_millis(1_500));
    }

    #[test]
    fn the_system_clock_is_past_2020_and_goes_on() {
        let clock = SystemClock::new();
        let before = clock.monotonic();
        assert!(clock.now() > "2020-01-01T00:00:00Z".parse().unwrap());
        assert!(clock.monotonic() >= before);
    }
}
