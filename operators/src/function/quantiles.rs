//! Quantiles with a relative error: a median, a 99th percentile.
//!
//! The sketch is DDSketch (C. Masson, J. Rim, H. Lee, PVLDB 12(12), 2019): values are counted in buckets whose bounds
//! grow by γ = (1 + error) / (1 - error), so that a bucket's middle is within the error of all its values. Unlike there,
//! buckets are never collapsed: the range of magnitudes is fixed instead ([`MAGNITUDE_MIN`], [`MAGNITUDE_MAX`]), which
//! bounds them as well and keeps counts exact. So the answer is the same for every order, adding and merging, and a
//! slice can be taken out again; the `sketches-ddsketch` crate, with its collapsing store and its float sums, cannot.
//! Cost: 16 bytes per bucket in use. At 1 % a factor of ten spans 115 buckets, and there are at most 6,200.

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Adapt, AggregateFunction};

/// Values closer to zero than this count as zero.
pub const MAGNITUDE_MIN: f64 = 1e-9;
/// Values farther from zero than this count as this far.
pub const MAGNITUDE_MAX: f64 = 1e18;

/// Sketches the distribution of a quantity; see [`quantiles`].
#[derive(Debug, Clone, Copy)]
pub struct Quantiles<F> {
    error: f64,
    scale: Scale,
    quantity: F,
}

/// How values map to buckets. Bucket 0 is zero; bucket b > 0 holds (γ^(b-1), γ^b] · 1e-9, about; -b is its mirror.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Scale {
    /// ln γ.
    step: f64,
    /// The power of γ below the bucket of the smallest magnitude.
    lowest: i32,
}

impl Scale {
    fn new(error: f64) -> Self {
        let step = ((1.0 + error) / (1.0 - error)).ln();
        Self {
            step,
            lowest: (MAGNITUDE_MIN.ln() / step).ceil() as i32 - 1,
        }
    }

    fn bucket(&self, value: f64) -> i32 {
        let magnitude = value.abs().min(MAGNITUDE_MAX);
        if magnitude < MAGNITUDE_MIN {
            return 0;
        }
        let bucket = (magnitude.ln() / self.step).ceil() as i32 - self.lowest;
        if value < 0.0 { -bucket } else { bucket }
    }

    /// The value whose relative distance to both bounds of the bucket is the same.
    fn middle(&self, bucket: i32) -> f64 {
        if bucket == 0 {
            return 0.0;
        }
        let upper = (f64::from(bucket.abs() + self.lowest) * self.step).exp();
        let middle = 2.0 * upper / (self.step.exp() + 1.0);
        if bucket < 0 { -middle } else { middle }
    }
}

/// What [`quantiles`] keeps: buckets in use with their counts, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Buckets(Vec<(i32, u64)>);

/// The result of [`quantiles`]: a distribution to ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    scale: Scale,
    buckets: Buckets,
}

impl Distribution {
    /// How many values, not counting those that are no number.
    pub fn count(&self) -> u64 {
        self.buckets.0.iter().map(|(_, count)| count).sum()
    }

    /// The value of rank `floor(q · (count - 1))` in ascending order, within the relative error; `None` of no values.
    ///
    /// `q` is 0 (least) to 1 (greatest); what is outside counts as the nearer end.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        let rank = (q.clamp(0.0, 1.0) * last as f64) as u64;
        let mut passed = 0;
        for &(bucket, count) in &self.buckets.0 {
            passed += count;
            if passed > rank {
                return Some(self.scale.middle(bucket));
            }
        }
        // Rounding may put the rank of a very large count past the end.
        self.buckets
            .0
            .last()
            .map(|&(bucket, _)| self.scale.middle(bucket))
    }
}

/// The distribution of `quantity`, to be asked for quantiles. Merges and inverts.
///
/// Each answer is within the relative `error` (0.01 = 1 %) of the value that has this rank, for values of a magnitude
/// from [`MAGNITUDE_MIN`] to [`MAGNITUDE_MAX`]. Values that are no number (NaN) are passed over.
///
/// ```
/// use millstream_engine::time::Timestamp;
/// use millstream_operators::function::{Adapt, AggregateFunction, Distribution, quantiles};
///
/// let p99 = quantiles(0.01, |millis: &f64| *millis).map(|found: Distribution| found.quantile(0.99));
/// let mut accumulator = p99.create();
/// for millis in 1..=1_000 {
///     p99.add(&mut accumulator, Timestamp::EPOCH, &f64::from(millis));
/// }
/// let found = p99.finish(&accumulator).unwrap();
/// assert!((found - 990.0).abs() <= 0.01 * 990.0);
/// ```
///
/// # Panics
/// When `error` is not within 0.0001 to 0.5.
pub fn quantiles<T, F>(error: f64, quantity: F) -> Quantiles<F>
where
    F: Fn(&T) -> f64 + Clone + Send + 'static,
{
    assert!(
        (0.0001..=0.5).contains(&error),
        "the relative error of quantiles is 0.0001 to 0.5, not {error}"
    );
    Quantiles {
        error,
        scale: Scale::new(error),
        quantity,
    }
}

impl<F> Adapt for Quantiles<F> {}

impl<T, F> AggregateFunction<T> for Quantiles<F>
where
    F: Fn(&T) -> f64 + Clone + Send + 'static,
{
    type Accumulator = Buckets;
    type Output = Distribution;
    const MERGES: bool = true;
    const INVERTS: bool = true;

    fn parameters(&self) -> String {
        format!("quantiles within {}", self.error)
    }

    fn create(&self) -> Buckets {
        Buckets::default()
    }

    fn add(&self, accumulator: &mut Buckets, _time: Timestamp, item: &T) {
        let value = (self.quantity)(item);
        if value.is_nan() {
            return;
        }
        let bucket = self.scale.bucket(value);
        let buckets = &mut accumulator.0;
        match buckets.binary_search_by_key(&bucket, |kept| kept.0) {
            Ok(slot) => buckets[slot].1 += 1,
            Err(slot) => buckets.insert(slot, (bucket, 1)),
        }
    }

    fn merge(&self, accumulator: &mut Buckets, other: &Buckets) {
        let mine = std::mem::take(&mut accumulator.0);
        let both = &mut accumulator.0;
        both.reserve(mine.len().max(other.0.len()));
        let mut theirs = other.0.iter().copied().peekable();
        for (bucket, count) in mine {
            while let Some(before) = theirs.next_if(|their| their.0 < bucket) {
                both.push(before);
            }
            let same = theirs.next_if(|their| their.0 == bucket);
            both.push((bucket, count + same.map_or(0, |their| their.1)));
        }
        both.extend(theirs);
    }

    fn subtract(&self, accumulator: &mut Buckets, other: &Buckets) {
        let mut theirs = other.0.iter().copied().peekable();
        accumulator.0.retain_mut(|(bucket, count)| {
            if let Some(their) = theirs.next_if(|their| their.0 == *bucket) {
                *count -= their.1;
            }
            *count > 0
        });
        assert!(
            theirs.next().is_none(),
            "only what was merged before can be subtracted"
        );
    }

    fn finish(&self, accumulator: &Buckets) -> Distribution {
        Distribution {
            scale: self.scale,
            buckets: accumulator.clone(),
        }
    }
}
