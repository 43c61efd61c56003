//! Rows as a snapshot has them: what changes while it is open is kept as it was before.
//!
//! Invariant: a row is kept before its successor is shown. So whoever reads a row as it is now, and then looks here, has
//! it as it was: either it is kept, or what was read is no successor.
//! Cost: nothing for whoever shows rows while no snapshot is open; else a copy of each row that changes first while it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::range::{Gathered, KeyRange, Slice, key_bytes};
use super::{QueryError, Row, Table, TableKey};

/// Rows of one table that have changed since a snapshot of it was opened, as they were then.
#[derive(Debug)]
pub(super) struct Kept<K: 'static, R: 'static> {
    table: Table<K, R>,
    rows_max: usize,
    rows: Mutex<Rows<K, R>>,
}

#[derive(Debug)]
struct Rows<K, R> {
    /// By the bytes of the key. `None`: there was no row.
    kept: BTreeMap<Vec<u8>, (K, Option<R>)>,
    /// Entries of each index, of these rows.
    entries: Vec<BTreeMap<Vec<u8>, ()>>,
    /// More have changed than may be kept, or one could not be.
    lost: Option<QueryError>,
}

impl<K, R> Rows<K, R> {
    fn lose(&mut self, cause: QueryError) {
        self.kept.clear();
        self.entries.iter_mut().for_each(BTreeMap::clear);
        self.lost.get_or_insert(cause);
    }
}

impl<K: TableKey, R: Row> Kept<K, R> {
    /// Nothing has changed yet; at most `rows_max` rows will be kept.
    pub(super) fn new(table: Table<K, R>, rows_max: usize) -> Self {
        let indexes = table.indexes().iter();
        Self {
            table,
            rows_max,
            rows: Mutex::new(Rows {
                kept: BTreeMap::new(),
                entries: indexes.map(|_| BTreeMap::new()).collect(),
                lost: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rows<K, R>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A row is about to change for which `was` gives what it was.
    pub(super) fn keep(&self, key: &K, was: impl FnOnce() -> Result<Option<R>, QueryError>) {
        let mut rows = self.lock();
        let bytes = key_bytes(key);
        if rows.lost.is_some() || rows.kept.contains_key(&bytes) {
            return;
        }
        let was = if rows.kept.len() < self.rows_max {
            was()
        } else {
            Err(QueryError::SnapshotLost {
                table: self.table.name(),
                rows_max: self.rows_max,
            })
        };
        match was {
            Ok(was) => {
                if let Some(row) = &was {
                    let indexes = self.table.indexes().iter();
                    for (index, entries) in indexes.zip(&mut rows.entries) {
                        let mut entry = Vec::new();
                        if index.write(key, row, &mut entry) {
                            entry.extend_from_slice(&bytes);
                            entries.insert(entry, ());
                        }
                    }
                }
                rows.kept.insert(bytes, (key.clone(), was));
            }
            Err(cause) => rows.lose(cause),
        }
    }

    /// The rows are made anew, and what they were cannot be kept.
    pub(super) fn lose(&self) {
        let table = self.table.name();
        self.lock().lose(QueryError::MadeAnew { table });
    }

    /// The row as it was; `now` if it has not changed since.
    pub(super) fn row(&self, key: &K, now: Option<R>) -> Result<Option<R>, QueryError> {
        let rows = self.whole()?;
        match rows.kept.get(&key_bytes(key)) {
            Some((_, was)) => Ok(was.clone()),
            None => Ok(now),
        }
    }

    /// Rows at the front of a range that have changed, as they were; `None` for one that was not there.
    pub(super) fn rows(
        &self,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Slice<Option<(K, R)>>, QueryError> {
        let rows = self.whole()?;
        let mut changed = Gathered::new(range, limit);
        changed.add(&rows.kept);
        let changed = changed.into_slice();
        let found = changed.found.into_iter();
        let found = found.map(|(bytes, (key, row))| (bytes, row.map(|row| (key, row))));
        Ok(Slice {
            found: found.collect(),
            end: changed.end,
        })
    }

    /// Entries at the front of a range of an index, of rows that have changed, as they were.
    pub(super) fn entries(
        &self,
        index: usize,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Slice<Option<()>>, QueryError> {
        let rows = self.whole()?;
        let mut changed = Gathered::new(range, limit);
        changed.add(&rows.entries[index]);
        let changed = changed.into_slice();
        let found = changed.found.into_iter();
        Ok(Slice {
            found: found.map(|(entry, ())| (entry, Some(()))).collect(),
            end: changed.end,
        })
    }

    fn whole(&self) -> Result<MutexGuard<'_, Rows<K, R>>, QueryError> {
        let rows = self.lock();
        match &rows.lost {
            Some(cause) => Err(cause.clone()),
            None => Ok(rows),
        }
    }
}
