//! All items.
//!
//! Cost: every item is kept until its window closes, with no bound but the window's. Where a total or a sketch answers
//! the question, it is smaller by orders of magnitude.

use millstream_engine::time::Timestamp;

use super::{Adapt, AggregateFunction, Stored};

/// Keeps all items as they come; see [`collect`].
#[derive(Debug, Clone, Copy)]
pub struct Collect;

/// Keeps all items and sorts them at the end; see [`collect_sorted`].
#[derive(Debug, Clone, Copy)]
pub struct CollectSorted;

/// All items in order of arrival, so the result depends on partitions, batches and merging. Merges.
pub fn collect() -> Collect {
    Collect
}

/// All items by event time, those of equal times by their own order, however they arrived. Merges.
pub fn collect_sorted() -> CollectSorted {
    CollectSorted
}

impl Adapt for Collect {}
impl Adapt for CollectSorted {}

impl<T: Stored> AggregateFunction<T> for Collect {
    type Accumulator = Vec<T>;
    type Output = Vec<T>;
    const MERGES: bool = true;
    const GROWS: bool = true;

    fn create(&self) -> Vec<T> {
        Vec::new()
    }

    fn add(&self, accumulator: &mut Vec<T>, _time: Timestamp, item: &T) {
        accumulator.push(item.clone());
    }

    fn merge(&self, accumulator: &mut Vec<T>, other: &Vec<T>) {
        accumulator.extend_from_slice(other);
    }

    fn finish(&self, accumulator: &Vec<T>) -> Vec<T> {
        accumulator.clone()
    }
}

impl<T: Stored + Ord> AggregateFunction<T> for CollectSorted {
    type Accumulator = Vec<(Timestamp, T)>;
    type Output = Vec<T>;
    const MERGES: bool = true;
    const GROWS: bool = true;

    fn create(&self) -> Self::Accumulator {
        Vec::new()
    }

    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
        accumulator.push((time, item.clone()));
    }

    fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        accumulator.extend_from_slice(other);
    }

    fn finish(&self, accumulator: &Self::Accumulator) -> Vec<T> {
        let mut sorted: Vec<&(Timestamp, T)> = accumulator.iter().collect();
        sorted.sort_unstable();
        sorted.into_iter().map(|(_, item)| item.clone()).collect()
    }
}
