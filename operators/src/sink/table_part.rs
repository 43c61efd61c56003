//! Rows of a table as a part of a checkpoint: lengths and bytes, big-endian, one row after another.

use millstream_engine::state::{StateWrite, TableId};

/// Length of a row that is removed.
const REMOVED: u32 = u32::MAX;

/// Appends the rows of `writes`; a row is at most 1 GiB.
pub(super) fn write(writes: &[StateWrite], into: &mut Vec<u8>) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(REMOVED).to_be_bytes();
    for write in writes {
        match write {
            StateWrite::PutRow { key, value, .. } => {
                into.extend_from_slice(&length(key));
                into.extend_from_slice(&length(value));
                into.extend_from_slice(key);
                into.extend_from_slice(value);
            }
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
