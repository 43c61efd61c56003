//! Keys of partitions that were further on than others when they were put together.
//!
//! Partitions give windows out at their watermarks, which differ where time is the clock's or a lane is idle. In another
//! number of partitions keys of one that had given a window out may meet keys of one that had not: the window is given
//! out once more, for those others. Empty but for that.

use std::hash::Hash;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use millstream_engine::checkpoint::Restoring;
use serde::{Deserialize, Serialize};

/// The end of the last window that was given out, by key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Hash + Eq + Serialize",
    deserialize = "K: Hash + Eq + Deserialize<'de>"
))]
pub(super) struct Ahead<K>(HashMap<K, i64, FixedState>);

impl<K> Default for Ahead<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Eq> Ahead<K> {
    /// Whether the window that ends at `end` was given out for this key.
    #[inline]
    pub(super) fn has_given(&self, key: &K, end: i64) -> bool {
        !self.0.is_empty() && self.0.get(key).is_some_and(|given| *given >= end)
    }

    /// Windows that end by `end` were given out for all keys.
    pub(super) fn given(&mut self, end: i64) {
        if !self.0.is_empty() {
            self.0.retain(|_, given| *given > end);
        }
    }

    /// Adds what was saved, as far as it is this partition's.
    pub(super) fn take_back(&mut self, saved: Self, restoring: &Restoring) {
        let own = saved.0.into_iter();
        self.0.extend(own.filter(|(key, _)| restoring.owns(key)));
    }

    /// Adds those of `keys` whose partitions had given out more than others; `given` has the end of the last window of
    /// each partition that was saved.
    pub(super) fn put_together(&mut self, key: &K, given: &[i64], restoring: &Restoring)
    where
        K: Clone,
    {
        let Some(&least) = given.iter().min() else {
            return;
        };
        if given.iter().all(|given| *given == least) {
            return;
        }
        let partition = restoring.saved_partition_of(key);
        let until = partition.and_then(|partition| given.get(partition));
        if let Some(&until) = until.filter(|until| **until > least) {
            let held = self.0.entry(key.clone()).or_insert(until);
            *held = (*held).max(until);
        }
    }
}
