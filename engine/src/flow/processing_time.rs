//! Processing time of a stage: the clock's, but that it never goes back and never stands still.
//!
//! Invariants: (1) it is never before the clock, nor before what it was, also in the run whose state was restored: no window
//! that was given out is opened anew; (2) while the clock is behind, because it was set back or had been wrong before a
//! restart, it goes on at the speed of monotonic time: windows close and timers fire after the spans that they are of, at
//! times ahead of the clock by as much as that is behind.
//! Cost: the two reads of the clock that each turn makes anyway.

use std::time::Duration;

use super::operator::Turn;
use crate::time::{Clock, Timestamp};

/// How far it has come. Goes on from when it was last the clock's: what is less than a microsecond in each turn adds up.
#[derive(Debug)]
pub(super) struct ProcessingTime {
    base: Timestamp,
    base_monotonic: Duration,
}

impl ProcessingTime {
    /// Goes on from `reached`, or from the clock where that is later.
    pub(super) fn from(reached: Timestamp, clock: &dyn Clock) -> Self {
        Self {
            base: clock.now().max(reached),
            base_monotonic: clock.monotonic(),
        }
    }

    /// What a turn that begins now goes by.
    pub(super) fn turn(&mut self, clock: &dyn Clock) -> Turn {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let elapsed = monotonic.saturating_sub(self.base_monotonic);
        let mut now = self.base.saturating_add(elapsed);
        if wall >= now {
            (self.base, self.base_monotonic) = (wall, monotonic);
            now = wall;
        }
        Turn { now, monotonic }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const HOUR: i64 = 3_600;

    /// What it is after `by`, in microseconds.
    fn after(time: &mut ProcessingTime, clock: &ManualClock, by: Duration) -> i64 {
        clock.advance(by);
        time.turn(clock).now.as_micros()
    }

    #[test]
    fn it_goes_on_while_the_clock_is_behind() {
        let clock = ManualClock::new(Timestamp::from_seconds(HOUR));
        let mut time = ProcessingTime::from(Timestamp::MIN, &clock);
        assert_eq!(time.turn(&clock).now, clock.now());
        clock.set(Timestamp::EPOCH);
        let second = Duration::from_secs(1);
        assert_eq!(after(&mut time, &clock, second), (HOUR + 1) * 1_000_000);
        // It is ahead of what is ahead of it.
        clock.set(Timestamp::from_seconds(2 * HOUR));
        assert_eq!(after(&mut time, &clock, second), (2 * HOUR + 1) * 1_000_000);
        assert_eq!(time.turn(&clock).monotonic, second * 2);
    }

    /// Story: turns that were shorter than a microsecond each added nothing.
    #[test]
    fn short_turns_add_up() {
        let clock = ManualClock::new(Timestamp::from_seconds(HOUR));
        let mut time = ProcessingTime::from(Timestamp::MIN, &clock);
        clock.set(Timestamp::EPOCH);
        for _ in 0..3_999 {
            after(&mut time, &clock, Duration::from_nanos(250));
        }
        let now = after(&mut time, &clock, Duration::from_nanos(250));
        assert_eq!(now, HOUR * 1_000_000 + 1_000);
    }

    #[test]
    fn it_goes_on_from_where_it_was_restored() {
        let clock = ManualClock::new(Timestamp::from_seconds(HOUR));
        let mut time = ProcessingTime::from(Timestamp::from_seconds(9 * HOUR), &clock);
        let second = Duration::from_secs(1);
        assert_eq!(after(&mut time, &clock, second), (9 * HOUR + 1) * 1_000_000);
        let mut time = ProcessingTime::from(Timestamp::EPOCH, &clock);
        assert_eq!(after(&mut time, &clock, second), (HOUR + 2) * 1_000_000);
    }
}
