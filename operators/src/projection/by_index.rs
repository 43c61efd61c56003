//! Rows found by an index: its entries, then the rows that they name.
//!
//! Invariant: a row is given only if the index finds it in the asked range as it is. Of a snapshot, entry and row are of one
//! moment, and so each row is given once. Of a table as it is now the row may have moved since its entry was read: it is
//! given where it was found, and once per slice of up to 1,024 entries, since it was in the range all the time; a row that
//! moves between two slices, of one call or of two pages, may be in both or in neither.

use std::collections::HashSet;
use std::ops::{Bound, RangeBounds};

use super::page::{Front, Pages, RowSlice, RowSource, SliceOf};
use super::range::{KeyRange, Slice};
use super::{Index, QueryError, Row, Table, TableKey};

/// Has the rows of a table and the entries of its indexes, of one moment or of now.
pub trait IndexedRows: RowSource<Key = Self::TableKey, Row = Self::TableRow> {
    /// Keys of the table.
    type TableKey: TableKey;
    /// Rows of the table.
    type TableRow: Row;
    /// Whether entries and rows are of one moment.
    #[doc(hidden)]
    const IS_STILL: bool;

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
    /// All that is asked for.
    range: KeyRange,
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
            range: range.clone(),
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
        let (mut found, mut present) = (Vec::with_capacity(rows.len()), Vec::new());
        let mut given = HashSet::new();
        for ((key, row), (entry, length)) in keys.into_iter().zip(rows).zip(places) {
            let Some(row) = row else { continue };
            present.clear();
            if !index.write(&key, &row, &mut present) {
                continue;
            }
            let is_same = present == entry[..length];
            key.write(&mut present);
            let is_moved = !is_same && !S::IS_STILL && self.range.contains(&present);
            if is_same || is_moved {
                // Both entries of a row that moves may have been read.
                if S::IS_STILL || given.insert(key.clone()) {
                    found.push((entry, (key, row)));
                }
            }
        }
        let end = entries.end;
        Ok(RowSlice(Slice { found, end }))
    }
}

/// The place of an index among its table's.
fn place_of<K: TableKey, R: Row>(
    table: &Table<K, R>,
    name: &'static str,
) -> Result<usize, QueryError> {
    let place = table.indexes().iter().position(|own| own.name() == name);
    place.ok_or(QueryError::UnknownIndex {
        table: table.name(),
        index: name,
    })
}

/// A bound of borrowed keys as bytes of parts.
fn part_range<I: TableKey>(range: &impl RangeBounds<I>) -> KeyRange {
    let mut parts = KeyRange::between(range, I::write_part);
    // Entries are longer than what they are found by: from behind all, or up to all, that begin with it.
    if let Bound::Excluded(found_by) = &parts.from {
        parts.from = match KeyRange::beginning_with(found_by.clone()).to {
            Bound::Excluded(behind) => Bound::Included(behind),
            // Nothing lies behind the largest of all.
            _ => {
                parts.to = Bound::Excluded(found_by.clone());
                Bound::Included(found_by.clone())
            }
        };
    }
    if let Bound::Included(found_by) = &parts.to {
        parts.to = KeyRange::beginning_with(found_by.clone()).to;
    }
    parts
}
