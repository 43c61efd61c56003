//! Online fit of cost(n) = F + n·V: weighted least squares that forgets.
//!
//! Errors of a measured batch grow with its cost, so each sample is weighted by one over its predicted
//! cost squared: small batches, which alone tell F from V, are not drowned by large ones. A sample far
//! above the prediction (the thread lost its core) counts as [`SURPRISE_MAX`] times it, which still
//! follows a real change. When measured and predicted cost part for good, all samples are forgotten at
//! once: an old, cheap regime has the larger weights and would hold on for hundreds of batches.
//! Invariants: F and V are finite and never negative.

/// Weight that a sample keeps per later sample: a memory of about 128 batches.
const KEEP: f64 = 1.0 - 1.0 / 128.0;
/// Relative variance of n (variance over square of the mean) below which F and V cannot be told apart.
const SPREAD_MIN: f64 = 0.01;
/// Samples before outliers are recognised.
const SAMPLES_TRUSTED: u32 = 16;
/// Most that one sample counts for, in predicted costs.
const SURPRISE_MAX: f64 = 3.0;
/// Step with which the level follows while the spread is too small for a fit.
const LEVEL_STEP: f64 = 1.0 / 16.0;
/// Step of the running ratio of measured to predicted cost.
const DRIFT_STEP: f64 = 1.0 / 8.0;
/// Ratio, either way, from which on the past tells nothing about the present. Six batches in a row
/// that count for [`SURPRISE_MAX`] reach it.
const DRIFT_MAX: f64 = 2.0;
/// Shortest cost believed, in seconds: the resolution of clocks.
const COST_MIN: f64 = 1e-9;

/// Weighted sums over the samples remembered.
#[derive(Debug, Clone, Default)]
struct Sums {
    weight: f64,
    n: f64,
    y: f64,
    nn: f64,
    ny: f64,
}

/// The fit; seconds and items.
#[derive(Debug, Clone)]
pub(super) struct CostModel {
    sums: Sums,
    samples: u32,
    drift: f64,
    fitted: bool,
    fixed: f64,
    per_item: f64,
}

impl CostModel {
    /// A model that has seen nothing: F and V are zero.
    pub(super) fn new() -> Self {
        let sums = Sums::default();
        Self {
            sums,
            samples: 0,
            drift: 1.0,
            fitted: false,
            fixed: 0.0,
            per_item: 0.0,
        }
    }

    /// Cost per batch (F), seconds.
    pub(super) fn fixed(&self) -> f64 {
        self.fixed
    }

    /// Cost per item (V), seconds.
    pub(super) fn per_item(&self) -> f64 {
        self.per_item
    }

    /// Whether F and V have been told apart at least once.
    pub(super) fn is_fitted(&self) -> bool {
        self.fitted
    }

    fn predict(&self, n: f64) -> f64 {
        (self.fixed + n * self.per_item).max(COST_MIN)
    }

    /// Takes in that a batch of `n >= 1` items cost `seconds`.
    pub(super) fn observe(&mut self, n: f64, seconds: f64) {
        let mut cost = seconds.max(COST_MIN);
        let mut scale = cost;
        if self.fitted {
            scale = self.predict(n);
            if self.samples >= SAMPLES_TRUSTED {
                cost = cost.min(scale * SURPRISE_MAX);
                self.notice_drift(cost / scale);
            }
        }
        self.samples = self.samples.saturating_add(1);
        let weight = 1.0 / (scale * scale);
        let sums = &mut self.sums;
        sums.weight = sums.weight * KEEP + weight;
        sums.n = sums.n * KEEP + weight * n;
        sums.y = sums.y * KEEP + weight * cost;
        sums.nn = sums.nn * KEEP + weight * n * n;
        sums.ny = sums.ny * KEEP + weight * n * cost;
        self.refit(n, cost);
    }

    /// Forgets all samples when costs have left the prediction; F and V stay as the first guess.
    fn notice_drift(&mut self, ratio: f64) {
        self.drift += DRIFT_STEP * (ratio - self.drift);
        if !(1.0 / DRIFT_MAX..=DRIFT_MAX).contains(&self.drift) {
            self.sums = Sums::default();
            self.samples = 0;
            self.drift = 1.0;
        }
    }

    fn refit(&mut self, n: f64, cost: f64) {
        let sums = &self.sums;
        let mean_n = sums.n / sums.weight;
        let mean_y = sums.y / sums.weight;
        let variance = sums.nn / sums.weight - mean_n * mean_n;
        if variance < SPREAD_MIN * mean_n * mean_n {
            return self.follow_level(n, cost);
        }
        self.fitted = true;
        let covariance = sums.ny / sums.weight - mean_n * mean_y;
        let slope = covariance / variance;
        let intercept = mean_y - slope * mean_n;
        // The best fit with both at least zero lies on the border when the free one is outside.
        (self.fixed, self.per_item) = if slope < 0.0 {
            (mean_y, 0.0)
        } else if intercept < 0.0 {
            (0.0, sums.ny / sums.nn)
        } else {
            (intercept, slope)
        };
    }

    /// All recent batches had one size: keep the ratio of F to V and follow their common level.
    fn follow_level(&mut self, n: f64, cost: f64) {
        if self.fitted {
            let factor = 1.0 + LEVEL_STEP * (cost / self.predict(n) - 1.0);
            self.fixed *= factor;
            self.per_item *= factor;
        } else {
            // Nothing known yet: all per item, which asks for no larger batches than are there.
            (self.fixed, self.per_item) = (0.0, self.sums.ny / self.sums.nn);
        }
    }
}
