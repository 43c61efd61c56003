//! Chooses how many items a receiver takes per batch.
//!
//! From the fitted cost(n) = F + n·V it takes the smallest n whose amortised cost is within
//! 1 / [`AMORTISATION`] of V: n = 10·F/V. Bounded by items, bytes, work per turn and the latency target.
//! A receiver never waits: [`BatchController::batch_items`] gives at most what is there, so batches
//! grow with the backlog and an idle one takes single items.
//! F and V can be told apart only from batches of different size, so under a steady backlog one batch in
//! [`PROBE_PERIOD`] in the mean is smaller on purpose, and before the first fit sizes change from batch to batch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::CostModel;

/// n is at least this times F/V: then F adds at most a tenth to the cost per item.
const AMORTISATION: f64 = 10.0;
/// Under backlog one batch in so many is a quarter of the target: a quarter dearer per item there,
/// below 1 % in all.
const PROBE_PERIOD: u32 = 8;
/// Whether a batch is one of them. They come without a period of their own: splits that are read in turn would
/// otherwise be probed always the same ones, get less than the others for good, and fall behind.
fn is_probe(batch: u32) -> bool {
    // Steps of the golden ratio of 2^32, which fall evenly, also of every n-th batch.
    batch.wrapping_mul(0x9e37_79b1) < u32::MAX / PROBE_PERIOD
}

/// Sizes tried before the first fit, multiples of the starting size.
const EXPLORED: [usize; 4] = [1, 4, 2, 8];
/// Part of the bound on a turn's work that the fixed cost must leave for that bound to be kept.
const ROOM_MIN: f64 = 0.25;
/// Part of the old mean of bytes per item that a new batch replaces.
const BYTES_STEP: f64 = 1.0 / 16.0;

/// Bounds of the batches of one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchLimits {
    /// Fewest items a target is set to, and the start of exploration. Items, 1..=`items_max`, default
    /// 16. Guards against a model that takes the fixed cost for nothing.
    pub items_min: usize,
    /// Most items per batch. Default 16,384. More: less fixed cost when F is large; larger buffers.
    pub items_max: usize,
    /// Most bytes per batch, by the mean of recent items. Default 1 MiB.
    pub bytes_max: u64,
    /// Longest work per turn. Microseconds, default 1,000: other actors of the thread wait as long. Where the fixed cost of a
    /// batch alone takes more than three quarters of it, as much work on items as that cost is.
    pub work_us_max: u64,
    /// Longest that the first item of a batch may wait for the last. Microseconds, default 10,000; with the same exception.
    pub latency_us_target: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            items_min: 16,
            items_max: 16_384,
            bytes_max: 1 << 20,
            work_us_max: 1_000,
            latency_us_target: 10_000,
        }
    }
}

/// A field of [`BatchLimits`] outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("batch limits: `{field}` must be {wanted}")]
pub struct InvalidBatchLimits {
    /// Name of the field.
    pub field: &'static str,
    /// Its range.
    pub wanted: &'static str,
}

impl BatchLimits {
    /// Checks the ranges; call once at start.
    ///
    /// # Errors
    /// [`InvalidBatchLimits`]: names the first field that is out of range.
    pub fn validate(&self) -> Result<(), InvalidBatchLimits> {
        let wrong = |field, wanted| Err(InvalidBatchLimits { field, wanted });
        if self.items_min == 0 || self.items_min > self.items_max {
            return wrong("items_min", "in 1..=items_max");
        }
        if self.bytes_max == 0 {
            return wrong("bytes_max", "at least 1");
        }
        if self.work_us_max == 0 {
            return wrong("work_us_max", "at least 1");
        }
        if self.latency_us_target == 0 {
            return wrong("latency_us_target", "at least 1");
        }
        Ok(())
    }
}

/// Batch sizes of one receiver, learned from what its batches cost.
///
/// ```
/// use millstream_engine::batch::{BatchController, BatchLimits};
/// use std::time::Duration;
/// let mut controller = BatchController::new(BatchLimits::default());
/// for _ in 0..200 {
///     let items = controller.batch_items(100_000);
///     // A receiver whose batches cost 20 µs, and 200 ns per item.
///     controller.observe(items, Duration::from_nanos(20_000 + 200 * items as u64));
/// }
/// assert!((990..=1_010).contains(&controller.target_items()));
/// assert_eq!(controller.batch_items(3), 3);
/// ```
#[derive(Debug, Clone)]
pub struct BatchController {
    limits: BatchLimits,
    model: CostModel,
    bytes_per_item: f64,
    target: usize,
    batches: u32,
}

impl BatchController {
    /// A controller that knows nothing yet. `limits` out of range are brought into it; validate them
    /// first to tell the user.
    pub fn new(mut limits: BatchLimits) -> Self {
        limits.items_max = limits.items_max.max(1);
        limits.items_min = limits.items_min.clamp(1, limits.items_max);
        let target = limits.items_min;
        Self {
            limits,
            model: CostModel::new(),
            bytes_per_item: 0.0,
            target,
            batches: 0,
        }
    }

    /// How many of `backlog` waiting items to take now: never more than there are, zero only of zero.
    pub fn batch_items(&self, backlog: usize) -> usize {
        let wanted = if !self.model.is_fitted() {
            let step = EXPLORED[self.batches as usize % EXPLORED.len()];
            self.bounded(self.limits.items_min.saturating_mul(step))
        } else if is_probe(self.batches) {
            self.target.div_ceil(4)
        } else {
            self.target
        };
        backlog.min(wanted.max(1))
    }

    /// How many of `backlog` waiting items to take when what comes of the batch must wait anyway, as for a
    /// disk that is busy with the one before: as many as the limits allow, since smaller batches would only
    /// cost more.
    pub fn batch_items_most(&self, backlog: usize) -> usize {
        let most = if self.model.is_fitted() {
            self.bounded(usize::MAX)
        } else {
            self.batch_items(backlog)
        };
        backlog.min(most)
    }

    /// Takes in that a batch of `items` took `elapsed`. An empty batch teaches nothing.
    pub fn observe(&mut self, items: usize, elapsed: Duration) {
        if items == 0 {
            return;
        }
        self.batches = self.batches.wrapping_add(1);
        self.model.observe(items as f64, elapsed.as_secs_f64());
        if self.model.is_fitted() {
            self.target = self.choose();
        }
    }

    /// Takes in that a batch of `items` had `bytes`, for the bound on bytes.
    pub fn observe_bytes(&mut self, items: usize, bytes: u64) {
        if items == 0 {
            return;
        }
        let mean = bytes as f64 / items as f64;
        let step = if self.bytes_per_item == 0.0 {
            1.0
        } else {
            BYTES_STEP
        };
        self.bytes_per_item += step * (mean - self.bytes_per_item);
        self.target = self.bounded(self.target);
    }

    /// F: seconds that a batch costs before its first item.
    pub fn fixed_seconds(&self) -> f64 {
        self.model.fixed()
    }

    /// V: seconds per item.
    pub fn item_seconds(&self) -> f64 {
        self.model.per_item()
    }

    /// n: items per batch aimed at under backlog.
    pub fn target_items(&self) -> usize {
        self.target
    }

    /// Most bytes to drain per batch; exact where the mean behind [`target_items`](Self::target_items)
    /// is a guess.
    pub fn batch_bytes_max(&self) -> u64 {
        self.limits.bytes_max
    }

    fn choose(&self) -> usize {
        let (fixed, per_item) = (self.model.fixed(), self.model.per_item());
        // A float cast saturates: with V = 0 nothing but the limits bounds n.
        let wanted = (AMORTISATION * fixed / per_item).ceil();
        let wanted = if wanted.is_nan() {
            self.limits.items_min
        } else {
            wanted as usize
        };
        self.bounded(wanted.max(self.limits.items_min))
    }

    /// `wanted` within all limits, at least one.
    fn bounded(&self, wanted: usize) -> usize {
        let seconds = self.limits.work_us_max.min(self.limits.latency_us_target) as f64 * 1e-6;
        let fixed = self.model.fixed();
        let by_work = most(room(seconds, fixed), self.model.per_item());
        let by_bytes = most(self.limits.bytes_max as f64, self.bytes_per_item);
        wanted
            .min(self.limits.items_max)
            .min(by_work)
            .min(by_bytes)
            .max(1)
    }
}

/// Seconds of a batch's work that are for its items. One never takes less than F: where that alone is about the bound, or passes it,
/// small batches keep no bound and only make every item dearer, so items get as much as F then.
fn room(seconds: f64, fixed: f64) -> f64 {
    let left = seconds - fixed;
    if left < seconds * ROOM_MIN {
        fixed
    } else {
        left
    }
}

/// How many of `each` fit into `whole`; all if `each` is zero.
fn most(whole: f64, each: f64) -> usize {
    if each > 0.0 {
        (whole / each) as usize
    } else {
        usize::MAX
    }
}
