//! Some rows, or entries of an index, at the front of a range: what is shown and not stored over what is stored.

use millstream_engine::codec::StandaloneReader;

use super::TableReader;
use crate::projection::by_index::{Entries, IndexedRows};
use crate::projection::page::{Front, RowSlice, RowSource, SliceOf};
use crate::projection::range::{Gathered, KeyRange, Slice, merge};
use crate::projection::{QueryError, Row, Table, TableKey};

impl<K: TableKey, R: Row> TableReader<K, R> {
    /// Some rows at the front of a range, as of now.
    pub(in crate::projection) fn slice(
        &self,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Slice<(K, R)>, QueryError> {
        // First what is not stored: what is stored in between is seen there.
        let fresh = self.fresh(range, limit);
        let (from, to) = range.bounds();
        let (id, reversed) = (self.id(), range.is_descending);
        let page = self.store.page(id, from, to, limit, reversed)?;
        let (mut decoder, mut stored) =
            (StandaloneReader::new(), Vec::with_capacity(page.rows.len()));
        let end = page.end;
        for (bytes, value) in page.rows {
            // Others were written by nobody who knows the table.
            if let Some(key) = K::read(&bytes) {
                stored.push((bytes, (key, decoder.decode(&value)?)));
            }
        }
        self.unless_dropped(merge(range, fresh, Slice { found: stored, end }))
    }

    /// What the store may not have of a range.
    fn fresh(&self, range: &KeyRange, limit: usize) -> Slice<Option<(K, R)>> {
        let mut keys = Gathered::new(range, limit);
        for fresh in self.hot.all_fresh() {
            fresh.keys(&mut keys);
        }
        let keys = keys.into_slice();
        let found = keys.found.into_iter().filter_map(|(bytes, key)| {
            // One that is not here has been stored and let go in between.
            let row = self.hot.find(&key)?;
            Some((bytes, row.map(|row| (key, row))))
        });
        Slice {
            found: found.collect(),
            end: keys.end,
        }
    }

    /// Some entries at the front of a range of an index, as of now.
    pub(in crate::projection) fn entries(
        &self,
        index: usize,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Slice<()>, QueryError> {
        let mut fresh = Gathered::new(range, limit);
        for of_actor in self.hot.all_fresh() {
            of_actor.entries(index, &mut fresh);
        }
        let fresh = fresh.into_slice();
        let found = fresh.found.into_iter();
        let fresh = Slice {
            found: found
                .map(|(entry, is_there)| (entry, is_there.then_some(())))
                .collect(),
            end: fresh.end,
        };
        let (from, to) = range.bounds();
        let id = self.beside[index];
        let page = self.store.page(id, from, to, limit, range.is_descending)?;
        let stored = Slice {
            found: page
                .rows
                .into_iter()
                .map(|(entry, _)| (entry, ()))
                .collect(),
            end: page.end,
        };
        self.unless_dropped(merge(range, fresh, stored))
    }
}

impl<K: TableKey, R: Row> RowSource for TableReader<K, R> {
    type Key = K;
    type Row = R;

    fn slice(&self, front: &Front<'_>) -> Result<SliceOf<Self>, QueryError> {
        self.slice(front.range, front.limit).map(RowSlice)
    }
}

impl<K: TableKey, R: Row> IndexedRows for TableReader<K, R> {
    type TableKey = K;
    type TableRow = R;
    const IS_STILL: bool = false;

    fn described(&self) -> &Table<K, R> {
        &self.table
    }

    fn entries_at_front(&self, index: usize, front: &Front<'_>) -> Result<Entries, QueryError> {
        self.entries(index, front.range, front.limit).map(Entries)
    }

    fn rows_of(&self, keys: &[K]) -> Result<Vec<Option<R>>, QueryError> {
        self.get_many(keys)
    }
}
