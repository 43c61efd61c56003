//! Items under a key, in an order that does not depend on arrival.
//!
//! Place: below the functions that keep whole items. The rule is one for all of them: the key decides; of equal keys
//! the earlier event time; of equal times the lesser item. Items equal in all three cannot be told apart. So the
//! result is the same for every number of partitions, size of batches and order of merging.

use std::cmp::Ordering;
use std::fmt::Debug;

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Which end of an order is wanted: [`Least`] or [`Greatest`].
pub trait Direction: Debug + Clone + Copy + Send + 'static {
    /// What comparing a winner with a loser gives.
    const WINS: Ordering;
}

/// The low end.
#[derive(Debug, Clone, Copy)]
pub struct Least;

/// The high end.
#[derive(Debug, Clone, Copy)]
pub struct Greatest;

impl Direction for Least {
    const WINS: Ordering = Ordering::Less;
}

impl Direction for Greatest {
    const WINS: Ordering = Ordering::Greater;
}

/// An item with what decides its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranked<K, T> {
    pub(super) key: K,
    pub(super) time: Timestamp,
    pub(super) item: T,
}

impl<K: Ord, T: Ord> Ranked<K, T> {
    /// Where an item stands against this one: `Less` means before it, so better placed.
    pub(super) fn place<D: Direction>(&self, key: &K, time: Timestamp, item: &T) -> Ordering {
        match key.cmp(&self.key) {
            Ordering::Equal => (time, item).cmp(&(self.time, &self.item)),
            order if order == D::WINS => Ordering::Less,
            _ => Ordering::Greater,
        }
    }
}
