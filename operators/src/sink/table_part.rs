//! Rows of a table as a part of a checkpoint: lengths and bytes, big-endian, one row after another.
//!
//! A part has the rows that have changed since the checkpoint before. Of a savepoint it has all rows, behind one byte that
//! no length begins with: no key has 16 MiB.

use std::ops::ControlFlow;

use millstream_engine::flow::Fault;
use millstream_engine::state::{StateStore, StateWrite, TableId};

use crate::progress::Progress;

/// The kind of state of table sinks in checkpoints.
pub const TABLE_STATE: &str = "table rows";
/// First byte of a part that has all rows.
const ALL: u8 = 1;

/// Whether a table sink's part that begins with this byte, or is empty, has all rows.
#[must_use]
pub const fn has_all_rows(first_byte: Option<u8>) -> bool {
    matches!(first_byte, Some(ALL))
}

/// Appends all rows that are this partition's: those in the store, as `writes` change them.
pub(super) fn write_all<'w>(
    (store, table): (&StateStore, TableId),
    owns: impl Fn(&[u8]) -> bool,
    writes: impl Iterator<Item = &'w StateWrite>,
    into: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut changed = std::collections::BTreeMap::new();
    // All of a large table is walked in one step.
    let mut progress = Progress::default();
    for write in writes {
        progress.made_one();
        match write {
            StateWrite::PutRow { key, value, .. } => changed.insert(&key[..], Some(&value[..])),
            StateWrite::DeleteRow { key, .. } => changed.insert(&key[..], None),
            _ => None,
        };
    }
    into.push(ALL);
    let stored = store.for_each(table, |key, value| {
        if owns(key) && !changed.contains_key(key) {
            put(key, value, into);
        }
        progress.made_one();
        ControlFlow::Continue(())
    });
    stored.map_err(|error| Fault(format!("the table's rows cannot be read: {error}")))?;
    for (key, value) in changed {
        if let Some(value) = value {
            put(key, value, into);
        }
    }
    Ok(())
}

/// What makes the stored rows those of `parts`, all of which have all rows. Rows that are not this partition's
/// stay as they are, and so do those that `covers` says are none of these parts'.
pub(super) fn differences(
    (store, table): (&StateStore, TableId),
    owns: impl Fn(&[u8]) -> bool,
    covers: impl Fn(&[u8]) -> bool,
    parts: &[&[u8]],
) -> Result<Vec<StateWrite>, Fault> {
    let mut wanted = std::collections::BTreeMap::new();
    for part in parts {
        let rows = part.get(1..).and_then(|rows| read(table, rows));
        let rows = rows.ok_or_else(damaged)?;
        for row in rows {
            match row {
                StateWrite::PutRow { key, value, .. } if owns(&key) => wanted.insert(key, value),
                _ => None,
            };
        }
    }
    let mut writes = Vec::new();
    let stored = store.for_each(table, |key, value| {
        if owns(key) {
            match wanted.remove(key) {
                Some(same) if same == value => {}
                Some(value) => {
                    let key = key.to_owned();
                    writes.push(StateWrite::PutRow { table, key, value });
                }
                None if covers(key) => {
                    let key = key.to_owned();
                    writes.push(StateWrite::DeleteRow { table, key });
                }
                None => {}
            }
        }
        ControlFlow::Continue(())
    });
    stored.map_err(|error| Fault(format!("the table's rows cannot be read: {error}")))?;
    for (key, value) in wanted {
        writes.push(StateWrite::PutRow { table, key, value });
    }
    Ok(writes)
}

/// What is said of a part that is not complete.
pub(super) fn damaged() -> Fault {
    Fault("its stored rows are damaged".to_owned())
}

fn put(key: &[u8], value: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&length(key));
    into.extend_from_slice(&length(value));
    into.extend_from_slice(key);
    into.extend_from_slice(value);
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(REMOVED).to_be_bytes()
}

/// Of which row a write is.
pub(super) fn key_of(write: &StateWrite) -> Option<&[u8]> {
    match write {
        StateWrite::PutRow { key, .. } | StateWrite::DeleteRow { key, .. } => Some(key),
        // A table has nothing else.
        _ => None,
    }
}

/// Length of a row that is removed.
const REMOVED: u32 = u32::MAX;

/// Appends the rows of `writes`; a row is at most 1 GiB.
pub(super) fn write(writes: &[StateWrite], into: &mut Vec<u8>) {
    for write in writes {
        match write {
            StateWrite::PutRow { key, value, .. } => put(key, value, into),
            StateWrite::DeleteRow { key, .. } => {
                into.extend_from_slice(&length(key));
                into.extend_from_slice(&REMOVED.to_be_bytes());
                into.extend_from_slice(key);
            }
            // A table has nothing else.
            _ => {}
        }
    }
}

/// The rows, as writes to `table`; `None` if they are not complete.
pub(super) fn read(table: TableId, mut bytes: &[u8]) -> Option<Vec<StateWrite>> {
    let mut writes = Vec::new();
    while !bytes.is_empty() {
        let (lengths, rest) = bytes.split_at_checked(8)?;
        let (key, value) = lengths.split_at(4);
        let key_bytes = u32::from_be_bytes(key.try_into().ok()?) as usize;
        let value_bytes = u32::from_be_bytes(value.try_into().ok()?);
        let (key, rest) = rest.split_at_checked(key_bytes)?;
        let key = key.to_vec();
        if value_bytes == REMOVED {
            writes.push(StateWrite::DeleteRow { table, key });
            bytes = rest;
        } else {
            let (value, rest) = rest.split_at_checked(value_bytes as usize)?;
            let value = value.to_vec();
            writes.push(StateWrite::PutRow { table, key, value });
            bytes = rest;
        }
    }
    Some(writes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_come_back_and_half_of_them_does_not(
            rows in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..5), any::<Option<[u8; 3]>>()), 0..20)
        ) {
            let table = TableId(7);
            let writes: Vec<_> = rows
                .into_iter()
                .map(|(key, value)| match value {
                    Some(value) => StateWrite::PutRow { table, key, value: value.to_vec() },
                    None => StateWrite::DeleteRow { table, key },
                })
                .collect();
            let mut bytes = Vec::new();
            write(&writes, &mut bytes);
            prop_assert_eq!(read(table, &bytes), Some(writes.clone()));
            if !bytes.is_empty() {
                prop_assert_ne!(read(table, &bytes[..bytes.len() - 1]), Some(writes));
            }
        }
    }
}
