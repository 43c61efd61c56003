//! Spread: variance and standard deviation, of a population or estimated from a sample.
//!
//! Adding is Welford's recurrence (B. P. Welford, Technometrics 4(3), 1962), merging the pairwise form of Chan, Golub
//! and LeVeque (The American Statistician 37(3), 1983): both keep the sum of squared distances from the running mean,
//! so values far from zero lose no digits, as a sum of squares would. Results depend on the order of adding only by
//! rounding, therefore nothing is ever subtracted.

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Adapt, AggregateFunction};

/// Measures the spread of a quantity; see [`variance`], [`variance_sample`], [`stddev`], [`stddev_sample`].
#[derive(Debug, Clone, Copy)]
pub struct Variance<F> {
    quantity: F,
    sample: bool,
    root: bool,
}

/// What [`Variance`] keeps: 24 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

/// The population variance of `quantity` (divisor n), `None` of no items. Merges.
pub fn variance<T, F>(quantity: F) -> Variance<F>
where
    F: Fn(&T) -> f64 + Clone + Send + 'static,
{
    Variance {
        quantity,
        sample: false,
        root: false,
    }
}

/// The variance estimated from a sample (divisor n - 1), `None` of fewer than 2 items. Merges.
pub fn variance_sample<T, F>(quantity: F) -> Variance<F>
where
    F: Fn(&T) -> f64 + Clone + Send + 'static,
{
    Variance {
        quantity,
        sample: true,
        root: false,
    }
}

/// The population standard deviation, the root of [`variance`]. Merges.
pub fn stddev<T, F>(quantity: F) -> Variance<F>
where
    F: Fn(&T) -> f64 + Clone + Send + 'static,
{
    Variance {
        quantity,
        sample: false,
        root: true,
    }
}

/// The standard deviation estimated from a sample, the root of [`variance_sample`]. Merges.
pub fn stddev_sample<T, F>(quantity: F) -> Variance<F>
where
    F: Fn(&T) -> f64 + Clone + Send + 'static,
{
    Variance {
        quantity,
        sample: true,
        root: true,
    }
}

impl<F> Adapt for Variance<F> {}

impl<T, F> AggregateFunction<T> for Variance<F>
where
    F: Fn(&T) -> f64 + Clone + Send + 'static,
{
    type Accumulator = Moments;
    type Output = Option<f64>;
    const MERGES: bool = true;

    #[inline]
    fn create(&self) -> Moments {
        Moments::default()
    }

    #[inline]
    fn add(&self, accumulator: &mut Moments, _time: Timestamp, item: &T) {
        let value = (self.quantity)(item);
        accumulator.count += 1;
        let before = value - accumulator.mean;
        accumulator.mean += before / accumulator.count as f64;
        accumulator.squares += before * (value - accumulator.mean);
    }

    fn merge(&self, accumulator: &mut Moments, other: &Moments) {
        if other.count == 0 {
            return;
        }
        if accumulator.count == 0 {
            // Not the formula: the square of a mean beyond 1.3e154 is infinite, and 0 times that is no number.
            *accumulator = *other;
            return;
        }
        let (mine, theirs) = (accumulator.count as f64, other.count as f64);
        let both = mine + theirs;
        let apart = other.mean - accumulator.mean;
        accumulator.count += other.count;
        accumulator.mean += apart * (theirs / both);
        accumulator.squares += other.squares + apart * apart * (mine * theirs / both);
    }

    fn finish(&self, accumulator: &Moments) -> Option<f64> {
        let divisor = accumulator.count.checked_sub(u64::from(self.sample))?;
        if divisor == 0 {
            return None;
        }
        let variance = accumulator.squares / divisor as f64;
        Some(if self.root { variance.sqrt() } else { variance })
    }
}
