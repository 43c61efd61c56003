//! Reading every entry of a state for its checksum: what nothing else does with rows that nobody asks for.
//!
//! An entry that was damaged is refused by whoever reads it. One whose *key* was damaged is only missed where it is looked for,
//! which looks like a row that never was. Opening finds it in the small databases and in the first
//! [`check_bytes_max`](super::StateOptions::check_bytes_max) of the rows; this finds it anywhere.

use std::ops::Bound;

use super::{StateError, StateStore, chain, seal};
use crate::event::StreamId;
use crate::store::Table;

/// Bytes read within one view, so that what it sees is not kept for long.
const SLICE_BYTES: usize = 4 << 20;

/// Whether an entry is what was stored under its key.
type IsGood = fn(&[u8], &[u8]) -> bool;

impl StateStore {
    /// Reads all that is stored, in short reads beside a writer; gives how many entries there are. Cost: the whole file once.
    ///
    /// # Errors
    /// [`StateError::Format`]: the first entry that is not what was stored under its key. [`StateError::Store`].
    pub fn verify(&self) -> Result<u64, StateError> {
        let mut entries = 0;
        for (database, table) in self.databases().named() {
            let is_good: IsGood = match database {
                "snapshots" => is_snapshot,
                _ => |key, stored| seal::unsealed(key, stored).is_some(),
            };
            let mut from = Bound::Unbounded;
            while let Some(last) =
                self.verify_slice((database, table), &from, is_good, &mut entries)?
            {
                from = Bound::Excluded(last);
            }
        }
        Ok(entries)
    }

    /// Looks at some entries behind `from`, and counts them; gives the key of the last one, if there was any.
    fn verify_slice(
        &self,
        (database, table): (&'static str, Table),
        from: &Bound<Vec<u8>>,
        is_good: IsGood,
        entries: &mut u64,
    ) -> Result<Option<Vec<u8>>, StateError> {
        self.view(|view| {
            let (mut last, mut bytes) = (None, 0);
            let from = from.as_ref().map(Vec::as_slice);
            for entry in view.reader.range(table, from, Bound::Unbounded)? {
                let (key, stored) = entry?;
                if !is_good(key, stored) {
                    return Err(StateError::Format {
                        database,
                        what: "an entry with the checksum of its key and value",
                    });
                }
                *entries += 1;
                last = Some(key);
                bytes += key.len() + stored.len();
                if bytes >= SLICE_BYTES {
                    break;
                }
            }
            Ok(last.map(<[u8]>::to_vec))
        })
    }
}

/// Parts of before cannot be told, and are read by nobody.
fn is_snapshot(key: &[u8], stored: &[u8]) -> bool {
    // The stream's id has no control characters, so the first one ends it.
    let end = key.iter().position(|byte| *byte <= 1);
    let stream = end.and_then(|end| std::str::from_utf8(&key[..end]).ok());
    let stream = stream.and_then(|text| text.parse::<StreamId>().ok());
    stream.is_some_and(|stream| {
        chain::is_passed_over(stored) || chain::is_under_its_key(&stream, key, stored)
    })
}
