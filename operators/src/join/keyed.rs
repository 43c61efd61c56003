//! State per key, and when each key is to be looked at next.
//!
//! A queue has places of keys, with four bytes instead of a copy of the key, and beside it is known of each place when it
//! is due: one that leaves the queue counts if that is the time. So nothing is taken off the queue when a key is due earlier
//! than was thought, what is looked at in vain is not read from disk, and a key that is only looked at is not saved again.
//! All that is made anew from the state when that is restored.
//! A key that has nothing any more stays for a while, since it may come again: those are removed when they are half of all.
//! Invariant: each key that is due before the end of time is in the queue, with its place and that time. Where a key is
//! removed the last one takes its place, and is queued once more.
//! Cost: 24 bytes per key in memory, and 16 for each time that it was queued anew, until that time comes.

use std::hash::Hash;

use super::due::DueQueue;
use crate::table::Table;

/// Fewer keys that have nothing may stay.
const EMPTY_MIN: usize = if cfg!(test) { 2 } else { 1024 };

/// In the place of a due: the key has nothing, or has not said when it is due.
const EMPTY: i64 = i64::MIN;

/// State by key.
pub(super) struct Keyed<K, V> {
    /// To be saved and restored, and to be changed where it is; keys come and go by the calls below.
    pub(super) table: Table<K, V>,
    /// By place, when it is due.
    dues: Vec<i64>,
    /// How many of them have nothing.
    empty: usize,
    queue: DueQueue<u32>,
}

impl<K, V> Keyed<K, V> {
    /// With nothing in it, for keys that are mostly due within `span` of each other.
    pub(super) fn new(span: i64) -> Self {
        Self {
            table: Table::default(),
            dues: Vec::new(),
            empty: 0,
            queue: DueQueue::new(span),
        }
    }

    /// When the key at a place is due; the end of time if that was not said yet.
    #[inline]
    pub(super) fn due(&self, place: usize) -> i64 {
        match self.dues[place] {
            EMPTY => i64::MAX,
            due => due,
        }
    }

    /// The key at a place is due at `due`, for which the queue has it at `at`; never if that is the end of time.
    #[inline]
    pub(super) fn set_due(&mut self, place: usize, due: i64, at: i64) {
        let before = std::mem::replace(&mut self.dues[place], due);
        self.empty -= usize::from(before == EMPTY);
        if at < i64::MAX {
            self.queue.push(at, place as u32);
        }
    }

    /// A place that is due, and when it is, if the queue has one before `before`; `at` says where in the queue a time is.
    #[inline]
    pub(super) fn pop(&mut self, before: i64, at: impl Fn(i64) -> i64) -> Option<(usize, i64)> {
        loop {
            let (queued, place) = self.queue.pop(before)?;
            let place = place as usize;
            // It may have been queued anew for an earlier time, or be another key's by now.
            let due = self.dues.get(place).filter(|due| **due != EMPTY);
            let due = due.filter(|due| at(**due) == queued);
            if let Some(&due) = due {
                return Some((place, due));
            }
        }
    }

    /// What the queue has first, at the latest.
    pub(super) fn first(&self) -> Option<i64> {
        self.queue.first()
    }

    /// After the table was restored: `due` gives for each place, key and value when it is due, unless there is nothing.
    pub(super) fn queue_all(
        &mut self,
        mut due: impl FnMut(usize, &K, &V) -> Option<i64>,
        at: impl Fn(i64) -> i64,
    ) {
        let Self {
            table,
            dues,
            empty,
            queue,
        } = self;
        dues.clear();
        *empty = 0;
        table.for_each(|key, value| {
            let place = dues.len();
            let due = due(place, key, value);
            dues.push(due.unwrap_or(EMPTY));
            *empty += usize::from(due.is_none());
            let at = due.map_or(i64::MAX, &at);
            if at < i64::MAX {
                queue.push(at, place as u32);
            }
        });
    }
}

impl<K: Hash + Eq, V> Keyed<K, V> {
    /// The place of `key`, if it has one.
    #[inline]
    pub(super) fn find(&mut self, key: &K) -> Option<usize> {
        self.table.find(key)
    }

    /// The place of `key`, new and never due if it has none.
    #[inline(always)]
    pub(super) fn find_or_insert(&mut self, key: K) -> usize
    where
        V: Default,
    {
        let place = self.table.find_or_insert_with(key, V::default);
        if place == self.dues.len() {
            self.dues.push(EMPTY);
            self.empty += 1;
        }
        place
    }

    /// The key at a place, which was due, has nothing any more; it is removed now or later.
    pub(super) fn leave(
        &mut self,
        place: usize,
        is_empty: impl Fn(&V) -> bool,
        at: impl Fn(i64) -> i64,
    ) {
        self.dues[place] = EMPTY;
        self.empty += 1;
        if self.empty >= EMPTY_MIN && self.empty * 2 > self.dues.len() {
            self.remove_empty(is_empty, at);
        }
    }

    #[cold]
    fn remove_empty(&mut self, is_empty: impl Fn(&V) -> bool, at: impl Fn(i64) -> i64) {
        // From the last one on: what takes a place stays.
        for place in (0..self.dues.len()).rev() {
            if self.dues[place] != EMPTY {
                continue;
            }
            if !is_empty(self.table.at(place).1) {
                self.dues[place] = i64::MAX; // It is never due.
                continue;
            }
            self.table.remove_at(place);
            self.dues.swap_remove(place);
            let moved = self.dues.get(place).map(|due| at(*due));
            if let Some(at) = moved.filter(|at| *at < i64::MAX) {
                self.queue.push(at, place as u32);
            }
        }
        self.empty = 0;
        if self.dues.is_empty() {
            // A burst of keys must not be paid for ever.
            self.table.give_memory_back();
            self.dues = Vec::new();
        }
    }
}
