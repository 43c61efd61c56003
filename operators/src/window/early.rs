//! Which keys of which windows wait for an early result by the clock.
//!
//! Bound: one entry per key and window that has not ended; what ends takes its entries with it, however far away the
//! next early results are.

use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// What waits for an early result by the clock.
#[derive(Clone, Debug)]
pub(super) struct Waiting<K> {
    /// By the window's end.
    keys: BTreeMap<i64, Vec<K>>,
    /// When they are given out.
    pub(super) due: Option<i64>,
}

impl<K> Waiting<K> {
    pub(super) const fn new() -> Self {
        Self {
            keys: BTreeMap::new(),
            due: None,
        }
    }

    /// A key that waits no longer than until its window ends.
    pub(super) fn add(&mut self, end: i64, key: K) {
        self.keys.entry(end).or_default().push(key);
    }

    /// Windows that end by `until` wait no longer.
    pub(super) fn end(&mut self, until: i64) {
        while let Some(first) = self.keys.first_entry()
            && *first.key() <= until
        {
            first.remove();
        }
        if self.keys.is_empty() {
            self.due = None;
        }
    }

    /// All that waits, if `now` it is due.
    pub(super) fn take(&mut self, now: i64) -> impl Iterator<Item = (i64, K)> + use<K> {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
        }
        let keys = is_due.then(|| std::mem::take(&mut self.keys));
        let keys = keys.into_iter().flatten();
        keys.flat_map(|(end, keys)| keys.into_iter().map(move |key| (end, key)))
    }

    pub(super) fn entries(&self) -> Vec<(i64, &K)> {
        let keys = self.keys.iter();
        keys.flat_map(|(&end, keys)| keys.iter().map(move |key| (end, key)))
            .collect()
    }

    /// Takes back what was saved, which was to be given out at `due`.
    pub(super) fn wait_again(&mut self, entries: impl Iterator<Item = (i64, K)>, due: Option<i64>) {
        let mut entries = entries.peekable();
        if entries.peek().is_some() {
            // Several partitions may have waited for different times: too early costs a result that is replaced.
            self.due = self.due.into_iter().chain(due).min();
        }
        entries.for_each(|(end, key)| self.add(end, key));
    }

    pub(super) fn len(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }
}
