//! Keeps the splits of a source together in event time.
//!
//! A split that is read faster than the others runs ahead in event time, and everything it brings waits as state
//! for the others' watermarks. So one that is further ahead of the slowest than the drift is not read until
//! the slowest has caught up. Splits that are idle or have ended do not hold the others back.
//! Threads: any; one slot per split, written by the partition that reads it. Cost: per pull one store and
//! one pass over the slots.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::time::Timestamp;

/// Of a split that holds nobody back.
const FREE: i64 = i64::MAX;

/// The watermarks of all splits of one source, in one run of its dataflow.
pub struct Alignment {
    drift_micros: i64,
    watermarks: Vec<AtomicI64>,
}

impl Alignment {
    /// For `splits` splits, none further than `drift` of event time ahead of the slowest.
    pub fn new(splits: usize, drift: Duration) -> Self {
        Self {
            drift_micros: i64::try_from(drift.as_micros()).unwrap_or(i64::MAX),
            watermarks: (0..splits).map(|_| AtomicI64::new(i64::MIN)).collect(),
        }
    }

    /// Split `split` has come to `watermark`.
    pub fn advance(&self, split: usize, watermark: Timestamp) {
        self.watermarks[split].store(watermark.0.min(FREE - 1), Ordering::Relaxed);
    }

    /// Split `split` is idle or has ended: the others need not wait for it.
    pub fn release(&self, split: usize) {
        self.watermarks[split].store(FREE, Ordering::Relaxed);
    }

    /// Whether `split` should wait for the others.
    pub fn is_ahead(&self, split: usize) -> bool {
        let own = self.watermarks[split].load(Ordering::Relaxed);
        if own == FREE || own == i64::MIN {
            return false;
        }
        let slowest = self
            .watermarks
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .min();
        slowest.is_some_and(|slowest| own > slowest.saturating_add(self.drift_micros))
    }
}

impl fmt::Debug for Alignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alignment")
            .field("splits", &self.watermarks.len())
            .field("drift_micros", &self.drift_micros)
            .finish()
    }
}
