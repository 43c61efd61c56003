//! The read side of a table: hot rows from a shared map, cold ones from the store.

mod fronts;

use std::any::Any;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use millstream_engine::codec::StandaloneReader;
use millstream_engine::event::Token;
use millstream_engine::state::{ROW_KEY_BYTES_MAX, StateStore, TableId};
use smallvec::SmallVec;

use super::by_index::ByIndex;
use super::hot::HotRows;
use super::page::Pages;
use super::range::{KeyRange, key_bytes};
use super::snapshot::{AnySnapshot, TableSnapshot};
use super::versions::VersionIds;
use super::{
    Index, KeyPrefix, ParkedStream, ProgressBoard, Query, QueryError, Row, Table, TableKey,
};

/// Rows that one read transaction of a scan looks at.
pub(super) const SCAN_ROWS: usize = 1_024;

/// Answers queries on one table, from any thread. Cheap to clone.
pub struct TableReader<K: TableKey, R: Row> {
    table: Table<K, R>,
    /// Shared: a table that is made anew has another one.
    id: Arc<AtomicU32>,
    /// Of its indexes, and then of its changes and versions if it is versioned.
    beside: SmallVec<[TableId; 4]>,
    store: StateStore,
    hot: Arc<HotRows<K, R>>,
    board: Arc<ProgressBoard>,
}

/// A [`TableReader`], whatever its keys and rows are.
pub trait AnyReader: Any + Send + Sync {
    /// The reader: a [`TableReader`] of its types.
    fn as_any(&self) -> &dyn Any;

    /// How far its projection has come.
    fn shown_by(&self) -> &Arc<ProgressBoard>;

    /// Begins to keep the table as it is now: a [`TableSnapshot`] of its types. Nothing may be shown meanwhile.
    fn keep(&self, rows_max: usize) -> Arc<dyn AnySnapshot>;

    /// Frees the rows in memory of a version that was dropped, once its actors have ended. Of any other nothing is freed.
    fn free_dropped(&self);
}

impl<K: TableKey, R: Row> AnyReader for TableReader<K, R> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn shown_by(&self) -> &Arc<ProgressBoard> {
        &self.board
    }

    fn keep(&self, rows_max: usize) -> Arc<dyn AnySnapshot> {
        Arc::new(TableSnapshot::of(self.clone(), rows_max))
    }

    fn free_dropped(&self) {
        if self.board.is_dropped() {
            self.hot.end();
        }
    }
}

impl<K: TableKey, R: Row> Clone for TableReader<K, R> {
    fn clone(&self) -> Self {
        Self {
            table: self.table,
            id: Arc::clone(&self.id),
            beside: self.beside.clone(),
            store: self.store.clone(),
            hot: Arc::clone(&self.hot),
            board: Arc::clone(&self.board),
        }
    }
}

impl<K: TableKey, R: Row> fmt::Debug for TableReader<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableReader")
            .field("table", &self.table.name())
            .field("id", &self.id())
            .field("projection", &self.board.projection())
            .finish_non_exhaustive()
    }
}

impl<K: TableKey, R: Row> TableReader<K, R> {
    /// A reader of a table under `id`, whose indexes, and then changes and versions if it is versioned, are under `beside`.
    #[must_use]
    pub fn new(
        table: &Table<K, R>,
        id: TableId,
        beside: &[TableId],
        store: StateStore,
        hot: Arc<HotRows<K, R>>,
        board: Arc<ProgressBoard>,
    ) -> Self {
        Self {
            table: *table,
            id: Arc::new(AtomicU32::new(id.0)),
            beside: beside.into(),
            store,
            hot,
            board,
        }
    }

    /// The table.
    pub(super) const fn table(&self) -> &Table<K, R> {
        &self.table
    }

    /// Where its rows are stored.
    fn id(&self) -> TableId {
        TableId(self.id.load(Ordering::Acquire))
    }

    /// Reads table `id` from now on, and so do all clones: the table was made anew.
    pub(crate) fn read_from(&self, id: TableId) {
        self.id.store(id.0, Ordering::Release);
    }

    /// How far the table's projection has come.
    #[must_use]
    pub fn board(&self) -> &Arc<ProgressBoard> {
        &self.board
    }

    /// The version of the projection whose rows it reads; 0 where there are no versions, as of the table of a dataflow.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.board.version()
    }

    /// Whether that version answers now where a table is asked for by name. A reader stays with the version that it was got
    /// of: after a switch it answers as before, from rows that stay as fresh as they were for as long as that version runs,
    /// and then with [`QueryError::Dropped`]. Get another one to follow.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.board.is_active()
    }

    /// What was found, unless rows are being deleted: looked at afterwards.
    #[inline]
    pub(super) fn unless_dropped<T>(&self, found: T) -> Result<T, QueryError> {
        self.board.check_there()?;
        Ok(found)
    }

    pub(super) const fn hot(&self) -> &Arc<HotRows<K, R>> {
        &self.hot
    }

    pub(super) const fn store(&self) -> &StateStore {
        &self.store
    }

    /// Where its changes and versions are stored, if it is versioned.
    pub(super) fn version_ids(&self) -> Option<VersionIds> {
        let _ = self.table.retention()?;
        VersionIds::last_of(&self.beside)
    }

    /// Numbers that the actors of its projection may have.
    pub(super) fn actors(&self) -> Vec<u16> {
        (0..self.board.partitions()).collect()
    }

    /// The row under `key` as of now; `None` when there is none. Cost of a hot row: a hash lookup and a
    /// copy; of a cold one a read of the store.
    ///
    /// # Errors
    /// [`QueryError::State`], [`QueryError::Row`]; never for a hot row.
    pub fn get(&self, key: &K) -> Result<Option<R>, QueryError> {
        if let Some(hot) = self.hot.find(key) {
            return self.unless_dropped(hot);
        }
        let bytes = key_bytes(key);
        if bytes.len() > ROW_KEY_BYTES_MAX {
            return Ok(None); // No row can have it.
        }
        let value = self.unless_dropped(self.store.get(self.id(), &bytes)?)?;
        match value {
            Some(value) => Ok(Some(StandaloneReader::new().decode(&value)?)),
            None => Ok(None),
        }
    }

    /// The rows under `keys` as of now, in their order. Cost: as of so many [`get`](Self::get), but one read transaction
    /// for all cold ones.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many(&self, keys: &[K]) -> Result<Vec<Option<R>>, QueryError> {
        let hot = keys.iter().map(|key| self.hot.find(key));
        let hot: Vec<Option<Option<R>>> = hot.collect();
        if hot.iter().all(Option::is_some) {
            return self.unless_dropped(hot.into_iter().map(Option::flatten).collect());
        }
        let cold = self.store.view(|view| {
            let (id, mut cold) = (self.id(), Vec::new());
            for (key, _) in keys.iter().zip(&hot).filter(|(_, hot)| hot.is_none()) {
                let bytes = key_bytes(key);
                let can_be = bytes.len() <= ROW_KEY_BYTES_MAX;
                let value = if can_be { view.get(id, &bytes)? } else { None };
                cold.push(value.map(<[u8]>::to_vec));
            }
            Ok(cold)
        })?;
        let cold = self.unless_dropped(cold)?;
        let (mut cold, mut decoder) = (cold.into_iter(), StandaloneReader::new());
        let rows = hot.into_iter().map(|hot| match hot {
            Some(row) => Ok(row),
            None => match cold.next().flatten() {
                Some(value) => Ok(Some(decoder.decode(&value)?)),
                None => Ok(None),
            },
        });
        rows.collect()
    }

    /// Whether the stream with this id (without the category, such as `42` of `account-42`) is parked now, and by
    /// which dead letter: rows lack the event that failed and those of its stream that came later. `None` for the
    /// table of a dataflow, which parks nothing. Cost: a hash lookup.
    #[must_use]
    pub fn parked(&self, stream: &str) -> Option<ParkedStream> {
        self.board.parked(stream)
    }

    /// A query with a condition on how fresh its answer is.
    #[must_use]
    pub fn query(&self) -> Query<K, R> {
        Query::on(Ok(self.clone()))
    }

    /// A query that waits until all that `token` has seen is in the answer.
    #[must_use]
    pub fn at_least(&self, token: &Token) -> Query<K, R> {
        self.query().at_least(token)
    }

    /// Rows in order of key, page by page. They may be of different moments: one that changes meanwhile is given once, as
    /// it was before or after. A [`Snapshot`](super::Snapshot) has all of one moment.
    #[must_use]
    pub fn scan(&self) -> Pages<Self> {
        Pages::new(self.clone(), self.table.name(), KeyRange::ALL)
    }

    /// Rows whose keys are in a range, as [`scan`](Self::scan). Cost: what is in the range, whatever else there is.
    #[must_use]
    pub fn range(&self, range: impl RangeBounds<K>) -> Pages<Self> {
        let range = KeyRange::between(&range, K::write);
        Pages::new(self.clone(), self.table.name(), range)
    }

    /// Rows whose keys begin with `prefix`: the first parts of a tuple, the first letters of a text.
    #[must_use]
    pub fn prefix<P: ?Sized>(&self, prefix: &P) -> Pages<Self>
    where
        K: KeyPrefix<P>,
    {
        Pages::new(
            self.clone(),
            self.table.name(),
            KeyRange::of_prefix::<K, P>(prefix),
        )
    }

    /// Rows that `index` finds by `found_by`, in order of key. Cost: a read of the index, and one of each row.
    ///
    /// # Errors
    /// [`QueryError::UnknownIndex`]; as [`get`](Self::get).
    pub fn by<I: TableKey>(
        &self,
        index: &Index<K, R, I>,
        found_by: &I,
    ) -> Result<Pages<ByIndex<Self>>, QueryError> {
        ByIndex::pages(self.clone(), index, found_by..=found_by)
    }

    /// Rows that `index` finds in a range, in order of what they are found by and then of key.
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

    /// Number of rows. Cost: reads them.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn count(&self) -> Result<u64, QueryError> {
        self.scan().count()
    }

    /// Every row, in order of key, to `with`; as [`scan`](Self::scan).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn for_each(&self, with: impl FnMut(K, R)) -> Result<(), QueryError> {
        self.scan().for_each(with)
    }

    /// All rows, in order of key; as [`scan`](Self::scan).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn rows(&self) -> Result<Vec<(K, R)>, QueryError> {
        self.scan().all()
    }
}
