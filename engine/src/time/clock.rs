//! The engine's clock: the machine's, or one that a test moves by hand.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Timestamp;

/// Where time comes from.
pub trait Clock: Send + Sync + Debug {
    /// Wall time. It may jump forwards and backwards.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment. It never goes back; only differences mean something.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that may read the machine's clocks"
)]
impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    fn wall() -> SystemTime {
        SystemTime::now()
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        match Self::wall().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp(0).saturating_add(since),
            Err(before) => Timestamp(0).saturating_sub(before.duration()),
        }
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    /// Wall and monotonic time change together, so a reader never sees one moved without the other.
    hands: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// A clock that shows `now`, with a monotonic time of zero.
    pub fn at(now: Timestamp) -> Self {
        Self {
            hands: Mutex::new((now, Duration::ZERO)),
        }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.hands();
        hands.0 = hands.0.saturating_add(by);
        hands.1 = hands.1.saturating_add(by);
    }

    /// Moves the wall clock alone, backwards too, as an administrator or NTP would.
    pub fn set_wall(&self, now: Timestamp) {
        self.hands().0 = now;
    }

    fn hands(&self) -> std::sync::MutexGuard<'_, (Timestamp, Duration)> {
        // Both hands are plain values, whole at any moment: a panic elsewhere cannot tear them.
        self.hands
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.hands().0
    }

    fn monotonic(&self) -> Duration {
        self.hands().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_jumps_back_leaves_monotonic_time_alone() {
        let clock = ManualClock::at(Timestamp(1_000_000));
        clock.advance(Duration::from_secs(2));
        clock.set_wall(Timestamp(5));
        assert_eq!(
            (clock.now(), clock.monotonic()),
            (Timestamp(5), Duration::from_secs(2))
        );
    }

    #[test]
    fn the_machine_is_past_2020_and_its_monotonic_time_does_not_go_back() {
        let clock = SystemClock::new();
        let first = clock.monotonic();
        assert!(clock.now() > "2020-01-01T00:00:00Z".parse().unwrap());
        assert!(clock.monotonic() >= first);
    }
}
