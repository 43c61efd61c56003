//! Rows that have changed, from when they were taken to when they are handed over: a part at a time, so that the state's
//! writer, which others wait for too, has no transaction without a bound.
//!
//! Rows of a checkpoint are then stored in several transactions. A start between two of them stores all of them once more; until
//! it has, readers see those of two checkpoints. Not shown at once from memory: they would count as changed since, and be in the
//! next checkpoint too.

use std::vec::IntoIter;

use millstream_engine::state::StateWrite;

use crate::progress::Progress;
use crate::projection::HandedOver;
use crate::sink::table_part::key_of;

/// Rows of a part: a quarter of what the state's writer commits at once, which counts a page for each.
const PART_ROWS: usize = 4_096;
/// Its bytes, unless one row has more.
const PART_BYTES: usize = 1 << 20;

/// Rows that have changed.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) writes: Vec<StateWrite>,
    /// Told once they are stored.
    pub(super) handed_over: Option<HandedOver>,
}

/// Those of them that are yet to be stored.
#[derive(Debug)]
pub(super) struct Released {
    writes: IntoIter<StateWrite>,
    handed_over: Option<HandedOver>,
}

/// Some of them.
pub(super) struct Part {
    pub(super) writes: Vec<StateWrite>,
    /// Told once they are stored: of the last part, since all others are by then.
    pub(super) handed_over: Option<HandedOver>,
    pub(super) is_last: bool,
}

impl From<Changed> for Released {
    fn from(changed: Changed) -> Self {
        let Changed {
            mut writes,
            handed_over,
        } = changed;
        if writes.len() > PART_ROWS {
            // Neighbours lie on one page of the store, which would be written once for each part otherwise. Those of one row
            // keep their order.
            let mut progress = Progress::default();
            writes.sort_by(|one, other| {
                progress.made_one();
                key_of(one).cmp(&key_of(other))
            });
        }
        Self {
            writes: writes.into_iter(),
            handed_over,
        }
    }
}

impl From<Vec<StateWrite>> for Released {
    fn from(writes: Vec<StateWrite>) -> Self {
        Self::from(Changed {
            writes,
            handed_over: None,
        })
    }
}

impl Released {
    /// The next part.
    pub(super) fn part(&mut self) -> Part {
        let (mut writes, mut bytes) = (Vec::new(), 0);
        while writes.len() < PART_ROWS && bytes < PART_BYTES {
            let Some(write) = self.writes.next() else {
                break;
            };
            bytes += bytes_of(&write);
            writes.push(write);
        }
        let is_last = self.writes.len() == 0;
        Part {
            writes,
            handed_over: self.handed_over.take_if(|_| is_last),
            is_last,
        }
    }
}

fn bytes_of(write: &StateWrite) -> usize {
    let value = match write {
        StateWrite::PutRow { value, .. } => value.len(),
        _ => 0,
    };
    value + key_of(write).map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use millstream_engine::state::TableId;

    use super::*;

    fn parts(writes: &[StateWrite]) -> Vec<Vec<StateWrite>> {
        let mut released = Released::from(writes.to_owned());
        let mut parts = Vec::new();
        loop {
            let part = released.part();
            parts.push(part.writes);
            if part.is_last {
                return parts;
            }
        }
    }

    fn put(number: u32, value_bytes: usize) -> StateWrite {
        StateWrite::PutRow {
            table: TableId(7),
            key: number.to_be_bytes().to_vec(),
            value: vec![0; value_bytes],
        }
    }

    fn lengths(parts: &[Vec<StateWrite>]) -> Vec<usize> {
        parts.iter().map(Vec::len).collect()
    }

    #[test]
    fn parts_are_bounded_in_rows_and_bytes_and_keep_the_order() {
        let small: Vec<_> = (0..10_000).map(|number| put(number, 8)).collect();
        let parted = parts(&small);
        assert_eq!(lengths(&parted), [4_096, 4_096, 1_808]);
        assert_eq!(parted.concat(), small);
        let large: Vec<_> = (0..5).map(|number| put(number, 600_000)).collect();
        assert_eq!(lengths(&parts(&large)), [2, 2, 1]);
        let huge: Vec<_> = (0..2).map(|number| put(number, 3_000_000)).collect();
        assert_eq!(lengths(&parts(&huge)), [1, 1]);
        assert_eq!(lengths(&parts(&[])), [0]);
        let even: Vec<_> = (0..8_192).map(|number| put(number, 8)).collect();
        assert_eq!(lengths(&parts(&even)), [4_096, 4_096]);
    }
    /// Parts in the order in which rows came would write each page of a large table many times.
    #[test]
    fn many_rows_are_stored_in_the_order_of_their_keys_and_the_last_of_each_wins() {
        let keys = (0..10_000_u32).map(|number| number * 7_919 % 10_000);
        let writes = keys
            .clone()
            .map(|key| put(key, 1))
            .chain(keys.map(|key| put(key, 2)));
        let stored = parts(&writes.collect::<Vec<_>>()).concat();
        let expected = (0..10_000).flat_map(|key| [put(key, 1), put(key, 2)]);
        assert!(stored.into_iter().eq(expected));
    }
}
