//! Distinct values, approximately, in bounded space: HyperLogLog.
//!
//! Own code although libraries exist: those looked at count by history (the HIP estimator of Apache's `datasketches`), so
//! that the answer depends on the order of arrival and on merging, or fix the precision in the type and rest on unsafe
//! code (`cardinality-estimator`). Here equal sets of values give equal answers and equal bytes. The sketch itself is
//! in [`registers`](super::registers).

use millstream_engine::time::Timestamp;

use super::registers::Registers;
use super::{Adapt, AggregateFunction, StableHash};

/// Counts distinct values approximately; see [`distinct_approximate`].
#[derive(Debug, Clone, Copy)]
pub struct DistinctApproximate<F> {
    precision: u8,
    value: F,
}

/// About how many different `value`s there are. Merges.
///
/// `precision` is 4 to 18. The standard error is 1.04 / √(2^precision) of the answer, in at most about 2^precision
/// bytes per accumulator: 12 gives 1.6 % in 4 KiB, 14 gives 0.8 % in 16 KiB. A few values take a few bytes and are
/// counted nearly exactly. The answer is the same for every order of arrival, number of partitions and way of merging.
///
/// # Panics
/// When `precision` is out of its range.
pub fn distinct_approximate<T, K: StableHash, F>(precision: u8, value: F) -> DistinctApproximate<F>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    assert!(
        (4..=18).contains(&precision),
        "the precision of a distinct count is 4 to 18, not {precision}"
    );
    DistinctApproximate { precision, value }
}

impl<F> Adapt for DistinctApproximate<F> {}

impl<T, K, F> AggregateFunction<T> for DistinctApproximate<F>
where
    K: StableHash,
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    type Accumulator = Registers;
    type Output = u64;
    const MERGES: bool = true;

    fn parameters(&self) -> String {
        format!("distinct values to a precision of {}", self.precision)
    }

    fn create(&self) -> Registers {
        Registers::new(self.precision)
    }

    fn add(&self, accumulator: &mut Registers, _time: Timestamp, item: &T) {
        accumulator.add((self.value)(item).stable_hash());
    }

    fn merge(&self, accumulator: &mut Registers, other: &Registers) {
        accumulator.merge(other);
    }

    fn finish(&self, accumulator: &Registers) -> u64 {
        accumulator.estimate().round() as u64
    }
}
