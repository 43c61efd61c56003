//! The version of the layout of the whole environment, and how an older one becomes ours.
//!
//! Version 2: rows are sealed with their keys, other entries are not, and the version has no checksum. Version 3: all are. A
//! store of version 2 is converted when it is opened for writing, in one transaction: rows stay as they are, and parts of
//! snapshots say themselves how they are sealed.

use std::ops::Bound;

use super::catalog::{self, DROP_KEYS, NEXT_KEY, PROJECTION_KEYS, VERSIONS_KEYS};
use super::store::Databases;
use super::view::StateView;
use super::wire::Input;
use super::{StateError, StateStore, seal};
use crate::store::{StoreError, Table, WriteTxn};

/// Version that this program writes.
pub(super) const LAYOUT_VERSION: u8 = 3;
pub(super) const LAYOUT_KEY: &[u8] = b"l";
/// The last one whose entries have no seals, and which is converted.
const UNSEALED: u8 = 2;
/// Entries that are converted in one go, so that few are in memory.
const SLICE_ENTRIES: usize = 1_024;

const LAYOUT: StateError = StateError::Format {
    database: catalog::DATABASE,
    what: "the version of the layout",
};

const ENTRY: StateError = StateError::Format {
    database: catalog::DATABASE,
    what: "an entry of the layout before",
};

/// Says that the store has our layout.
pub(super) fn put(databases: &Databases, txn: &mut WriteTxn<'_>) -> Result<(), StoreError> {
    seal::put(txn, databases.catalog, LAYOUT_KEY, &[LAYOUT_VERSION])
}

impl StateView<'_> {
    /// The version that is stored; `None` in a store of which nothing was ever written.
    ///
    /// # Errors
    /// [`StateError::Format`]: it is damaged, or missing where there is something else.
    fn layout(&self) -> Result<Option<u8>, StateError> {
        let stored = self.reader.get(self.databases.catalog, LAYOUT_KEY)?;
        match stored {
            // Before it had a checksum.
            Some(&[version @ 1..=UNSEALED]) => Ok(Some(version)),
            Some(stored) => match seal::unsealed(LAYOUT_KEY, stored) {
                Some(&[version]) => Ok(Some(version)),
                _ => Err(LAYOUT),
            },
            None => {
                let sizes = self.sizes()?;
                let is_fresh = sizes.iter().all(|(_, entries)| *entries == 0);
                is_fresh.then_some(None).ok_or(LAYOUT)
            }
        }
    }
}

impl StateStore {
    /// Whether anything was ever written, which then has our layout.
    ///
    /// # Errors
    /// [`StateError::Layout`]; [`StateError::Format`]; [`StateError::Store`].
    pub(super) fn is_begun(&self) -> Result<bool, StateError> {
        match self.view(|view| view.layout())? {
            Some(found) if found != LAYOUT_VERSION => Err(StateError::Layout {
                found,
                known: LAYOUT_VERSION,
            }),
            found => Ok(found.is_some()),
        }
    }

    /// Makes our layout of the one before, if that is what is stored.
    ///
    /// # Errors
    /// [`StateError::Format`]: an entry is damaged; nothing was changed. [`StateError::Store`].
    pub(super) fn convert(&self) -> Result<(), StateError> {
        if self.view(|view| view.layout())? != Some(UNSEALED) {
            return Ok(());
        }
        let databases = self.databases();
        let mut writer = self.environment().writer()?;
        let mut txn = writer.begin()?;
        convert(&mut txn, databases.catalog, value_before)?;
        convert(&mut txn, databases.progress, |_, stored| Some(stored))?;
        convert(&mut txn, databases.dead_letters, |_, stored| Some(stored))?;
        put(&databases, &mut txn)?;
        txn.commit()?;
        tracing::info!("state of an older layout was converted: its entries have checksums now");
        Ok(())
    }
}

/// The value of an entry of the catalog, which had a checksum without its key before, or none.
fn value_before<'s>(key: &[u8], stored: &'s [u8]) -> Option<&'s [u8]> {
    match *key.first()? {
        PROJECTION_KEYS | VERSIONS_KEYS => Input::unsealed(stored)?,
        _ if key == NEXT_KEY => Input::unsealed(stored)?,
        _ if key == LAYOUT_KEY || key.starts_with(&[DROP_KEYS]) => return Some(stored),
        _ => return None,
    };
    stored.get(..stored.len() - seal::SEAL_BYTES)
}

/// Seals what `value` makes of each entry.
fn convert(
    txn: &mut WriteTxn<'_>,
    table: Table,
    value: impl for<'s> Fn(&[u8], &'s [u8]) -> Option<&'s [u8]>,
) -> Result<(), StateError> {
    let mut from = Bound::Unbounded;
    loop {
        let below = from.as_ref().map(Vec::as_slice);
        let entries = txn.range(table, below, Bound::Unbounded)?;
        let entries = entries.take(SLICE_ENTRIES);
        let entries = entries
            .map(|entry| entry.map(|(key, stored)| (key.to_vec(), stored.to_vec())))
            .collect::<Result<Vec<_>, _>>()?;
        for (key, stored) in &entries {
            let value = value(key, stored).ok_or(ENTRY)?;
            seal::put(txn, table, key, value)?;
        }
        match entries.into_iter().next_back() {
            Some((last, _)) => from = Bound::Excluded(last),
            None => return Ok(()),
        }
    }
}
