//! The version of the layout of the whole environment, and how an older one becomes ours.
//!
//! Version 2: rows are sealed with their keys, other entries are not, and the version has no checksum. Version 3: all are. A
//! store of version 2 is converted when it is opened for writing: rows stay as they are, and parts of snapshots say themselves
//! how they are sealed. Whoever dies meanwhile begins again; programs of before find what was converted unreadable.

use std::ops::Bound;

use super::catalog::{self, DROP_KEYS, NEXT_KEY, PROJECTION_KEYS, VERSIONS_KEYS};
use super::store::Databases;
use super::view::StateView;
use super::wire::Input;
use super::{DeadLetter, DeadLetterId, Progress, StateError, StateStore, seal};
use crate::store::{StoreError, Table, WriteTxn};

/// Version that this program writes.
pub(super) const LAYOUT_VERSION: u8 = 3;
pub(super) const LAYOUT_KEY: &[u8] = b"l";
/// The last one whose entries have no seals, and which is converted.
pub(super) const UNSEALED: u8 = 2;
/// Bytes of entries that are converted in one go: what is held in memory, and once more in pages that are written.
const SLICE_BYTES: usize = 8 << 20;

const LAYOUT: StateError = StateError::Format {
    database: catalog::DATABASE,
    what: "the version of the layout",
};

const ENTRY: StateError = StateError::Format {
    database: "progress, dead_letters or catalog",
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

    /// Makes our layout of the one before, if that is what is stored. Progress and dead letters come first, slice by slice, so
    /// that memory and free pages are needed for one slice alone; what an earlier conversion that was ended has done is left as it
    /// is.
    ///
    /// # Errors
    /// [`StateError::Format`]: an entry is damaged; the layout stays what it was. [`StateError::Store`].
    pub(super) fn convert(&self) -> Result<(), StateError> {
        if self.view(|view| view.layout())? != Some(UNSEALED) {
            return Ok(());
        }
        let databases = self.databases();
        let mut writer = self.environment().writer()?;
        for (table, value) in [
            (databases.progress, progress_before as Before),
            (databases.dead_letters, letter_before),
        ] {
            let mut from = Bound::Unbounded;
            loop {
                let mut txn = writer.begin()?;
                let last = seal_slice(&mut txn, table, from.as_ref(), value)?;
                txn.commit()?;
                match last {
                    Some(last) => from = Bound::Excluded(last),
                    None => break,
                }
            }
        }
        // Names and ids are few. With them the layout changes.
        let mut txn = writer.begin()?;
        let mut from = Bound::Unbounded;
        while let Some(last) = seal_slice(&mut txn, databases.catalog, from.as_ref(), value_before)?
        {
            from = Bound::Excluded(last);
        }
        put(&databases, &mut txn)?;
        txn.commit()?;
        tracing::info!(
            file = %self.environment().path().display(),
            "state of an older layout was converted: its entries have checksums now"
        );
        Ok(())
    }
}

/// The value of an entry of the layout before, if it is one.
type Before = for<'s> fn(&[u8], &'s [u8]) -> Option<&'s [u8]>;

fn progress_before<'s>(_: &[u8], stored: &'s [u8]) -> Option<&'s [u8]> {
    Progress::decode(stored).map(|_| stored)
}

fn letter_before<'s>(key: &[u8], stored: &'s [u8]) -> Option<&'s [u8]> {
    DeadLetter::decode(DeadLetterId::from_key(key)?, stored).map(|_| stored)
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

/// Seals what `value` makes of the next entries, where they are not sealed; gives the key of the last one, if there was any.
fn seal_slice(
    txn: &mut WriteTxn<'_>,
    table: Table,
    from: Bound<&Vec<u8>>,
    value: Before,
) -> Result<Option<Vec<u8>>, StateError> {
    let (mut slice, mut bytes) = (Vec::new(), 0);
    for entry in txn.range(table, from.map(Vec::as_slice), Bound::Unbounded)? {
        let (key, stored) = entry?;
        bytes += key.len() + stored.len();
        slice.push((key.to_vec(), stored.to_vec()));
        if bytes >= SLICE_BYTES {
            break;
        }
    }
    for (key, stored) in &slice {
        if seal::unsealed(key, stored).is_none() {
            let value = value(key, stored).ok_or(ENTRY)?;
            seal::put(txn, table, key, value)?;
        }
    }
    Ok(slice.pop().map(|(last, _)| last))
}
