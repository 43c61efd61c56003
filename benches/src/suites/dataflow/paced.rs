//! A source whose events are due at set times by the engine's clock, and a sink that knows when each was due.
//!
//! Open loop: event n is meant to be sent n / rate after the beginning, which is its event time; a source that was kept
//! from sending sends all that are due as soon as it can, and what that delays counts. A window's result is due when
//! the last split has sent its first event at or after the window's end: that is when the watermark passes it.
//! Invariant: source and sink read one clock, and count from the first pull of any split.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use millstream::dataflow::SourcePlan;
use millstream_engine::flow::{
    Emit, Fault, Operator, Pulled, SeekError, Source, Wiring, stateless,
};
use millstream_engine::time::{Clock, Timestamp};
use millstream_operators::window::Windowed;

use crate::SEED;

/// Splits, which take events in turn.
const SPLITS: u64 = 2;
/// The longest latency that is told from longer ones, in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

/// When events are sent.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    pub(super) events: u64,
    pub(super) keys: u64,
    pub(super) per_second: u64,
    /// Otherwise all events are due at once, with the same event times: for finding out how many there can be.
    pub(super) waits: bool,
    /// Asks for more at once when all that is due was sent, so that its stage is never idle.
    pub(super) is_eager: bool,
    /// Results of windows that end before this, counted from the beginning, are not recorded.
    pub(super) warm_up: Duration,
    pub(super) seen: Seen,
}

/// What is common to the sources and sinks of a run.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    start: Arc<OnceLock<Duration>>,
    sent: Arc<Mutex<Histogram<u64>>>,
    results: Arc<Mutex<Histogram<u64>>>,
    counted: Arc<Mutex<u64>>,
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).context("making a histogram")
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a part to the whole. Both have the same bounds, so it cannot fail.
fn add(whole: &Mutex<Histogram<u64>>, part: &mut Histogram<u64>) {
    let _ = lock(whole).add(&*part);
    part.reset();
}

impl Pace {
    pub(super) fn new(events: u64, keys: u64, per_second: u64) -> Result<Self> {
        Ok(Self {
            events,
            keys,
            per_second: per_second.max(1),
            waits: true,
            is_eager: false,
            warm_up: Duration::ZERO,
            seen: Seen {
                start: Arc::default(),
                sent: Arc::new(Mutex::new(histogram()?)),
                results: Arc::new(Mutex::new(histogram()?)),
                counted: Arc::default(),
            },
        })
    }

    /// When an event is due, from the beginning.
    fn due(&self, number: u64) -> Duration {
        // Nanoseconds of billions of events at one per second still fit.
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn time(&self, number: u64) -> Timestamp {
        Timestamp((number * 1_000_000 / self.per_second).cast_signed())
    }

    /// The event that lets a window close that ends at `end`.
    fn closing(&self, end: Timestamp) -> u64 {
        let first = (end.0.cast_unsigned() * self.per_second).div_ceil(1_000_000);
        // The splits' first ones at or after it are this and the next ones.
        first + SPLITS - 1
    }

    /// The sink of a run.
    pub(super) fn sink(&self) -> Result<LatencySink> {
        Ok(LatencySink {
            pace: self.clone(),
            clock: None,
            latencies: histogram()?,
            counted: 0,
            window_end: None,
            due: None,
        })
    }

    /// How late events were sent, in microseconds: each counts with the first of its pull, which waited longest.
    pub(super) fn sent(&self) -> Histogram<u64> {
        lock(&self.seen.sent).clone()
    }

    /// Latency of results in microseconds.
    pub(super) fn results(&self) -> Histogram<u64> {
        lock(&self.seen.results).clone()
    }

    /// Events that results were about.
    pub(super) fn counted(&self) -> u64 {
        *lock(&self.seen.counted)
    }
}

/// A split of the source.
pub(super) struct PacedSplit {
    pace: Pace,
    clock: Arc<dyn Clock>,
    number: u64,
    random: u64,
    /// Of the last event.
    watermark: Timestamp,
    sent: Histogram<u64>,
}

impl PacedSplit {
    fn finish(&mut self) -> Pulled {
        add(&self.pace.seen.sent, &mut self.sent);
        Pulled::End
    }

    #[inline]
    fn send<E: Emit<u64>>(&mut self, out: &mut E) {
        // As in the load of the other cases.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let key = ((self.random >> 32) * self.pace.keys) >> 32;
        self.watermark = self.pace.time(self.number);
        out.emit(self.watermark, key);
        self.number += SPLITS;
    }
}

impl Source for PacedSplit {
    type Item = u64;

    fn watermark(&self) -> Option<Timestamp> {
        Some(self.watermark)
    }

    fn pull<E: Emit<u64>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        if self.number >= self.pace.events {
            return Ok(self.finish());
        }
        let now = self.clock.monotonic();
        let now = now.saturating_sub(*self.pace.seen.start.get_or_init(|| now));
        let first_due = self.pace.due(self.number);
        if self.pace.waits && first_due > now {
            if self.pace.is_eager {
                return Ok(Pulled::More);
            }
            return Ok(Pulled::PendingFor(first_due - now));
        }
        // Rounded down; at least the one that is known to be due.
        let due = if self.pace.waits {
            let due = now.as_nanos() * u128::from(self.pace.per_second) / 1_000_000_000;
            u64::try_from(due).unwrap_or(u64::MAX).max(self.number)
        } else {
            u64::MAX
        };
        let last = due.min(self.pace.events - 1);
        let mut sent = 0;
        while sent < items_max && self.number <= last {
            self.send(out);
            sent += 1;
        }
        let late = now.saturating_sub(first_due).as_micros() as u64;
        self.sent.saturating_record_n(late.max(1), sent as u64);
        if self.number >= self.pace.events {
            return Ok(self.finish());
        }
        if self.number <= due || self.pace.is_eager {
            return Ok(Pulled::More);
        }
        // Not `More`, even if the next one is due in no time: a source that asks all the time takes a core.
        let wait = self.pace.due(self.number).saturating_sub(now);
        Ok(Pulled::PendingFor(wait.max(Duration::from_nanos(1))))
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    fn seek(&mut self, _position: &[u8]) -> Result<(), SeekError> {
        Ok(())
    }
}

impl SourcePlan for Pace {
    type Source = PacedSplit;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(SPLITS as usize)
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<PacedSplit, Fault> {
        Ok(PacedSplit {
            pace: self.clone(),
            clock: Arc::clone(&wiring.clock),
            number: split as u64,
            random: SEED ^ (split as u64 + 1),
            watermark: Timestamp::MIN,
            sent: histogram().map_err(|error| Fault(error.to_string()))?,
        })
    }
}

/// Records how long after its due time each result comes.
#[derive(Clone)]
pub(super) struct LatencySink {
    pace: Pace,
    clock: Option<Arc<dyn Clock>>,
    latencies: Histogram<u64>,
    counted: u64,
    /// The window of the last result, and when its results are due: `None` if they are not recorded.
    window_end: Option<Timestamp>,
    due: Option<Duration>,
}

impl LatencySink {
    #[cold]
    fn window(&mut self, end: Timestamp) {
        self.window_end = Some(end);
        let closing = self.pace.closing(end);
        let is_warm = end >= Timestamp::EPOCH.saturating_add(self.pace.warm_up);
        // What the end of the input closes was not due at any time.
        let is_recorded = is_warm && closing < self.pace.events;
        self.due = is_recorded.then(|| self.pace.due(closing));
    }
}

impl Operator<Windowed<u64, u64>> for LatencySink {
    type Out = Infallible;

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.clock = Some(Arc::clone(&wiring.clock));
        Ok(())
    }

    #[inline]
    fn item<E: Emit<Infallible>>(
        &mut self,
        _time: Timestamp,
        result: Windowed<u64, u64>,
        _out: &mut E,
    ) {
        self.counted += result.value;
        if self.window_end != Some(result.window.end) {
            self.window(result.window.end);
        }
        let start = self.pace.seen.start.get();
        if let (Some(due), Some(clock), Some(start)) = (self.due, &self.clock, start) {
            let late = clock.monotonic().saturating_sub(*start + due);
            let micros = late.as_micros() as u64;
            self.latencies.saturating_record(micros.max(1));
        }
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        add(&self.pace.seen.results, &mut self.latencies);
        *lock(&self.pace.seen.counted) += std::mem::take(&mut self.counted);
    }

    stateless!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_when_all_splits_have_passed_its_end() {
        let pace = Pace::new(100, 1, 1_000).unwrap();
        // Events are due at 0, 1, 2, … ms. A window that ends at 10 ms waits for those of 10 and of 11 ms.
        assert_eq!(pace.closing(Timestamp::from_millis(10)), 11);
        assert_eq!(pace.due(11), Duration::from_millis(11));
        assert_eq!(pace.closing(Timestamp::from_micros(9_001)), 11);
        assert_eq!(pace.time(11), Timestamp::from_millis(11));
    }

    #[test]
    fn a_split_sends_what_is_due_and_waits_for_the_rest() {
        let clock = Arc::new(millstream_engine::time::ManualClock::new(Timestamp::EPOCH));
        let mut split = PacedSplit {
            pace: Pace::new(8, 1, 1_000).unwrap(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            number: 1,
            random: 1,
            watermark: Timestamp::MIN,
            sent: histogram().unwrap(),
        };
        let mut times = Vec::new();
        let mut pull = |split: &mut PacedSplit| {
            let mut emit = |time: Timestamp, _: u64| times.push(time.as_millis());
            split.pull(100, &mut emit).unwrap()
        };
        let wait = Pulled::PendingFor(Duration::from_millis(1));
        assert_eq!(pull(&mut split), wait);
        clock.advance(Duration::from_millis(4));
        assert_eq!(pull(&mut split), wait);
        assert_eq!(pull(&mut split), wait);
        assert_eq!(split.sent.len(), 2);
        assert_eq!(split.watermark(), Some(Timestamp::from_millis(3)));
        clock.advance(Duration::from_millis(60));
        assert_eq!(pull(&mut split), Pulled::End);
        assert_eq!(times, [1, 3, 5, 7]);
    }
}
