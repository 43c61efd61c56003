//! Distinct values, exactly.
//!
//! Cost: every distinct value is kept. A sorted set rather than a hash set, so that the same values always give the
//! same bytes in a checkpoint; an add is O(log n). For large sets see
//! [`distinct_approximate`](super::distinct_approximate).

use std::collections::BTreeSet;

use millstream_engine::time::Timestamp;

use super::{Adapt, AggregateFunction, Stored};

/// Counts distinct values; see [`distinct`].
#[derive(Debug, Clone, Copy)]
pub struct Distinct<F> {
    value: F,
}

/// Keeps distinct values; see [`distinct_set`].
#[derive(Debug, Clone, Copy)]
pub struct DistinctSet<F> {
    value: F,
}

/// How many different `value`s there are. Merges.
pub fn distinct<T, K: Ord, F>(value: F) -> Distinct<F>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    Distinct { value }
}

/// The different `value`s. Merges.
pub fn distinct_set<T, K: Ord, F>(value: F) -> DistinctSet<F>
where
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    DistinctSet { value }
}

impl<F> Adapt for Distinct<F> {}
impl<F> Adapt for DistinctSet<F> {}

impl<T, K, F> AggregateFunction<T> for Distinct<F>
where
    K: Stored + Ord,
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    type Accumulator = BTreeSet<K>;
    type Output = u64;
    const MERGES: bool = true;
    const GROWS: bool = true;

    fn create(&self) -> BTreeSet<K> {
        BTreeSet::new()
    }

    fn add(&self, accumulator: &mut BTreeSet<K>, _time: Timestamp, item: &T) {
        accumulator.insert((self.value)(item));
    }

    fn merge(&self, accumulator: &mut BTreeSet<K>, other: &BTreeSet<K>) {
        accumulator.extend(other.iter().cloned());
    }

    fn finish(&self, accumulator: &BTreeSet<K>) -> u64 {
        accumulator.len() as u64
    }
}

impl<T, K, F> AggregateFunction<T> for DistinctSet<F>
where
    K: Stored + Ord,
    F: Fn(&T) -> K + Clone + Send + 'static,
{
    type Accumulator = BTreeSet<K>;
    type Output = BTreeSet<K>;
    const MERGES: bool = true;
    const GROWS: bool = true;

    fn create(&self) -> BTreeSet<K> {
        BTreeSet::new()
    }

    fn add(&self, accumulator: &mut BTreeSet<K>, _time: Timestamp, item: &T) {
        accumulator.insert((self.value)(item));
    }

    fn merge(&self, accumulator: &mut BTreeSet<K>, other: &BTreeSet<K>) {
        accumulator.extend(other.iter().cloned());
    }

    fn finish(&self, accumulator: &BTreeSet<K>) -> BTreeSet<K> {
        accumulator.clone()
    }
}
