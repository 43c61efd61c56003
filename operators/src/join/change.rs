//! Tables as streams of changes.

use serde::{Deserialize, Serialize};

/// What happens to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change<V> {
    /// The row is this from now on.
    Upsert(V),
    /// There is no such row any more.
    Delete,
}

/// A change of the row of one key. Changes of a key take effect in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Update<K, V> {
    /// The key.
    pub key: K,
    /// What happens to its row.
    pub change: Change<V>,
}

impl<K, V> Update<K, V> {
    /// The row of `key` is `value` from now on.
    pub const fn upsert(key: K, value: V) -> Self {
        Self {
            key,
            change: Change::Upsert(value),
        }
    }

    /// `key` has no row any more.
    pub const fn delete(key: K) -> Self {
        Self {
            key,
            change: Change::Delete,
        }
    }
}
