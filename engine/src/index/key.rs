//! The order of entries, and how to find one among parts known by their first.

use super::IndexEntry;

/// Where an entry sorts, but for its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) hash: u64,
    pub(super) version: u64,
}

impl IndexEntry {
    pub(super) fn key(&self) -> Key {
        Key {
            hash: self.hash,
            version: self.version,
        }
    }
}

/// First of the parts, each known by the key of its first entry, that may hold an entry at `key` or
/// above. Entries with one key may lie on both sides of a border, hence the step back.
pub(super) fn first_part(parts: usize, first: impl Fn(usize) -> Key, key: Key) -> usize {
    partition_point(parts, |part| first(part) < key).saturating_sub(1)
}

/// End, exclusive, of the parts that may hold an entry at `key` or below.
pub(super) fn parts_end(parts: usize, first: impl Fn(usize) -> Key, key: Key) -> usize {
    partition_point(parts, |part| first(part) <= key)
}

fn partition_point(parts: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, parts);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
