//! Reading: one snapshot of everything.

mod letters;

use std::ops::Bound;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::catalog::{self, NEXT_KEY, NextIds, PROJECTION_KEYS};
use super::drops;
use super::progress::progress_key;
use super::seal::{self, SEAL_BYTES};
use super::store::Databases;
use super::{
    FoundTable, Progress, ProjectionId, ROW_KEY_BYTES_MAX, RegisteredProjection, Snapshot,
    StateError, TableId, chain, earlier,
};
use crate::event::{PartitionId, StreamId};
use crate::store::{Reader, Table};

/// Key and value of a row.
pub type Row = (Vec<u8>, Vec<u8>);

/// How much a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowsSize {
    /// Rows.
    pub rows: u64,
    /// Bytes of their keys and values, as they are stored.
    pub bytes: u64,
}

impl RowsSize {
    /// Adds a row with a key and a value of so many bytes.
    pub fn add_row(&mut self, key_bytes: usize, value_bytes: usize) {
        self.rows += 1;
        self.bytes += (TABLE_BYTES + key_bytes + value_bytes + SEAL_BYTES) as u64;
    }
}

/// A page ends at this many bytes, whatever the limit asked for: what a reader must be ready to hold.
pub(super) const PAGE_BYTES_MAX: usize = 16 << 20;

/// All tables at one moment, inside [`StateStore::view`](super::StateStore::view): rows, progress and dead
/// letters as one commit left them.
#[derive(Debug)]
pub struct StateView<'v> {
    pub(super) reader: &'v Reader<'v>,
    pub(super) databases: Databases,
}

impl StateView<'_> {
    /// The row under `key`, lent by the view; `None` when there is none.
    ///
    /// # Errors
    /// [`StateError::RowKey`], [`StateError::Store`]; [`StateError::Format`] when its bytes were damaged.
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<&[u8]>, StateError> {
        if key.len() > ROW_KEY_BYTES_MAX {
            return Err(StateError::RowKey {
                length: key.len(),
                max: ROW_KEY_BYTES_MAX,
            });
        }
        let whole = row_key(table, key);
        let stored = self.reader.get(self.databases.rows, &whole)?;
        stored.map(|stored| row_value(&whole, stored)).transpose()
    }

    /// Keys from `from` on in their order, at most `limit`: without their rows, which are not looked at.
    ///
    /// # Errors
    /// [`StateError::Store`].
    pub fn keys(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StateError> {
        let (from, to) = row_bounds(table, from, Bound::Unbounded);
        let rows = self
            .reader
            .range(self.databases.rows, as_ref(&from), as_ref(&to))?;
        rows.take(limit)
            .map(|row| Ok(row?.0[4..].to_vec()))
            .collect()
    }

    /// Counts rows between the bounds, at most `limit`, and their bytes; with the last key that was counted, if there may be more.
    pub(super) fn count_slice(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: u64,
    ) -> Result<(RowsSize, Option<Vec<u8>>), StateError> {
        let (from, to) = row_bounds(table, from, to);
        let mut counted = RowsSize::default();
        for row in self
            .reader
            .range(self.databases.rows, as_ref(&from), as_ref(&to))?
        {
            let (key, value) = row?;
            counted.rows += 1;
            counted.bytes += (key.len() + value.len()) as u64;
            if counted.rows == limit {
                return Ok((counted, Some(key[4..].to_vec())));
            }
        }
        Ok((counted, None))
    }

    /// How far a projection has come in a partition; `None` before it began.
    ///
    /// # Errors
    /// [`StateError::Format`], [`StateError::Store`].
    pub fn progress(
        &self,
        projection: ProjectionId,
        partition: PartitionId,
    ) -> Result<Option<Progress>, StateError> {
        let key = progress_key(projection, partition);
        let stored = self.reader.get(self.databases.progress, &key)?;
        stored.map(|stored| progress(&key, stored)).transpose()
    }

    /// The projection of this name and version, if it was registered.
    ///
    /// # Errors
    /// [`StateError::Format`], [`StateError::Store`].
    pub fn projection(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<RegisteredProjection>, StateError> {
        if catalog::check_name(name).is_err() {
            return Ok(None);
        }
        let key = catalog::projection_key(name, version);
        let stored = self.reader.get(self.databases.catalog, &key)?;
        stored
            .map(|value| RegisteredProjection::decode(&key, value))
            .transpose()
    }

    /// All registered projections, by name and version.
    ///
    /// # Errors
    /// [`StateError::Format`], [`StateError::Store`].
    pub fn projections(&self) -> Result<Vec<RegisteredProjection>, StateError> {
        let (from, to) = ([PROJECTION_KEYS], [PROJECTION_KEYS + 1]);
        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let entries = self
            .reader
            .range(self.databases.catalog, bounds.0, bounds.1)?;
        entries
            .map(|entry| {
                let (key, value) = entry?;
                RegisteredProjection::decode(key, value)
            })
            .collect()
    }

    /// That a table is there: rows of one that was dropped are deleted bit by bit, so what is found of it may lack some.
    ///
    /// # Errors
    /// [`StateError::Dropped`]; [`StateError::Format`], [`StateError::Store`].
    pub fn check_there(&self, table: &FoundTable) -> Result<(), StateError> {
        let registered = self.projection(&table.projection, table.version)?;
        if registered.is_some_and(|registered| registered.tables.contains(&table.id)) {
            return Ok(());
        }
        Err(StateError::Dropped {
            projection: table.projection.to_string(),
            version: table.version,
        })
    }

    /// The stored parts of a snapshot, copied out: decoding waits until the read has ended.
    pub(super) fn links(&self, stream: &StreamId) -> Result<Vec<(u8, Vec<u8>)>, StateError> {
        let (from, to) = chain::link_bounds(stream);
        let bounds = (Bound::Included(&from[..]), Bound::Included(&to[..]));
        let entries = self
            .reader
            .range(self.databases.snapshots, bounds.0, bounds.1)?;
        entries
            .map(|entry| {
                let (key, value) = entry?;
                Ok((key.last().copied().unwrap_or(0), value.to_vec()))
            })
            .collect()
    }

    /// The newest of the earlier snapshots whose head `fits`, as a chain of one part.
    pub(super) fn earlier_link(
        &self,
        stream: &StreamId,
        fits: impl Fn(&Snapshot) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let (from, to) = earlier::bounds(stream);
        let bounds = (Bound::Included(&from[..]), Bound::Included(&to[..]));
        let entries = self
            .reader
            .range_reverse(self.databases.snapshots, bounds.0, bounds.1)?;
        for entry in entries {
            let (key, value) = entry?;
            let head = chain::head(stream, value);
            // One under another's key was damaged.
            let head = head.filter(|head| earlier::key(stream, head.stream_version) == key);
            if head.is_some_and(|head| fits(&head)) {
                return Ok(Some(value.to_vec()));
            }
        }
        Ok(None)
    }

    /// Reads entries of all databases but the snapshots, which are checked when they are used, up to about
    /// `bytes_max` of rows.
    pub(super) fn check(&self, bytes_max: u64) -> Result<(), StateError> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        // Those below are found by their keys: one with another key would only be missing.
        for entry in self.reader.range(self.databases.catalog, all.0, all.1)? {
            let (key, stored) = entry?;
            seal::unsealed(key, stored).ok_or(StateError::Format {
                database: catalog::DATABASE,
                what: "an entry with its checksum",
            })?;
        }
        NextIds::decode(self.reader.get(self.databases.catalog, NEXT_KEY)?)?;
        drops::unfinished(self)?;
        self.check_versions()?;
        self.projections()?;
        for entry in self.reader.range(self.databases.progress, all.0, all.1)? {
            let (key, stored) = entry?;
            progress(key, stored)?;
        }
        let letters = self.databases.dead_letters;
        for entry in self.reader.range(letters, all.0, all.1)? {
            let (key, value) = entry?;
            letters::decode(key, value)?;
        }
        let mut bytes = 0;
        for entry in self.reader.range(self.databases.rows, all.0, all.1)? {
            let (key, value) = entry?;
            row_value(key, value)?;
            bytes += (key.len() + value.len()) as u64;
            if bytes > bytes_max {
                break;
            }
        }
        Ok(())
    }

    /// Names of all databases with their number of entries: for a person who asks what is there.
    ///
    /// # Errors
    /// [`StateError::Store`].
    pub fn sizes(&self) -> Result<Vec<(CompactString, u64)>, StateError> {
        let databases = self.databases.named();
        let size = |(name, table): (&str, Table)| Ok((name.into(), self.reader.len(table)?));
        databases.into_iter().map(size).collect()
    }
}

fn progress(key: &[u8], stored: &[u8]) -> Result<Progress, StateError> {
    let value = seal::unsealed(key, stored);
    value.and_then(Progress::decode).ok_or(StateError::Format {
        database: "progress",
        what: "a progress: next offset, frame and its hash",
    })
}

/// Key of a row in the database of all rows.
///
/// On the stack as a rule: one is made for every row that is read or written.
pub(super) fn row_key(table: TableId, key: &[u8]) -> SmallVec<[u8; 64]> {
    let mut whole = SmallVec::with_capacity(4 + key.len());
    whole.extend_from_slice(&table.0.to_be_bytes());
    whole.extend_from_slice(key);
    whole
}

/// Bytes in front of the key of each row: its table.
const TABLE_BYTES: usize = size_of::<TableId>();

/// The value of a stored row, checked.
pub(super) fn row_value<'s>(whole_key: &[u8], stored: &'s [u8]) -> Result<&'s [u8], StateError> {
    seal::unsealed(whole_key, stored).ok_or(StateError::Format {
        database: "rows",
        what: "a row with its checksum",
    })
}

pub(super) type KeyBound = Bound<Vec<u8>>;

pub(super) fn row_bounds(
    table: TableId,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
) -> (KeyBound, KeyBound) {
    let (first, last) = prefix_bounds(table.0);
    let from = match from.map(|key| row_key(table, key).into_vec()) {
        Bound::Unbounded => first,
        bound => bound,
    };
    let to = match to.map(|key| row_key(table, key).into_vec()) {
        Bound::Unbounded => last,
        bound => bound,
    };
    (from, to)
}

/// All keys that begin with this number.
pub(super) fn prefix_bounds(number: u32) -> (KeyBound, KeyBound) {
    let from = Bound::Included(number.to_be_bytes().to_vec());
    let to = number.checked_add(1).map_or(Bound::Unbounded, |above| {
        Bound::Excluded(above.to_be_bytes().to_vec())
    });
    (from, to)
}

pub(super) fn as_ref(bound: &KeyBound) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}
