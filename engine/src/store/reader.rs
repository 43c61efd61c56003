//! Reading: one snapshot, byte keys in order.

use std::ops::Bound;
use std::sync::Arc;

use heed::types::Bytes;
use heed::{AnyTls, RoTxn, WithoutTls};

use super::environment::{Shared, Table};
use super::simulated::{self, Image};
use super::{KEY_BYTES_MAX, StoreError};

/// A key and its value, lent by the snapshot they were read from.
pub type Entry<'t> = (&'t [u8], &'t [u8]);

type Bounds<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// One snapshot of an environment, inside [`Environment::read`](super::Environment::read).
///
/// What it lends out lives as long as the snapshot, without a copy.
pub struct Reader<'e> {
    pub(super) snapshot: Snapshot<'e>,
}

pub(super) enum Snapshot<'e> {
    Lmdb(RoTxn<'e, WithoutTls>, &'e Shared),
    Simulated(Arc<Image>),
}

/// What is read from, by readers and by transactions that write.
#[derive(Clone, Copy)]
pub(super) enum Pages<'t> {
    Lmdb(&'t RoTxn<'t, AnyTls>, &'t Shared),
    Simulated(&'t Image),
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

impl Reader<'_> {
    fn pages(&self) -> Pages<'_> {
        match &self.snapshot {
            Snapshot::Lmdb(txn, shared) => Pages::Lmdb(txn, shared),
            Snapshot::Simulated(image) => Pages::Simulated(image),
        }
    }

    /// The value under `key`, if any.
    ///
    /// # Errors
    /// [`StoreError::KeyLength`]: empty or over 511 bytes. [`StoreError::Damaged`], [`StoreError::Lmdb`].
    ///
    /// # Panics
    /// When `table` is of another environment; so do all other reads.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        get(self.pages(), table, key)
    }

    /// Entries from `from` to `to`, ascending; nothing when the range is empty.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Lmdb`]; also in the items.
    pub fn range(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Entries<'_>, StoreError> {
        range(self.pages(), table, from, to)
    }

    /// The same entries as [`range`](Self::range), descending.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Lmdb`]; also in the items.
    pub fn range_reverse(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Entries<'_>, StoreError> {
        range_reverse(self.pages(), table, from, to)
    }

    /// The entry with the highest key, if any.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Lmdb`].
    pub fn last(&self, table: Table) -> Result<Option<Entry<'_>>, StoreError> {
        last(self.pages(), table)
    }

    /// Number of entries. Cost: none, LMDB keeps it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Lmdb`].
    pub fn len(&self, table: Table) -> Result<u64, StoreError> {
        len(self.pages(), table)
    }

    /// Whether the table has no entry.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Lmdb`].
    pub fn is_empty(&self, table: Table) -> Result<bool, StoreError> {
        Ok(self.len(table)? == 0)
    }

    /// Number of the transaction whose result this snapshot is; rises by one per commit.
    #[must_use]
    pub fn snapshot(&self) -> u64 {
        match &self.snapshot {
            Snapshot::Lmdb(txn, _) => txn.id() as u64,
            Snapshot::Simulated(image) => image.number,
        }
    }
}

enum Direction<'t> {
    Ascending(heed::RoRange<'t, Bytes, Bytes>, &'t Shared),
    Descending(heed::RoRevRange<'t, Bytes, Bytes>, &'t Shared),
    Simulated(simulated::Range<'t>),
    SimulatedReverse(std::iter::Rev<simulated::Range<'t>>),
    Empty,
}

/// Entries of a range, in key order or against it.
pub struct Entries<'t> {
    direction: Direction<'t>,
}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}

impl<'t> Iterator for Entries<'t> {
    type Item = Result<Entry<'t>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let lent = |(key, value): (&'t Arc<[u8]>, &'t Arc<[u8]>)| Ok((&**key, &**value));
        let (item, shared) = match &mut self.direction {
            Direction::Ascending(range, shared) => (range.next(), shared),
            Direction::Descending(range, shared) => (range.next(), shared),
            Direction::Simulated(range) => return range.next().map(lent),
            Direction::SimulatedReverse(range) => return range.next().map(lent),
            Direction::Empty => return None,
        };
        Some(item?.map_err(|e| shared.error(e, "reading")))
    }
}

/// Checks a key's length, for reads and writes alike.
pub(super) fn check_key(key: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(StoreError::KeyLength { length: key.len() });
    }
    Ok(())
}

pub(super) fn get<'t>(
    pages: Pages<'t>,
    table: Table,
    key: &[u8],
) -> Result<Option<&'t [u8]>, StoreError> {
    check_key(key)?;
    match pages {
        Pages::Lmdb(txn, shared) => {
            let found = table.lmdb().get(txn, key);
            found.map_err(|e| shared.error(e, "reading"))
        }
        Pages::Simulated(image) => Ok(image.get(table.simulated(), key)),
    }
}

pub(super) fn last(pages: Pages<'_>, table: Table) -> Result<Option<Entry<'_>>, StoreError> {
    match pages {
        Pages::Lmdb(txn, shared) => {
            let found = table.lmdb().last(txn);
            found.map_err(|e| shared.error(e, "reading"))
        }
        Pages::Simulated(image) => Ok(image.last(table.simulated())),
    }
}

pub(super) fn len(pages: Pages<'_>, table: Table) -> Result<u64, StoreError> {
    match pages {
        Pages::Lmdb(txn, shared) => {
            let found = table.lmdb().len(txn);
            found.map_err(|e| shared.error(e, "reading"))
        }
        Pages::Simulated(image) => Ok(image.tables[table.simulated()].len() as u64),
    }
}

pub(super) fn range<'t>(
    pages: Pages<'t>,
    table: Table,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
) -> Result<Entries<'t>, StoreError> {
    let direction = match (searchable(from, to), pages) {
        (None, _) => Direction::Empty,
        (Some(bounds), Pages::Lmdb(txn, shared)) => {
            let range = table.lmdb().range(txn, &bounds);
            Direction::Ascending(range.map_err(|e| shared.error(e, "reading"))?, shared)
        }
        (Some(bounds), Pages::Simulated(image)) => {
            Direction::Simulated(image.range(table.simulated(), bounds))
        }
    };
    Ok(Entries { direction })
}

pub(super) fn range_reverse<'t>(
    pages: Pages<'t>,
    table: Table,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
) -> Result<Entries<'t>, StoreError> {
    let direction = match (searchable(from, to), pages) {
        (None, _) => Direction::Empty,
        (Some(bounds), Pages::Lmdb(txn, shared)) => {
            let range = table.lmdb().rev_range(txn, &bounds);
            Direction::Descending(range.map_err(|e| shared.error(e, "reading"))?, shared)
        }
        (Some(bounds), Pages::Simulated(image)) => {
            Direction::SimulatedReverse(image.range(table.simulated(), bounds).rev())
        }
    };
    Ok(Entries { direction })
}

/// Bounds that LMDB can seek (it refuses empty keys); `None` when no key lies between them.
fn searchable<'k>(from: Bound<&'k [u8]>, to: Bound<&'k [u8]>) -> Option<Bounds<'k>> {
    let from = match from {
        Bound::Included([]) | Bound::Excluded([]) => Bound::Unbounded,
        from => from,
    };
    if let Bound::Included([]) | Bound::Excluded([]) = to {
        return None;
    }
    match (from, to) {
        (Bound::Included(low), Bound::Included(high)) => (low <= high).then_some((from, to)),
        (
            Bound::Included(low) | Bound::Excluded(low),
            Bound::Included(high) | Bound::Excluded(high),
        ) => (low < high).then_some((from, to)),
        _ => Some((from, to)),
    }
}
