//! How many items.

use millstream_engine::time::Timestamp;

use super::{Adapt, AggregateFunction};

/// Counts items; see [`count`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Count;

/// The number of items, 0 of none. Merges and inverts.
///
/// Adding is one increment of an integer.
pub fn count() -> Count {
    Count
}

impl Adapt for Count {}

impl<T> AggregateFunction<T> for Count {
    type Accumulator = u64;
    type Output = u64;
    const MERGES: bool = true;
    const INVERTS: bool = true;

    #[inline]
    fn create(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&self, accumulator: &mut u64, _time: Timestamp, _item: &T) {
        *accumulator += 1;
    }

    #[inline]
    fn merge(&self, accumulator: &mut u64, other: &u64) {
        *accumulator += other;
    }

    #[inline]
    fn subtract(&self, accumulator: &mut u64, other: &u64) {
        *accumulator -= other;
    }

    #[inline]
    fn finish(&self, accumulator: &u64) -> u64 {
        *accumulator
    }
}
