//! Reading: one snapshot, byte keys in order.

use std::ops::Bound;

use heed::types::Bytes;
use heed::{AnyTls, RoTxn, WithoutTls};

use super::environment::{Shared, Table};
use super::{KEY_BYTES_MAX, StoreError};

/// A key and its value, lent by the snapshot they were read from.
pub type Entry<'t> = (&'t [u8], &'t [u8]);

type Bounds<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// One snapshot of an environment, inside [`Environment::read`](super::Environment::read).
///
/// What it lends out lives as long as the snapshot, without a copy.
pub struct Reader<'e> {
    pub(super) txn: RoTxn<'e, WithoutTls>,
    pub(super) shared: &'e Shared,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("txn", &self.txn.id())
            .finish_non_exhaustive()
    }
}

impl Reader<'_> {
    /// The value under `key`, if any.
    ///
    /// # Errors
    /// [`StoreError::KeyLength`]: empty or over 511 bytes. [`StoreError::Damaged`], [`StoreError::Lmdb`].
    ///
    /// # Panics
    /// When `table` is of another environment; so do all other reads.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        get(&self.txn, self.shared, table, key)
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
        range(&self.txn, self.shared, table, from, to)
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
        range_reverse(&self.txn, self.shared, table, from, to)
    }

    /// The entry with the highest key, if any.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Lmdb`].
    pub fn last(&self, table: Table) -> Result<Option<Entry<'_>>, StoreError> {
        last(&self.txn, self.shared, table)
    }

    /// Number of entries. Cost: none, LMDB keeps it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Lmdb`].
    pub fn len(&self, table: Table) -> Result<u64, StoreError> {
        len(&self.txn, self.shared, table)
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
        self.txn.id() as u64
    }
}

enum Direction<'t> {
    Ascending(heed::RoRange<'t, Bytes, Bytes>),
    Descending(heed::RoRevRange<'t, Bytes, Bytes>),
    Empty,
}

/// Entries of a range, in key order or against it.
pub struct Entries<'t> {
    direction: Direction<'t>,
    shared: &'t Shared,
}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}

impl<'t> Iterator for Entries<'t> {
    type Item = Result<Entry<'t>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = match &mut self.direction {
            Direction::Ascending(range) => range.next(),
            Direction::Descending(range) => range.next(),
            Direction::Empty => None,
        };
        Some(item?.map_err(|e| self.shared.error(e, "reading")))
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
    txn: &'t RoTxn<'_, AnyTls>,
    shared: &Shared,
    table: Table,
    key: &[u8],
) -> Result<Option<&'t [u8]>, StoreError> {
    check_key(key)?;
    table
        .database
        .get(txn, key)
        .map_err(|e| shared.error(e, "reading"))
}

pub(super) fn last<'t>(
    txn: &'t RoTxn<'_, AnyTls>,
    shared: &Shared,
    table: Table,
) -> Result<Option<Entry<'t>>, StoreError> {
    table
        .database
        .last(txn)
        .map_err(|e| shared.error(e, "reading"))
}

pub(super) fn len(
    txn: &RoTxn<'_, AnyTls>,
    shared: &Shared,
    table: Table,
) -> Result<u64, StoreError> {
    table
        .database
        .len(txn)
        .map_err(|e| shared.error(e, "reading"))
}

pub(super) fn range<'t>(
    txn: &'t RoTxn<'_, AnyTls>,
    shared: &'t Shared,
    table: Table,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
) -> Result<Entries<'t>, StoreError> {
    let Some(bounds) = searchable(from, to) else {
        return Ok(Entries {
            direction: Direction::Empty,
            shared,
        });
    };
    let range = table
        .database
        .range(txn, &bounds)
        .map_err(|e| shared.error(e, "reading"))?;
    Ok(Entries {
        direction: Direction::Ascending(range),
        shared,
    })
}

pub(super) fn range_reverse<'t>(
    txn: &'t RoTxn<'_, AnyTls>,
    shared: &'t Shared,
    table: Table,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
) -> Result<Entries<'t>, StoreError> {
    let Some(bounds) = searchable(from, to) else {
        return Ok(Entries {
            direction: Direction::Empty,
            shared,
        });
    };
    let range = table
        .database
        .rev_range(txn, &bounds)
        .map_err(|e| shared.error(e, "reading"))?;
    Ok(Entries {
        direction: Direction::Descending(range),
        shared,
    })
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
