//! Rows found by an index: its entries, then the rows that they name.
//!
//! Invariant: a row is given only if the index finds it so as it is: an entry that is older or newer than its row counts
//! for nothing.

use std::ops::RangeBounds;

use super::page::{Front, Pages, RowSlice, RowSource, SliceOf};
use super::range::{KeyRange, Slice};
use super::reader::{part_range, place_of};
use super::{Index, QueryError, Row, Table, TableKey};

/// Has the rows of a table and the entries of its indexes, of one moment or of now.
pub trait IndexedRows: RowSource<Key = Self::TableKey, Row = Self::TableRow> {
    /// Keys of the table.
    type TableKey: TableKey;
    /// Rows of the table.
    type TableRow: Row;

    #[doc(hidden)]
    fn described(&self) -> &Table<Self::TableKey, Self::TableRow>;

    #[doc(hidden)]
    fn entries_at_front(&self, index: usize, front: &Front<'_>) -> Result<Entries, QueryError>;

    #[doc(hidden)]
    fn rows_of(&self, keys: &[Self::TableKey]) -> Result<Vec<Option<Self::TableRow>>, QueryError>;
}

/// Entries of an index.
#[doc(hidden)]
#[derive(Debug)]
pub struct Entries(pub(super) Slice<()>);

/// Rows of `S` in the order of an index.
#[derive(Clone, Debug)]
pub struct ByIndex<S> {
    rows: S,
    /// Its place among the table's.
    index: usize,
    /// Takes what a row is found by off the front of an entry.
    skip: fn(&mut &[u8]) -> bool,
}

impl<S: IndexedRows> ByIndex<S> {
    pub(super) fn pages<I: TableKey>(
        rows: S,
        index: &Index<S::TableKey, S::TableRow, I>,
        range: impl RangeBounds<I>,
    ) -> Result<Pages<Self>, QueryError> {
        let table = rows.described();
        let name = format!("{}#{}", table.name(), index.name());
        let place = place_of(table, index.name())?;
        let range: KeyRange = part_range(&range);
        let source = Self {
            rows,
            index: place,
            skip: |entry| I::read_part(entry).is_some(),
        };
        Ok(Pages::new(source, &name, range))
    }
}

impl<S: IndexedRows> RowSource for ByIndex<S> {
    type Key = S::TableKey;
    type Row = S::TableRow;

    fn slice(&self, front: &Front<'_>) -> Result<SliceOf<Self>, QueryError> {
        let entries = self.rows.entries_at_front(self.index, front)?.0;
        let (mut keys, mut places) = (Vec::new(), Vec::new());
        for (entry, ()) in entries.found {
            let mut rest = &entry[..];
            if (self.skip)(&mut rest)
                && let Some(key) = S::TableKey::read(rest)
            {
                let found_by = entry.len() - rest.len();
                keys.push(key);
                places.push((entry, found_by));
            }
        }
        let rows = self.rows.rows_of(&keys)?;
        let index = self.rows.described().indexes()[self.index];
        let (mut found, mut found_by) = (Vec::with_capacity(rows.len()), Vec::new());
        for ((key, row), (entry, length)) in keys.into_iter().zip(rows).zip(places) {
            let Some(row) = row else { continue };
            found_by.clear();
            if index.write(&key, &row, &mut found_by) && found_by == entry[..length] {
                found.push((entry, (key, row)));
            }
        }
        let end = entries.end;
        Ok(RowSlice(Slice { found, end }))
    }
}
