//! Batches, the unit of everything, and the controller that chooses how large they are.
//!
//! Place: a [`Batch`] travels in mailbox lanes from stage to stage; a [`BatchController`] belongs to
//! one receiver and tells it how much to drain. Threads: one owner each. Cost: the controller works
//! once per batch, some tens of nanoseconds. Not here: reading the clock (the caller measures).

mod controller;
mod model;

pub use controller::{BatchController, BatchLimits, InvalidBatchLimits};

use crate::time::Timestamp;

/// Items with their event times, as two columns of one length.
///
/// Columns, because watermarks and windows look at the times alone. Order is the order of arrival, not
/// of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<T> {
    /// Event time of each item.
    pub times: Vec<Timestamp>,
    /// The items.
    pub items: Vec<T>,
}

impl<T> Batch<T> {
    /// An empty batch that owns no memory.
    pub const fn new() -> Self {
        Self {
            times: Vec::new(),
            items: Vec::new(),
        }
    }

    /// An empty batch with room for `items` items.
    pub fn with_capacity(items: usize) -> Self {
        Self {
            times: Vec::with_capacity(items),
            items: Vec::with_capacity(items),
        }
    }

    /// Adds one item at the end.
    pub fn push(&mut self, time: Timestamp, item: T) {
        self.times.push(time);
        self.items.push(item);
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        debug_assert_eq!(
            self.times.len(),
            self.items.len(),
            "columns of different length"
        );
        self.items.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Removes all items and keeps the memory for the next batch.
    pub fn clear(&mut self) {
        self.times.clear();
        self.items.clear();
    }

    /// The latest event time, `None` when empty. Cost: one pass over the times.
    pub fn time_max(&self) -> Option<Timestamp> {
        self.times.iter().copied().max()
    }

    /// Time and item, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, &T)> {
        self.times.iter().copied().zip(&self.items)
    }

    /// Rough bytes on the heap for the mailbox's bound: the columns, without what items point to.
    pub fn column_bytes(&self) -> usize {
        self.items.len() * (size_of::<Timestamp>() + size_of::<T>())
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> FromIterator<(Timestamp, T)> for Batch<T> {
    fn from_iter<I: IntoIterator<Item = (Timestamp, T)>>(pairs: I) -> Self {
        let (times, items) = pairs.into_iter().unzip();
        Self { times, items }
    }
}

#[cfg(test)]
mod tests;
