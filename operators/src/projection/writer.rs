//! The write side of a table, owned by the projection's actor.
//!
//! Rows live in a plain map of their one owner; what changed is copied to the readers' map per batch, and
//! to the store about once a second, so a key that changes a thousand times in between costs both once.
//! An event's changes are undone if it fails: the first time that it touches a row, the row is kept.

mod foresight;
mod letting_go;
mod showing;

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use millstream_engine::codec::{StandaloneReader, StandaloneWriter};
use millstream_engine::event::Offset;
use millstream_engine::state::{ROW_KEY_BYTES_MAX, StateStore, TableId};

use super::error::RowError;
use super::fresh::Fresh;
use super::hot::HotRows;
use super::indexing::IndexMut;
use super::range::key_bytes;
use super::versions::{Stamp, VersionIds, VersionsMut};
use super::{Row, Table, TableKey};

use foresight::Foresight;
pub(super) use foresight::{AHEAD, mark_of};
pub(super) use letting_go::middle;

/// One row, or the place of one that is not there.
#[derive(Debug)]
struct Slot<K, R> {
    key: K,
    row: Option<R>,
    /// Number of the event that touched it last: an event's first touch keeps the old row.
    touched: u64,
    /// Number of the event that read or touched it last.
    used: u64,
    unpublished: bool,
    unstored: bool,
    /// Readers know that the store does not have it so.
    is_fresh: bool,
}

/// Where the rows of a table are.
pub(crate) struct Place<'p, K: TableKey, R: 'static> {
    pub(crate) table: &'p Table<K, R>,
    pub(crate) id: TableId,
    /// Of the tables that its indexes are, in their order, and then of its changes and versions if it is versioned.
    pub(crate) beside: &'p [TableId],
    /// `None` in the test kit, where nothing was ever stored.
    pub(crate) store: Option<StateStore>,
    pub(crate) hot: Arc<HotRows<K, R>>,
    /// Nothing was ever stored in it.
    pub(crate) is_complete: bool,
    /// Which of the actors that write the table.
    pub(crate) actor: u16,
}

/// Changes rows of one table, inside [`Projection::project`](super::Projection::project).
pub struct TableMut<K: TableKey, R: 'static> {
    id: TableId,
    /// `None` in the test kit, where nothing was ever stored.
    store: Option<StateStore>,
    hot: Arc<HotRows<K, R>>,
    fresh: Arc<Fresh<K>>,
    indexes: Vec<IndexMut<K, R>>,
    /// Only of a table that keeps them, and has a store.
    versions: Option<Box<VersionsMut>>,
    actor: u16,
    hasher: foldhash::fast::RandomState,
    table: HashTable<u32>,
    foresight: Foresight,
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
    /// The write side of a table. What an earlier one of the same actor has shown and not stored is shown no longer: it
    /// comes again. What it has stored is left to the store.
    pub(crate) fn new(place: Place<'_, K, R>) -> Self {
        let indexes = place.table.indexes().iter().zip(place.beside);
        let indexes = indexes.enumerate();
        let indexes = indexes.map(|(at, (index, id))| IndexMut::new(*index, at, *id));
        let versions = match (&place.store, place.table.retention()) {
            (Some(store), Some(retention)) => VersionIds::last_of(place.beside)
                .map(|ids| VersionsMut::new(ids, store.clone(), place.actor, retention))
                .map(Box::new),
            _ => None,
        };
        let table = Self {
            id: place.id,
            versions,
            actor: place.actor,
            store: place.store,
            fresh: place.hot.fresh(place.actor),
            indexes: indexes.collect(),
            hot: place.hot,
            hasher: foldhash::fast::RandomState::default(),
            table: HashTable::new(),
            foresight: Foresight::new(),
            slots: Vec::new(),
            unpublished: Vec::new(),
            unstored: Vec::new(),
            undo: Vec::new(),
            event: 1,
            complete: place.is_complete,
            failed: None,
            reader: StandaloneReader::new(),
            writer: StandaloneWriter::new(),
            key_bytes: Vec::new(),
        };
        let (kept, shown) = (table.hot.kept(), table.fresh.shown());
        // All are kept before any is taken back.
        for (key, snapshot) in shown
            .iter()
            .flat_map(|key| kept.iter().map(move |kept| (key, kept)))
        {
            snapshot.keep(key, || Ok(table.hot.get(key)));
        }
        table.fresh.take();
        table.hot.take_back(&shown);
        table.hot.forget_left(table.actor);
        table.show_head();
        table
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
        let guess = self.foresight.guess();
        if let Some(place) = self.slots.get_mut(guess as usize)
            && place.key == *key
        {
            self.foresight.learn(guess, place.used);
            place.used = self.event;
            return Some(guess);
        }
        let hash = self.hasher.hash_one(key);
        let slots = &self.slots;
        if let Some(&slot) = self
            .table
            .find(hash, |&slot| slots[slot as usize].key == *key)
        {
            let place = &mut self.slots[slot as usize];
            self.foresight.learn(slot, place.used);
            place.used = self.event;
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
            used: self.event,
            unpublished: false,
            unstored: false,
            is_fresh: false,
        });
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.table.insert_unique(hash, slot, |&slot| {
            hasher.hash_one(&slots[slot as usize].key)
        });
        self.foresight.learn(slot, 0);
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
        if self.versions.is_some() {
            self.check_versions()?;
        } else {
            for (slot, _) in &self.undo {
                if let Some(row) = &self.slots[*slot as usize].row {
                    self.writer.check(row).map_err(RowError::Encode)?;
                }
            }
        }
        if self.indexes.is_empty() {
            return Ok(());
        }
        self.check_indexes()
    }

    /// What the event makes of rows of which versions are kept.
    fn check_versions(&mut self) -> Result<(), RowError> {
        let (slots, writer) = (&self.slots, &mut self.writer);
        let Some(versions) = &mut self.versions else {
            return Ok(());
        };
        for (slot, before) in &self.undo {
            let place = &slots[*slot as usize];
            let row = place.row.as_ref();
            // One that was not there and is not there has not changed.
            if before.is_some() || row.is_some() {
                let write = row.map(|row| |out: &mut Vec<u8>| writer.append(row, out));
                versions.change(&key_bytes(&place.key), write)?;
            }
        }
        Ok(())
    }

    /// Says which event is applied next.
    #[inline]
    pub(crate) fn begin(&mut self, stamp: &Stamp, late: Option<Offset>) {
        if let Some(versions) = &mut self.versions {
            versions.begin(stamp, late);
        }
    }

    /// Whether rows that events will touch may be fetched [ahead](Self::foresee).
    #[inline]
    pub(crate) fn foresees(&mut self) -> bool {
        let rows = self.slots.len();
        self.foresight.pays(rows)
    }

    /// Has the rows at hand that events of these streams touch next, of which [marks](mark_of) are given.
    pub(crate) fn foresee(&self, streams: &[u64]) {
        let mut seen = 0;
        for streams in streams.chunks(AHEAD) {
            let mut guesses = [0; AHEAD];
            for (guess, stream) in guesses.iter_mut().zip(streams) {
                *guess = self.foresight.guess_of(*stream);
            }
            for guess in &guesses[..streams.len()] {
                if let Some(place) = self.slots.get(*guess as usize) {
                    seen ^= place.used ^ u64::from(place.is_fresh);
                }
            }
        }
        // Read for its own sake: nobody asks what.
        std::hint::black_box(seen);
    }

    /// Says of which stream the event is that is applied next.
    #[inline]
    pub(crate) fn of_stream(&mut self, stream: &str) {
        self.foresight.begin(stream);
    }

    /// Bytes of versions that were kept and not handed to the store.
    pub(crate) fn version_bytes(&self) -> usize {
        let versions = self.versions.as_ref();
        versions.map_or(0, |versions| versions.pending_bytes())
    }

    /// What the event makes of the indexes. Runs the functions that rows are found by, which are user code.
    fn check_indexes(&mut self) -> Result<(), RowError> {
        let (undo, slots) = (&self.undo, &self.slots);
        for index in &mut self.indexes {
            for (slot, before) in undo {
                let place = &slots[*slot as usize];
                index.change(&place.key, before.as_ref(), place.row.as_ref())?;
            }
            index.check(&self.fresh, self.store.as_ref())?;
        }
        Ok(())
    }

    /// Ends an event: keeps its changes.
    #[inline]
    pub(crate) fn keep(&mut self) {
        self.undo.clear();
        self.indexes.iter_mut().for_each(IndexMut::keep);
        if let Some(versions) = &mut self.versions {
            versions.keep();
        }
        self.foresight.end();
        self.event += 1;
    }

    /// Ends an event: undoes its changes.
    pub(super) fn undo(&mut self) {
        for (slot, row) in self.undo.drain(..).rev() {
            self.slots[slot as usize].row = row;
        }
        self.indexes.iter_mut().for_each(IndexMut::undo);
        if let Some(versions) = &mut self.versions {
            versions.undo();
        }
        self.failed = None;
        self.foresight.end();
        self.event += 1;
    }
}
