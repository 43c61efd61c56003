//! All tables of a projection as they were after one batch.
//!
//! While a snapshot is open the projection's actors keep each row that changes as it was before (see `kept.rs`). Nobody
//! waits for whoever reads one, but for as long as a slice of what was kept is copied; no read of the store stays open.
//! What it keeps goes with it.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use millstream_engine::event::Token;

use super::by_index::{ByIndex, Entries, IndexedRows};
use super::hot::HotRows;
use super::kept::Kept;
use super::page::{Front, Pages, RowSlice, RowSource, SliceOf};
use super::range::{KeyRange, merge};
use super::raw::RawTable;
use super::reader::{AnyReader, TableReader};
use super::verify::{Canonical, canonical};
use super::versions::{ChangeCursor, ChangesError, Head};
use super::{Index, KeyPrefix, ProgressBoard, QueryError, Row, Table, TableKey};

/// Tables of one projection at one moment. Cheap to clone; open until the last clone, and the last table of it, is gone.
#[derive(Clone)]
pub struct Snapshot {
    token: Token,
    tables: HashMap<&'static str, Arc<dyn AnySnapshot>>,
}

/// Rows as bytes in order of key, and the last key that was looked at; no such key: there are no more.
type AnyPage = (Vec<(Vec<u8>, Canonical)>, Option<Vec<u8>>);

/// A [`TableSnapshot`], whatever its keys and rows are.
#[doc(hidden)]
pub trait AnySnapshot: Any + Send + Sync {
    /// The table: a [`TableSnapshot`] of its types.
    fn as_any(&self) -> &dyn Any;

    /// The table, with its rows as bytes.
    fn raw(self: Arc<Self>) -> Arc<dyn RawTable>;

    /// About `limit` rows behind a key.
    #[doc(hidden)]
    fn page(&self, behind: Option<Vec<u8>>, limit: usize) -> Result<AnyPage, QueryError>;
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("token", &self.token)
            .field("tables", &self.tables.keys())
            .finish()
    }
}

impl Snapshot {
    /// The tables of these readers, which share a board, as they are now. For each table at most `rows_max` rows are
    /// kept.
    #[must_use]
    pub fn of(
        board: &ProgressBoard,
        readers: &[(&'static str, Arc<dyn AnyReader>)],
        rows_max: usize,
    ) -> Self {
        let paused = board.pause();
        let tables = readers.iter();
        let tables = tables.map(|(name, reader)| (*name, reader.keep(rows_max)));
        let (token, tables) = (board.token(), tables.collect());
        drop(paused);
        Self { token, tables }
    }

    /// The events whose effects it has: all up to these positions, and no others.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// One of its tables.
    ///
    /// # Errors
    /// [`QueryError::UnknownTable`].
    pub fn table<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
    ) -> Result<TableSnapshot<K, R>, QueryError> {
        let found = self.tables.get(table.name());
        let found = found.and_then(|table| table.as_any().downcast_ref::<TableSnapshot<K, R>>());
        found.cloned().ok_or(QueryError::UnknownTable {
            table: table.name(),
        })
    }

    /// One of its tables by name, whatever its keys and rows are.
    #[must_use]
    pub fn raw(&self, table: &str) -> Option<Arc<dyn RawTable>> {
        let found = self.tables.get(table)?;
        Some(Arc::clone(found).raw())
    }

    /// Its tables by name, in this order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &dyn AnySnapshot)> {
        let mut all: Vec<_> = self
            .tables
            .iter()
            .map(|(name, one)| (*name, &**one))
            .collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all.into_iter()
    }
}

impl<K: TableKey, R: Row> AnySnapshot for TableSnapshot<K, R> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn raw(self: Arc<Self>) -> Arc<dyn RawTable> {
        self
    }

    fn page(&self, behind: Option<Vec<u8>>, limit: usize) -> Result<AnyPage, QueryError> {
        let range = behind.map_or(KeyRange::ALL, |key| KeyRange::ALL.behind(&key));
        let range = &range;
        let slice = RowSource::slice(self, &Front { range, limit })?.0;
        let rows = slice.found.into_iter();
        let rows = rows.map(|(key, (_, row))| Ok((key, canonical(&row)?)));
        Ok((rows.collect::<Result<_, QueryError>>()?, slice.end))
    }
}

/// One table of a [`Snapshot`].
pub struct TableSnapshot<K: TableKey, R: Row> {
    reader: TableReader<K, R>,
    kept: Arc<Kept<K, R>>,
    /// The last publication of the table that is in it.
    upto: u64,
    /// Behind which changes the rows are, of a table that is versioned.
    heads: Arc<Result<Vec<(u16, Head)>, QueryError>>,
}

impl<K: TableKey, R: Row> Clone for TableSnapshot<K, R> {
    fn clone(&self) -> Self {
        Self {
            reader: self.reader.clone(),
            kept: Arc::clone(&self.kept),
            upto: self.upto,
            heads: Arc::clone(&self.heads),
        }
    }
}

impl<K: TableKey, R: Row> fmt::Debug for TableSnapshot<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableSnapshot").field(&self.reader).finish()
    }
}

impl<K: TableKey, R: Row> TableSnapshot<K, R> {
    /// The table as it is now. Nothing may be shown meanwhile.
    pub(super) fn of(reader: TableReader<K, R>, rows_max: usize) -> Self {
        let kept = Arc::new(Kept::new(*reader.table(), rows_max));
        reader.hot().keep(&kept);
        let upto = reader.hot().changes().upto();
        let heads = Arc::new(reader.heads_now());
        Self {
            reader,
            kept,
            upto,
            heads,
        }
    }

    pub(super) const fn upto(&self) -> u64 {
        self.upto
    }

    pub(super) fn hot(&self) -> &Arc<HotRows<K, R>> {
        self.reader.hot()
    }

    /// The place in the feed of the table's changes behind all those that the snapshot has: the rows of the snapshot,
    /// and the changes behind this place, are the table. It may be one that is shown and not stored; a feed that begins
    /// there waits until it is.
    ///
    /// # Errors
    /// [`ChangesError::NotVersioned`]; as [`TableReader::get`].
    pub fn cursor(&self) -> Result<ChangeCursor, ChangesError> {
        match &*self.heads {
            Ok(heads) => self.reader.cursor_at(heads),
            Err(cause) => Err(cause.clone().into()),
        }
    }

    /// The row under `key`; `None` when there was none.
    ///
    /// # Errors
    /// [`QueryError::SnapshotLost`], [`QueryError::MadeAnew`]; as [`TableReader::get`].
    pub fn get(&self, key: &K) -> Result<Option<R>, QueryError> {
        // As it is now, and then whether that is how it was: never the other way round.
        let now = self.reader.get(key)?;
        self.kept.row(key, now)
    }

    /// The rows under `keys`, in their order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many(&self, keys: &[K]) -> Result<Vec<Option<R>>, QueryError> {
        let now = self.reader.get_many(keys)?;
        let rows = keys.iter().zip(now);
        rows.map(|(key, now)| self.kept.row(key, now)).collect()
    }

    /// Rows in order of key.
    #[must_use]
    pub fn scan(&self) -> Pages<Self> {
        Pages::new(self.clone(), self.reader.table().name(), KeyRange::ALL)
    }

    /// Rows whose keys are in a range.
    #[must_use]
    pub fn range(&self, range: impl RangeBounds<K>) -> Pages<Self> {
        let range = KeyRange::between(&range, K::write);
        Pages::new(self.clone(), self.reader.table().name(), range)
    }

    /// Rows whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix<P: ?Sized>(&self, prefix: &P) -> Pages<Self>
    where
        K: KeyPrefix<P>,
    {
        let range = KeyRange::of_prefix::<K, P>(prefix);
        Pages::new(self.clone(), self.reader.table().name(), range)
    }

    /// Rows that `index` finds by `found_by`, as [`TableReader::by`].
    ///
    /// # Errors
    /// [`QueryError::UnknownIndex`].
    pub fn by<I: TableKey>(
        &self,
        index: &Index<K, R, I>,
        found_by: &I,
    ) -> Result<Pages<ByIndex<Self>>, QueryError> {
        ByIndex::pages(self.clone(), index, found_by..=found_by)
    }

    /// Rows that `index` finds in a range, as [`TableReader::by_range`].
    ///
    /// # Errors
    /// As [`by`](Self::by).
    pub fn by_range<I: TableKey>(
        &self,
        index: &Index<K, R, I>,
        range: impl RangeBounds<I>,
    ) -> Result<Pages<ByIndex<Self>>, QueryError> {
        ByIndex::pages(
            self.clone(),
            index,
            (range.start_bound(), range.end_bound()),
        )
    }
}

impl<K: TableKey, R: Row> RowSource for TableSnapshot<K, R> {
    type Key = K;
    type Row = R;

    fn slice(&self, front: &Front<'_>) -> Result<SliceOf<Self>, QueryError> {
        // As they are now, and then what has changed since: never the other way round.
        let now = self.reader.slice(front.range, front.limit)?;
        let was = self.kept.rows(front.range, front.limit)?;
        Ok(RowSlice(merge(front.range, was, now)))
    }
}

impl<K: TableKey, R: Row> IndexedRows for TableSnapshot<K, R> {
    type TableKey = K;
    type TableRow = R;
    const IS_STILL: bool = true;

    fn described(&self) -> &Table<K, R> {
        self.reader.table()
    }

    fn entries_at_front(&self, index: usize, front: &Front<'_>) -> Result<Entries, QueryError> {
        let now = self.reader.entries(index, front.range, front.limit)?;
        let was = self.kept.entries(index, front.range, front.limit)?;
        Ok(Entries(merge(front.range, was, now)))
    }

    fn rows_of(&self, keys: &[K]) -> Result<Vec<Option<R>>, QueryError> {
        self.get_many(keys)
    }
}
