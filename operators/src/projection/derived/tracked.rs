//! Tables of a snapshot that note what is read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

use crate::projection::by_index::ByIndex;
use crate::projection::hot::HotRows;
use crate::projection::{
    Index, KeyPrefix, Pages, QueryError, Row, Snapshot, Table, TableKey, TableSnapshot,
};

/// Rows of one table that an answer was made of.
pub(super) struct Seen {
    changes: Arc<dyn Holds>,
    /// Publication up to which it has seen all.
    upto: u64,
    /// Places of the rows; `None` for the whole table.
    places: Option<Vec<usize>>,
}

impl Seen {
    /// Whether none of them has changed.
    pub(super) fn holds(&self) -> bool {
        self.changes.holds(self.upto, self.places.as_deref())
    }

    fn add(&mut self, places: impl Iterator<Item = usize>) {
        if let Some(own) = &mut self.places {
            own.extend(places);
        }
    }
}

/// A table whatever its keys and rows are.
trait Holds: Send + Sync {
    fn holds(&self, upto: u64, places: Option<&[usize]>) -> bool;
}

impl<K: TableKey, R: Row> Holds for HotRows<K, R> {
    fn holds(&self, upto: u64, places: Option<&[usize]>) -> bool {
        self.changes().holds(upto, places)
    }
}

/// All tables of a projection at one moment, from which an answer is made.
pub struct TrackedRows {
    snapshot: Snapshot,
    seen: RefCell<BTreeMap<&'static str, Seen>>,
}

impl std::fmt::Debug for TrackedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TrackedRows").field(&self.snapshot).finish()
    }
}

impl TrackedRows {
    pub(super) fn of(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            seen: RefCell::default(),
        }
    }

    pub(super) fn into_seen(self) -> Vec<Seen> {
        let seen = self.seen.into_inner().into_values();
        let once = seen.map(|mut seen| {
            if let Some(places) = &mut seen.places {
                places.sort_unstable();
                places.dedup();
            }
            seen
        });
        once.collect()
    }

    /// One of the tables.
    ///
    /// # Errors
    /// [`QueryError::UnknownTable`].
    pub fn table<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
    ) -> Result<TrackedTable<'_, K, R>, QueryError> {
        Ok(TrackedTable {
            rows: self.snapshot.table(table)?,
            name: table.name(),
            of: self,
        })
    }
}

/// One table of [`TrackedRows`].
pub struct TrackedTable<'r, K: TableKey, R: Row> {
    rows: TableSnapshot<K, R>,
    name: &'static str,
    of: &'r TrackedRows,
}

impl<K: TableKey, R: Row> std::fmt::Debug for TrackedTable<'_, K, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TrackedTable").field(&self.rows).finish()
    }
}

impl<K: TableKey, R: Row> TrackedTable<'_, K, R> {
    /// The row under `key`; the answer depends on it, also if there is none.
    ///
    /// # Errors
    /// As [`TableSnapshot::get`].
    pub fn get(&self, key: &K) -> Result<Option<R>, QueryError> {
        self.depend_on(Some(std::slice::from_ref(key)));
        self.rows.get(key)
    }

    /// The rows under `keys`, in their order; the answer depends on them.
    ///
    /// # Errors
    /// As [`TableSnapshot::get`].
    pub fn get_many(&self, keys: &[K]) -> Result<Vec<Option<R>>, QueryError> {
        self.depend_on(Some(keys));
        self.rows.get_many(keys)
    }

    /// Rows in order of key; the answer depends on the whole table.
    #[must_use]
    pub fn scan(&self) -> Pages<TableSnapshot<K, R>> {
        self.depend_on(None);
        self.rows.scan()
    }

    /// Rows whose keys are in a range; the answer depends on the whole table.
    #[must_use]
    pub fn range(&self, range: impl RangeBounds<K>) -> Pages<TableSnapshot<K, R>> {
        self.depend_on(None);
        self.rows.range(range)
    }

    /// Rows whose keys begin with `prefix`; the answer depends on the whole table.
    #[must_use]
    pub fn prefix<P: ?Sized>(&self, prefix: &P) -> Pages<TableSnapshot<K, R>>
    where
        K: KeyPrefix<P>,
    {
        self.depend_on(None);
        self.rows.prefix(prefix)
    }

    /// Rows that an index finds by `found_by`; the answer depends on the whole table.
    ///
    /// # Errors
    /// [`QueryError::UnknownIndex`].
    pub fn by<I: TableKey>(
        &self,
        index: &Index<K, R, I>,
        found_by: &I,
    ) -> Result<Pages<ByIndex<TableSnapshot<K, R>>>, QueryError> {
        self.depend_on(None);
        self.rows.by(index, found_by)
    }

    /// Rows that an index finds in a range; the answer depends on the whole table.
    ///
    /// # Errors
    /// As [`by`](Self::by).
    pub fn by_range<I: TableKey>(
        &self,
        index: &Index<K, R, I>,
        range: impl RangeBounds<I>,
    ) -> Result<Pages<ByIndex<TableSnapshot<K, R>>>, QueryError> {
        self.depend_on(None);
        self.rows.by_range(index, range)
    }

    /// Notes that the answer depends on these rows, or on the whole table.
    fn depend_on(&self, keys: Option<&[K]>) {
        let hot = self.rows.hot();
        let mut all = self.of.seen.borrow_mut();
        let seen = all.entry(self.name).or_insert_with(|| Seen {
            changes: Arc::clone(hot) as Arc<dyn Holds>,
            upto: self.rows.upto(),
            places: Some(Vec::new()),
        });
        match keys {
            Some(keys) => seen.add(keys.iter().map(|key| hot.changes().place(key))),
            None => seen.places = None,
        }
    }
}
