//! The write side of a table, owned by the projection's actor.
//!
//! Rows live in a plain map of their one owner; what changed is copied to the readers' map per batch, and
//! to the store about once a second, so a key that changes a thousand times in between costs both once.
//! An event's changes are undone if it fails: the first time that it touches a row, the row is kept.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use millstream_engine::codec::{EncodeError, StandaloneReader, StandaloneWriter};
use millstream_engine::state::{ROW_KEY_BYTES_MAX, StateStore, StateWrite, TableId};

use super::error::RowError;
use super::reader::HotRows;
use super::{Row, TableKey};

/// One row, or the place of one that is not there.
#[derive(Debug)]
struct Slot<K, R> {
    key: K,
    row: Option<R>,
    /// Number of the event that touched it last: an event's first touch keeps the old row.
    touched: u64,
    unpublished: bool,
    unstored: bool,
}

/// Changes rows of one table, inside [`Projection::project`](super::Projection::project).
pub struct TableMut<K: TableKey, R> {
    id: TableId,
    /// `None` in the test kit, where nothing was ever stored.
    store: Option<StateStore>,
    hot: Arc<HotRows<K, R>>,
    hasher: foldhash::fast::RandomState,
    table: HashTable<u32>,
    slots: Vec<Slot<K, R>>,
    unpublished: Vec<u32>,
    unstored: Vec<u32>,
    undo: Vec<(u32, Option<R>)>,
    event: u64,
    /// The store holds no row that is not here.
    complete: bool,
    failed: Option<RowError>,
    reader: StandaloneReader,
    writer: StandaloneWriter,
    key_bytes: Vec<u8>,
}

impl<K: TableKey, R> std::fmt::Debug for TableMut<K, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableMut")
            .field("id", &self.id)
            .field("rows", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl<K: TableKey, R: Row> TableMut<K, R> {
    /// The write side of table `id`; `complete` when nothing was ever stored in it.
    pub(crate) fn new(
        id: TableId,
        store: Option<StateStore>,
        hot: Arc<HotRows<K, R>>,
        complete: bool,
    ) -> Self {
        Self {
            id,
            store,
            hot,
            hasher: foldhash::fast::RandomState::default(),
            table: HashTable::new(),
            slots: Vec::new(),
            unpublished: Vec::new(),
            unstored: Vec::new(),
            undo: Vec::new(),
            event: 1,
            complete,
            failed: None,
            reader: StandaloneReader::new(),
            writer: StandaloneWriter::new(),
            key_bytes: Vec::new(),
        }
    }

    /// The table.
    pub(crate) const fn id(&self) -> TableId {
        self.id
    }

    /// The store holds rows that are not here.
    pub(crate) const fn has_more_stored(&mut self) {
        self.complete = false;
    }

    /// The row under `key`, if there is one.
    pub fn get(&mut self, key: &K) -> Option<&R> {
        let slot = self.slot(key)?;
        self.slots[slot as usize].row.as_ref()
    }

    /// Stores a row, in place of an earlier one.
    pub fn put(&mut self, key: &K, row: R) {
        if let Some(slot) = self.touch(key) {
            self.slots[slot as usize].row = Some(row);
        }
    }

    /// Removes a row, if it is there.
    pub fn remove(&mut self, key: &K) {
        if let Some(slot) = self.touch(key) {
            self.slots[slot as usize].row = None;
        }
    }

    /// Changes a row in place, from its default if it is not there.
    pub fn update(&mut self, key: &K, change: impl FnOnce(&mut R))
    where
        R: Default,
    {
        if let Some(slot) = self.touch(key) {
            change(self.slots[slot as usize].row.get_or_insert_default());
        }
    }

    /// The slot of a key, loaded from the store if it is not here. `None` when that failed: the event will
    /// fail, and is tried again.
    fn slot(&mut self, key: &K) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let slots = &self.slots;
        if let Some(&slot) = self
            .table
            .find(hash, |&slot| slots[slot as usize].key == *key)
        {
            return Some(slot);
        }
        self.key_bytes.clear();
        key.write(&mut self.key_bytes);
        if self.key_bytes.len() > ROW_KEY_BYTES_MAX {
            // No place is made for it, so every event that asks for it fails.
            let bytes = self.key_bytes.len();
            self.failed = Some(RowError::KeyTooLong { bytes });
            return None;
        }
        let row = if self.complete { None } else { self.load()? };
        let slot = u32::try_from(self.slots.len()).expect("four billion rows fit no memory");
        self.slots.push(Slot {
            key: key.clone(),
            row,
            touched: 0,
            unpublished: false,
            unstored: false,
        });
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.table.insert_unique(hash, slot, |&slot| {
            hasher.hash_one(&slots[slot as usize].key)
        });
        Some(slot)
    }

    /// The stored row under `key_bytes`. `None` when the store or the row cannot be read, `Some(None)`
    /// when there is no row.
    #[expect(clippy::option_option, reason = "failure is kept apart from absence")]
    #[cold]
    fn load(&mut self) -> Option<Option<R>> {
        let found = match &self.store {
            Some(store) => store.get(self.id, &self.key_bytes),
            None => Ok(None),
        };
        let bytes = match found {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Some(None),
            Err(cause) => {
                self.failed = Some(RowError::Store(cause));
                return None;
            }
        };
        match self.reader.decode(&bytes) {
            Ok(row) => Some(Some(row)),
            Err(cause) => {
                self.failed = Some(RowError::Decode(cause));
                None
            }
        }
    }

    /// The slot of a row that is about to change.
    fn touch(&mut self, key: &K) -> Option<u32> {
        let slot = self.slot(key)?;
        let place = &mut self.slots[slot as usize];
        if place.touched != self.event {
            place.touched = self.event;
            self.undo.push((slot, place.row.clone()));
        }
        if !place.unpublished {
            place.unpublished = true;
            self.unpublished.push(slot);
        }
        if !place.unstored {
            place.unstored = true;
            self.unstored.push(slot);
        }
        Some(slot)
    }

    /// Whether this event can be kept: its rows could be read, and what it changed can be written. Asked
    /// per event, since nobody could tell later which of a row's events must be undone. Runs `Serialize`,
    /// which is user code.
    #[inline]
    pub(crate) fn check(&mut self) -> Result<(), RowError> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        for (slot, _) in &self.undo {
            if let Some(row) = &self.slots[*slot as usize].row {
                self.writer.check(row).map_err(RowError::Encode)?;
            }
        }
        Ok(())
    }

    /// Ends an event: keeps its changes.
    #[inline]
    pub(crate) fn keep(&mut self) {
        self.undo.clear();
        self.event += 1;
    }

    /// Ends an event: undoes its changes.
    pub(super) fn undo(&mut self) {
        for (slot, row) in self.undo.drain(..).rev() {
            self.slots[slot as usize].row = row;
        }
        self.failed = None;
        self.event += 1;
    }

    /// Shows readers what changed since the last call; gives how many rows.
    pub(crate) fn publish(&mut self) -> usize {
        let count = self.unpublished.len();
        for slot in self.unpublished.drain(..) {
            let place = &mut self.slots[slot as usize];
            place.unpublished = false;
            self.hot.set(place.key.clone(), place.row.clone());
        }
        count
    }

    /// Rows that changed since they were last stored.
    pub(crate) fn unstored(&self) -> usize {
        self.unstored.len()
    }

    /// Adds the writes that store what changed, and counts it as stored.
    pub(crate) fn store(&mut self, writes: &mut Vec<StateWrite>) -> Result<(), EncodeError> {
        writes.reserve(self.unstored.len());
        for at in 0..self.unstored.len() {
            let place = &self.slots[self.unstored[at] as usize];
            let mut key = Vec::new();
            place.key.write(&mut key);
            writes.push(match &place.row {
                Some(row) => {
                    let mut value = Vec::new();
                    self.writer.append(row, &mut value)?;
                    StateWrite::PutRow {
                        table: self.id,
                        key,
                        value,
                    }
                }
                None => StateWrite::DeleteRow {
                    table: self.id,
                    key,
                },
            });
        }
        for slot in self.unstored.drain(..) {
            self.slots[slot as usize].unstored = false;
        }
        Ok(())
    }

    /// Rows held in memory, and places of rows known not to be there.
    pub(crate) fn rows(&self) -> usize {
        self.slots.len()
    }

    /// Lets all rows go; they are read again when they are needed. Only while everything is published
    /// and in the store.
    pub(crate) fn shrink(&mut self) {
        debug_assert!(self.unpublished.is_empty() && self.unstored.is_empty());
        self.complete = false;
        self.table.clear();
        for slot in std::mem::take(&mut self.slots) {
            // The readers' map is shared with the actors of other partitions, whose rows must stay.
            self.hot.forget(&slot.key);
        }
    }
}
