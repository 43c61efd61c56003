//! Rows as a snapshot has them: what changes while it is open is kept as it was before.
//!
//! Invariant: a row is kept before its successor is shown. So whoever reads a row as it is now, and then looks here, has
//! it as it was: either it is kept, or what was read is no successor.
//! Cost: nothing for whoever shows rows while no snapshot is open; else a copy of each row that changes first while it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::range::{KeyRange, Ordered, key_bytes};
use super::{AnyIndex, QueryError, Row, TableKey};

/// Rows of one table that have changed since a snapshot of it was opened, as they were then.
#[derive(Debug)]
pub(super) struct Kept<K, R> {
    table: &'static str,
    rows_max: usize,
    rows: Mutex<Rows<K, R>>,
}

#[derive(Debug)]
struct Rows<K, R> {
    /// By the bytes of the key. `None`: there was no row.
    kept: BTreeMap<Vec<u8>, (K, Option<R>)>,
    /// More have changed than may be kept, or one could not be.
    lost: Option<QueryError>,
}

impl<K, R> Rows<K, R> {
    fn lose(&mut self, cause: QueryError) {
        self.kept.clear();
        self.lost.get_or_insert(cause);
    }
}

impl<K: TableKey, R: Row> Kept<K, R> {
    /// Nothing has changed yet; at most `rows_max` rows will be kept.
    pub(super) fn new(table: &'static str, rows_max: usize) -> Self {
        Self {
            table,
            rows_max,
            rows: Mutex::new(Rows {
                kept: BTreeMap::new(),
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
                table: self.table,
                rows_max: self.rows_max,
            })
        };
        match was {
            Ok(was) => {
                rows.kept.insert(bytes, (key.clone(), was));
            }
            Err(cause) => rows.lose(cause),
        }
    }

    /// The rows are made anew, and what they were cannot be kept.
    pub(super) fn lose(&self) {
        let table = self.table;
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

    /// Has `rows` be those of the whole range as they were.
    pub(super) fn rows(
        &self,
        range: &KeyRange,
        now: Ordered<(K, R)>,
    ) -> Result<Ordered<(K, R)>, QueryError> {
        let rows = self.whole()?;
        let mut changed = range.of(&rows.kept, usize::MAX).peekable();
        if changed.peek().is_none() {
            return Ok(now);
        }
        let was = |(key, row): &(K, Option<R>)| Some((key.clone(), row.clone()?));
        let mut all = Vec::with_capacity(now.len());
        for (bytes, row) in now {
            while let Some((other, kept)) =
                changed.next_if(|(other, _)| range.precedes(other, &bytes))
            {
                all.extend(was(kept).map(|row| (other.clone(), row)));
            }
            match changed.next_if(|(other, _)| **other == bytes) {
                Some((_, kept)) => all.extend(was(kept).map(|row| (bytes, row))),
                None => all.push((bytes, row)),
            }
        }
        for (other, kept) in changed {
            all.extend(was(kept).map(|row| (other.clone(), row)));
        }
        Ok(all)
    }

    /// Entries of an index in a range, of rows that have changed, as they were.
    pub(super) fn entries(
        &self,
        index: &dyn AnyIndex<K, R>,
        range: &KeyRange,
    ) -> Result<Vec<Vec<u8>>, QueryError> {
        let rows = self.whole()?;
        let entries = rows.kept.iter().filter_map(|(bytes, (key, row))| {
            let mut entry = Vec::new();
            if !index.write(key, row.as_ref()?, &mut entry) {
                return None;
            }
            entry.extend_from_slice(bytes);
            range.contains(&entry).then_some(entry)
        });
        Ok(entries.collect())
    }

    fn whole(&self) -> Result<MutexGuard<'_, Rows<K, R>>, QueryError> {
        let rows = self.lock();
        match &rows.lost {
            Some(cause) => Err(cause.clone()),
            None => Ok(rows),
        }
    }
}
