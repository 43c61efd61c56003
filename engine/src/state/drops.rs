//! Deleting what belongs to a dropped projection, a slice at a time.
//!
//! A projection may have more rows than one transaction can change, so it first moves to the list of dropped
//! ones in the catalog, and leaves that list in the transaction that deletes the last of it.

use super::catalog::{DROP_KEYS, ProjectionId, TableId};
use super::registration::drop_key;
use super::store::Databases;
use super::view::{StateView, as_ref, prefix_bounds};
use super::wire::{FORMAT_VERSION, Input};
use super::{StateError, seal};
use crate::store::{Table, WriteTxn};

/// Entries deleted by one transaction: some milliseconds, and far from the pages that LMDB can hold dirty.
const SLICE_ENTRIES: usize = 4_096;

/// A projection whose rows are being deleted.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    pub projection: ProjectionId,
    pub tables: Vec<TableId>,
}

impl Dropped {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        for table in &self.tables {
            out.extend_from_slice(&table.0.to_be_bytes());
        }
        out
    }

    fn decode(key: &[u8], stored: &[u8]) -> Option<Self> {
        let projection = ProjectionId(u32::from_be_bytes(key.get(1..)?.try_into().ok()?));
        let (ids, rest) = Input::versioned(seal::unsealed(key, stored)?)?
            .rest()
            .as_chunks::<4>();
        let tables = ids.iter().map(|id| TableId(u32::from_be_bytes(*id)));
        rest.is_empty().then_some(Self {
            projection,
            tables: tables.collect(),
        })
    }

    /// Deletes one slice; `true` when nothing is left.
    pub(super) fn step(
        &self,
        databases: &Databases,
        txn: &mut WriteTxn<'_>,
    ) -> Result<bool, StateError> {
        let mut budget = SLICE_ENTRIES;
        let tables = self.tables.iter().map(|table| (databases.rows, table.0));
        let others = [databases.progress, databases.dead_letters];
        let others = others.map(|database| (database, self.projection.0));
        for (database, prefix) in tables.chain(others) {
            budget -= delete_prefix(txn, database, prefix, budget)?;
            if budget == 0 {
                return Ok(false);
            }
        }
        txn.delete(databases.catalog, &drop_key(self.projection))?;
        Ok(true)
    }
}

/// Deletes up to `budget` entries whose keys begin with `prefix`; says how many.
fn delete_prefix(
    txn: &mut WriteTxn<'_>,
    database: Table,
    prefix: u32,
    budget: usize,
) -> Result<usize, StateError> {
    let (from, to) = prefix_bounds(prefix);
    let entries = txn.range(database, as_ref(&from), as_ref(&to))?;
    let keys = entries
        .take(budget)
        .map(|entry| entry.map(|(key, _)| key.to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    for key in &keys {
        txn.delete(database, key)?;
    }
    Ok(keys.len())
}

/// Projections that were dropped and not yet deleted when the process ended.
pub(super) fn unfinished(view: &StateView<'_>) -> Result<Vec<Dropped>, StateError> {
    let (from, to) = ([DROP_KEYS], [DROP_KEYS + 1]);
    let bounds = (
        std::ops::Bound::Included(&from[..]),
        std::ops::Bound::Excluded(&to[..]),
    );
    let entries = view
        .reader
        .range(view.databases.catalog, bounds.0, bounds.1)?;
    entries
        .map(|entry| {
            let (key, stored) = entry?;
            Dropped::decode(key, stored).ok_or(StateError::Format {
                database: "catalog",
                what: "a dropped projection: its tables",
            })
        })
        .collect()
}
