//! The load: events of a key at a steady rate in event time, made inside the stages that read them.
//!
//! Invariants: (1) what a split gives depends on the load and its number alone; (2) times never decrease and those of
//! all splits run alike, so that no split waits for another. Cost: a multiplication or two per event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::dataflow::SourcePlan;
use millstream_engine::flow::{Emit, Fault, Pulled, SeekError, Source, Wiring};
use millstream_engine::time::Timestamp;
use tokio::sync::Notify;

use crate::SEED;

/// Bits behind the point of times, which are microseconds.
const FRACTION_BITS: u32 = 24;

/// What is given.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Events over all splits.
    pub(super) events: u64,
    /// How many keys there are at a time.
    pub(super) keys: u64,
    /// Events per second of event time, over all splits: up to 2^24 million.
    pub(super) per_second: u64,
    /// How many splits share them.
    pub(super) splits: usize,
    /// Events after which the lowest key is never used again and a new one is; 0: the keys stay the same.
    pub(super) rotate_every: u64,
    /// Tells of the events given.
    pub(super) progress: Option<Progress>,
}

impl Load {
    /// Of keys that stay the same, in two splits.
    pub(super) const fn steady(events: u64, keys: u64, per_second: u64) -> Self {
        Self {
            events,
            keys,
            per_second,
            splits: 2,
            rotate_every: 0,
            progress: None,
        }
    }
}

/// How many events all splits have given, and a call each time that many more have been.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    shared: Arc<(AtomicU64, Notify)>,
    every: u64,
}

impl Progress {
    /// Calls after every `every` events, at the end of the pull in which they were given.
    pub(super) fn new(every: u64) -> Self {
        Self {
            shared: Arc::new((AtomicU64::new(0), Notify::new())),
            every,
        }
    }

    fn add(&self, events: u64) {
        let (given, called) = &*self.shared;
        let before = given.fetch_add(events, Ordering::Relaxed);
        if before / self.every != (before + events) / self.every {
            called.notify_one();
        }
    }

    /// Events given so far.
    pub(super) fn given(&self) -> u64 {
        self.shared.0.load(Ordering::Relaxed)
    }

    /// Waits for the next call; one that nobody waited for is kept.
    pub(super) async fn called(&self) {
        self.shared.1.notified().await;
    }
}

/// One split of a load.
#[derive(Debug)]
pub(super) struct LoadSplit {
    random: u64,
    /// Number of the next event among those of all splits.
    number: u64,
    stride: u64,
    events: u64,
    keys: u64,
    rotate_every: u64,
    /// Time of the next event, and what lies between two: microseconds with a fraction.
    time: u64,
    step: u64,
    progress: Option<Progress>,
}

impl LoadSplit {
    fn new(load: &Load, split: usize) -> Self {
        let number = split as u64;
        let between = (1_000_000 << FRACTION_BITS) / load.per_second;
        let stride = load.splits as u64;
        Self {
            random: SEED ^ (number + 1),
            number,
            stride,
            events: load.events,
            keys: load.keys,
            rotate_every: load.rotate_every,
            time: between * number,
            step: between * stride,
            progress: load.progress.clone(),
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp((self.time >> FRACTION_BITS).cast_signed())
    }
}

impl Iterator for LoadSplit {
    type Item = (Timestamp, u64);

    #[inline]
    fn next(&mut self) -> Option<(Timestamp, u64)> {
        if self.number >= self.events {
            return None;
        }
        let time = self.time();
        // Knuth's multiplier; the high half is random enough to be scaled to a key.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut key = ((self.random >> 32) * self.keys) >> 32;
        if let Some(rotated) = self.number.checked_div(self.rotate_every) {
            key += rotated;
        }
        self.number += self.stride;
        self.time += self.step;
        Some((time, key))
    }
}

impl Source for LoadSplit {
    type Item = u64;

    fn watermark(&self) -> Option<Timestamp> {
        if self.number >= self.events {
            return Some(Timestamp::MAX);
        }
        Some(self.time())
    }

    #[inline]
    fn pull<E: Emit<u64>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        let before = self.number;
        let mut pulled = Pulled::More;
        for _ in 0..items_max {
            let Some((time, key)) = self.next() else {
                pulled = Pulled::End;
                break;
            };
            out.emit(time, key);
        }
        if let Some(progress) = &self.progress {
            progress.add((self.number - before) / self.stride);
        }
        Ok(pulled)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    fn seek(&mut self, _position: &[u8]) -> Result<(), SeekError> {
        Ok(())
    }
}

impl SourcePlan for Load {
    type Source = LoadSplit;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(self.splits)
    }

    fn split(&self, split: usize, _wiring: &Wiring) -> Result<LoadSplit, Fault> {
        Ok(LoadSplit::new(self, split))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_share_the_events_and_their_times_run_alike() {
        let load = Load {
            splits: 3,
            ..Load::steady(1_000, 10, 100_000)
        };
        let splits = (0..3).map(|split| LoadSplit::new(&load, split).collect::<Vec<_>>());
        let splits: Vec<_> = splits.collect();
        assert_eq!(splits.iter().map(Vec::len).sum::<usize>(), 1_000);
        assert_eq!(splits[1][0].0, Timestamp::from_micros(10));
        assert_eq!(splits[0][1].0, Timestamp::from_micros(30));
        assert!(splits.iter().flatten().all(|(_, key)| *key < 10));
    }

    #[test]
    fn keys_move_on() {
        let load = Load {
            rotate_every: 10,
            ..Load::steady(1_000, 5, 1_000)
        };
        let last = LoadSplit::new(&load, 0).last().unwrap();
        assert!((99..104).contains(&last.1), "{last:?}");
    }

    #[test]
    fn progress_counts_each_event_once() {
        let progress = Progress::new(100);
        let load = Load {
            progress: Some(progress.clone()),
            ..Load::steady(1_001, 5, 1_000)
        };
        for split in 0..2 {
            let mut split = LoadSplit::new(&load, split);
            let mut emit = |_: Timestamp, _: u64| {};
            while split.pull(7, &mut emit).unwrap() == Pulled::More {}
        }
        assert_eq!(progress.given(), 1_001);
    }
}
