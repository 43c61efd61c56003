//! How loaded a server is: arrival rate, service time, utilisation, and skew between several.
//!
//! Place: one [`LoadMeter`] beside each partition or stage, fed by its owner, published by
//! [`PartitionMetrics::observe_load`](super::PartitionMetrics::observe_load). Plain numbers: no clock,
//! no lock. Cost: one exponential and a few additions per feed, so once per turn is fine.

use std::time::Duration;

/// Time constant of the means. Long enough to smooth single batches, short enough that a scrape every
/// fifteen seconds sees a burst.
const MEMORY_SECONDS: f64 = 10.0;
/// Less than this of an item remembered says nothing about the time per item any more.
const ITEMS_MIN: f64 = 1e-9;

/// Moving means of one server's load.
///
/// Four sums decay together by wall time, and each figure is a quotient of two of them: a constant load
/// is therefore shown exactly from the first feed on, however the turns are cut.
///
/// ```
/// use millstream_engine::metrics::LoadMeter;
/// use std::time::Duration;
/// let mut meter = LoadMeter::new();
/// // 500 items came in a second and kept it busy for a quarter of it.
/// meter.observe(500, 500, Duration::from_millis(250), Duration::from_secs(1));
/// assert!((meter.arrivals_per_second() - 500.0).abs() < 1e-6);
/// assert!((meter.service_seconds() - 0.000_5).abs() < 1e-9);
/// assert!((meter.utilisation() - 0.25).abs() < 1e-9);
/// ```
#[derive(Clone, Debug, Default)]
pub struct LoadMeter {
    arrived: f64,
    served: f64,
    busy_seconds: f64,
    wall_seconds: f64,
    /// Kept while nothing is served, when `busy / served` would become 0 / 0.
    service_seconds: f64,
}

impl LoadMeter {
    /// A meter that has seen nothing: all its figures are 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what happened since the last feed: `arrived` items came, `served` were finished, the
    /// server worked for `busy` out of `wall`. Turns without items count too: they are the idle time.
    ///
    /// `wall` of zero adds the items without letting time pass.
    pub fn observe(&mut self, arrived: u64, served: u64, busy: Duration, wall: Duration) {
        let wall = wall.as_secs_f64();
        let kept = (-wall / MEMORY_SECONDS).exp();
        // What happened within a feed longer than the memory is a mean itself and decays as a whole only
        // with the next feed.
        let add = |sum: &mut f64, new: f64| *sum = *sum * kept + new;
        add(&mut self.arrived, arrived as f64);
        add(&mut self.served, served as f64);
        add(&mut self.busy_seconds, busy.as_secs_f64());
        add(&mut self.wall_seconds, wall);
        if self.served > ITEMS_MIN {
            self.service_seconds = self.busy_seconds / self.served;
        }
    }

    /// λ: items that arrive per second.
    pub fn arrivals_per_second(&self) -> f64 {
        quotient(self.arrived, self.wall_seconds)
    }

    /// T: mean seconds of work per item served. 0 until the first one; the last known while idle.
    pub fn service_seconds(&self) -> f64 {
        self.service_seconds
    }

    /// λT: the load offered. Below 1 it is also the share of time that the server is busy; at 1 and
    /// above its queue grows, by as much as it is over.
    pub fn utilisation(&self) -> f64 {
        self.arrivals_per_second() * self.service_seconds
    }

    /// Share of time that the server was busy, 0 to 1: the load carried.
    pub fn busy_share(&self) -> f64 {
        quotient(self.busy_seconds, self.wall_seconds)
    }
}

/// Skew of a load over several servers: the largest over the mean.
///
/// 1 is even, `loads.len()` is everything on one. Of nothing, or of no load at all, it is 1.
///
/// ```
/// assert_eq!(millstream_engine::metrics::skew(&[10.0, 10.0, 40.0]), 2.0);
/// ```
pub fn skew(loads: &[f64]) -> f64 {
    let sum: f64 = loads.iter().sum();
    if sum > 0.0 {
        loads.iter().copied().fold(0.0, f64::max) * loads.len() as f64 / sum
    } else {
        1.0
    }
}

/// `part / whole`, 0 of an empty whole.
fn quotient(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
