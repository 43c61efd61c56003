//! The write side of a secondary index: which entries an event makes and unmakes.
//!
//! An entry is what the row is found by, as a part of a key, and then the row's key; it has no value. Entries are stored
//! with the rows, in one transaction, as rows of a table of their own.

use std::collections::BTreeMap;
use std::ops::Bound;

use millstream_engine::state::{ROW_KEY_BYTES_MAX, StateStore, StateWrite, TableId};

use super::error::RowError;
use super::fresh::{Fresh, Generations};
use super::range::KeyRange;
use super::{AnyIndex, TableKey};

/// Entries of one prefix that one read of the store gives.
const PAGE: usize = 64;

/// An entry that an event makes or unmakes.
#[derive(Debug)]
struct Change {
    entry: Vec<u8>,
    /// Length of what the row is found by.
    found_by: usize,
    is_there: bool,
}

/// Keeps one index of a table.
#[derive(Debug)]
pub(super) struct IndexMut<K: 'static, R: 'static> {
    index: &'static dyn AnyIndex<K, R>,
    /// Its place among the table's.
    at: usize,
    id: TableId,
    /// Of the event that is being applied.
    event: Vec<Change>,
    /// Of events that are applied and not shown.
    unpublished: BTreeMap<Vec<u8>, bool>,
}

impl<K: TableKey, R> IndexMut<K, R> {
    pub(super) const fn new(index: &'static dyn AnyIndex<K, R>, at: usize, id: TableId) -> Self {
        Self {
            index,
            at,
            id,
            event: Vec::new(),
            unpublished: BTreeMap::new(),
        }
    }

    /// An event has made a row of another one.
    pub(super) fn change(
        &mut self,
        key: &K,
        before: Option<&R>,
        after: Option<&R>,
    ) -> Result<(), RowError> {
        let before = before.and_then(|row| self.entry(key, row));
        let after = after.and_then(|row| self.entry(key, row));
        if before == after {
            return Ok(());
        }
        let mut note = |entry: Option<(Vec<u8>, usize)>, is_there| {
            if let Some((entry, found_by)) = entry {
                self.event.push(Change {
                    entry,
                    found_by,
                    is_there,
                });
            }
        };
        note(before, false);
        note(after, true);
        match self.event.last() {
            Some(change) if change.entry.len() > ROW_KEY_BYTES_MAX => Err(RowError::EntryTooLong {
                index: self.index.name(),
                bytes: change.entry.len(),
            }),
            _ => Ok(()),
        }
    }

    fn entry(&self, key: &K, row: &R) -> Option<(Vec<u8>, usize)> {
        let mut entry = Vec::new();
        if !self.index.write(key, row, &mut entry) {
            return None;
        }
        let found_by = entry.len();
        key.write(&mut entry);
        Some((entry, found_by))
    }

    /// Whether the event leaves a unique index unique.
    pub(super) fn check(
        &self,
        fresh: &Fresh<K>,
        store: Option<&StateStore>,
    ) -> Result<(), RowError> {
        if !self.index.is_unique() {
            return Ok(());
        }
        for change in self.event.iter().filter(|change| change.is_there) {
            let found_by = &change.entry[..change.found_by];
            let entries = self.entries(found_by, fresh, store)?;
            if entries.into_values().filter(|is_there| *is_there).count() > 1 {
                let index = self.index.name();
                return Err(RowError::Taken { index });
            }
        }
        Ok(())
    }

    /// Entries of rows that are found by this, as the event leaves them.
    fn entries(
        &self,
        found_by: &[u8],
        fresh: &Fresh<K>,
        store: Option<&StateStore>,
    ) -> Result<BTreeMap<Vec<u8>, bool>, RowError> {
        let mut entries = BTreeMap::new();
        // Before the store: what is stored in between is no longer fresh.
        let shown = fresh.lock().entries_with(self.at, found_by);
        if let Some(store) = store {
            self.stored(found_by, store, &mut entries)?;
        }
        entries.extend(shown);
        let from = (Bound::Included(found_by), Bound::Unbounded);
        let unpublished = self.unpublished.range::<[u8], _>(from);
        let own = unpublished.take_while(|(entry, _)| entry.starts_with(found_by));
        entries.extend(own.map(|(entry, is_there)| (entry.clone(), *is_there)));
        let event = self.event.iter();
        let own = event.filter(|change| change.entry.starts_with(found_by));
        entries.extend(own.map(|change| (change.entry.clone(), change.is_there)));
        Ok(entries)
    }

    fn stored(
        &self,
        found_by: &[u8],
        store: &StateStore,
        into: &mut BTreeMap<Vec<u8>, bool>,
    ) -> Result<(), RowError> {
        let mut range = KeyRange::beginning_with(found_by.to_vec());
        loop {
            let (from, to) = range.bounds();
            let page = store.scan_range(self.id, from, to, PAGE);
            let page = page.map_err(RowError::Store)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            range = range.behind(last);
            into.extend(page.into_iter().map(|(entry, _)| (entry, true)));
        }
    }

    /// Ends an event: keeps its changes.
    pub(super) fn keep(&mut self) {
        let changes = self.event.drain(..);
        self.unpublished
            .extend(changes.map(|change| (change.entry, change.is_there)));
    }

    /// Ends an event: forgets its changes.
    pub(super) fn undo(&mut self) {
        self.event.clear();
    }

    /// Shows readers what changed since the last call.
    pub(super) fn publish(&mut self, fresh: &mut Generations<K>) {
        for (entry, is_there) in std::mem::take(&mut self.unpublished) {
            fresh.enter(self.at, entry, is_there);
        }
    }

    /// Stores an entry, or that it is gone.
    pub(super) fn write_of(&self, (key, is_there): (Vec<u8>, bool)) -> StateWrite {
        let table = self.id;
        if is_there {
            let value = Vec::new();
            StateWrite::PutRow { table, key, value }
        } else {
            StateWrite::DeleteRow { table, key }
        }
    }
}
