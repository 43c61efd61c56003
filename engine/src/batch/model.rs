//! Online fit of cost(n) = F + n·V: weighted least squares that forgets.
//!
//! Errors of a measured batch grow with its cost, so each sample is weighted by one over its predicted
//! cost squared: small batches, which alone tell F from V, are not drowned by large ones. A sample far
//! above the prediction (the thread lost its core) counts as [`SURPRISE_MAX`] times it, which still
//! follows a real change, only in some more steps.
//! Invariants: F and V are finite and never negative.

/// Weight that a sample keeps per later sample: a memory of about 64 batches.
const KEEP: f64 = 1.0 - 1.0 / 64.0;
/// Relative variance of n (variance over square of the mean) below which F and V cannot be told apart.
const SPREAD_MIN: f64 = 0.01;
/// Samples before outliers are recognised.
const SAMPLES_TRUSTED: u32 = 16;
/// Most that one sample counts for, in predicted costs.
const SURPRISE_MAX: f64 = 8.0;
/// Step with which the level follows while the spread is too small for a fit.
const LEVEL_STEP: f64 = 1.0 / 16.0;
/// Shortest cost believed, in seconds: the resolution of clocks.
const COST_MIN: f64 = 1e-9;

/// The fit; seconds and items.
#[derive(Debug, Clone, Default)]
pub(super) struct CostModel {
    weight: f64,
    weight_n: f64,
    weight_y: f64,
    weight_nn: f64,
    weight_ny: f64,
    samples: u32,
    fitted: bool,
    fixed: f64,
    per_item: f64,
}

impl CostModel {
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
        if self.samples > 0 {
            scale = self.predict(n);
            if self.samples >= SAMPLES_TRUSTED {
                cost = cost.min(scale * SURPRISE_MAX);
            }
        }
        self.samples = self.samples.saturating_add(1);
        let weight = 1.0 / (scale * scale);
        self.weight = self.weight * KEEP + weight;
        self.weight_n = self.weight_n * KEEP + weight * n;
        self.weight_y = self.weight_y * KEEP + weight * cost;
        self.weight_nn = self.weight_nn * KEEP + weight * n * n;
        self.weight_ny = self.weight_ny * KEEP + weight * n * cost;
        self.refit(n, cost);
    }

    fn refit(&mut self, n: f64, cost: f64) {
        let mean_n = self.weight_n / self.weight;
        let mean_y = self.weight_y / self.weight;
        let variance = self.weight_nn / self.weight - mean_n * mean_n;
        if variance < SPREAD_MIN * mean_n * mean_n {
            return self.follow_level(n, cost);
        }
        self.fitted = true;
        let covariance = self.weight_ny / self.weight - mean_n * mean_y;
        let slope = covariance / variance;
        let intercept = mean_y - slope * mean_n;
        // The best fit with both at least zero lies on the border when the free one is outside.
        (self.fixed, self.per_item) = if slope < 0.0 {
            (mean_y, 0.0)
        } else if intercept < 0.0 {
            (0.0, self.weight_ny / self.weight_nn)
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
            (self.fixed, self.per_item) = (0.0, self.weight_ny / self.weight_nn);
        }
    }
}
