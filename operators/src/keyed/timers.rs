//! Timers of all keys of a partition, in the order of their times.
//!
//! A timer that is taken off stays in the heap until its time or the next sweep; what makes an entry valid is that its
//! key still knows its number. Swept when more than half are invalid, so the heap has at most about twice the timers set.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// One entry of the heap.
#[derive(Clone, Debug)]
pub(super) struct Due<K> {
    pub(super) time: i64,
    /// In the order of setting, over all keys.
    pub(super) number: u64,
    pub(super) key: K,
}

impl<K> PartialEq for Due<K> {
    fn eq(&self, other: &Self) -> bool {
        (self.time, self.number) == (other.time, other.number)
    }
}

impl<K> Eq for Due<K> {}

impl<K> PartialOrd for Due<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Due<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
    }
}

/// Below this many entries nothing is swept.
const SWEEP_MIN: usize = 64;

/// The timers of one kind of time.
#[derive(Clone, Debug)]
pub(super) struct Timers<K> {
    heap: BinaryHeap<Reverse<Due<K>>>,
    invalid: usize,
}

impl<K> Timers<K> {
    pub(super) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            invalid: 0,
        }
    }

    pub(super) fn push(&mut self, due: Due<K>) {
        self.heap.push(Reverse(due));
    }

    /// The earliest time; of one that was taken off, perhaps.
    pub(super) fn first(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse(due)| due.time)
    }

    /// Takes the earliest one that is at or before `until`.
    pub(super) fn pop_due(&mut self, until: i64) -> Option<Due<K>> {
        if self.first()? > until {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }

    /// One entry is valid no longer.
    pub(super) const fn invalidate(&mut self) {
        self.invalid += 1;
    }

    /// An entry that was invalid has left.
    pub(super) const fn left_invalid(&mut self) {
        self.invalid = self.invalid.saturating_sub(1);
    }

    pub(super) fn wants_sweep(&self) -> bool {
        self.heap.len() >= SWEEP_MIN && self.invalid > self.heap.len() / 2
    }

    pub(super) fn sweep(&mut self, mut is_valid: impl FnMut(&Due<K>) -> bool) {
        self.heap.retain(|Reverse(due)| is_valid(due));
        self.invalid = 0;
    }

    pub(super) fn clear(&mut self) {
        self.heap.clear();
        self.invalid = 0;
    }

    /// Timers that are set.
    pub(super) fn len(&self) -> usize {
        self.heap.len().saturating_sub(self.invalid)
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.heap.len()
    }
}
