//! Keys by when they are to be looked at next.
//!
//! Far ones lie in buckets of time, unsorted; only the bucket that time has come to is sorted, in a heap. So an entry
//! costs a push and, once it is near, the logarithm of its bucket, and a watermark looks at nothing that is not due.
//! Entries are never changed: what is no longer true is found out by whoever takes it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

#[derive(Clone)]
struct Entry<K> {
    due: i64,
    key: K,
}

/// The earliest first.
impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl<K> Eq for Entry<K> {}

#[derive(Clone)]
pub(super) struct Due<K> {
    width: i64,
    /// By number of the bucket.
    far: BTreeMap<i64, Vec<Entry<K>>>,
    near: BinaryHeap<Entry<K>>,
    /// Number of the last bucket that is in the heap.
    reached: i64,
}

impl<K> Due<K> {
    /// Buckets of `width` microseconds.
    pub(super) fn new(width: i64) -> Self {
        Self {
            width: width.max(1),
            far: BTreeMap::new(),
            near: BinaryHeap::new(),
            reached: i64::MIN,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, due: i64, key: K) {
        let bucket = due.div_euclid(self.width);
        let entry = Entry { due, key };
        if bucket <= self.reached {
            self.near.push(entry);
        } else {
            self.far.entry(bucket).or_default().push(entry);
        }
    }

    /// Takes out an entry that is due by `until`, the earliest first.
    pub(super) fn pop(&mut self, until: i64) -> Option<(i64, K)> {
        loop {
            if self.near.peek().is_some_and(|entry| entry.due <= until) {
                return self.near.pop().map(|entry| (entry.due, entry.key));
            }
            let bucket = self.far.first_entry()?;
            if *bucket.key() > until.div_euclid(self.width) {
                return None;
            }
            self.reached = *bucket.key();
            self.near.extend(bucket.remove());
        }
    }

    /// No entry is due before this. Exact once its bucket is near, so that whoever waits for it may come too early,
    /// but once only.
    pub(super) fn first(&self) -> Option<i64> {
        let far = self.far.keys().next();
        let far = far.map(|bucket| bucket.saturating_mul(self.width));
        let near = self.near.peek().map(|entry| entry.due);
        [near, far].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_gives_what_is_due_in_order(
            width in 1i64..20,
            steps in prop::collection::vec((any::<bool>(), -100i64..100), 0..200)
        ) {
            let mut due = Due::new(width);
            let mut model: Vec<i64> = Vec::new();
            for (push, time) in steps {
                if push {
                    due.push(time, ());
                    model.push(time);
                    model.sort_unstable();
                    continue;
                }
                prop_assert!(due.first() <= model.first().copied() || model.is_empty());
                while let Some((found, ())) = due.pop(time) {
                    prop_assert_eq!(found, model.remove(0));
                }
                prop_assert!(model.first().is_none_or(|first| *first > time));
            }
        }
    }
}
