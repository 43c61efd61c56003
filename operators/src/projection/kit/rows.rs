//! The rows that two ways of applying the same events leave.

use std::collections::BTreeMap;

use millstream_engine::state::StateWrite;

use super::Projected;
use crate::projection::{Projection, TableSet};

/// Stored rows, and entries of indexes, by table and key.
pub(super) type Rows = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

impl<P: Projection> Projected<P> {
    /// All rows, as they are stored.
    pub(super) fn stored_rows(&mut self) -> Rows {
        let mut writes = Vec::new();
        let stored = P::Tables::store(&mut self.writers, &mut writes);
        stored.expect("rows were written before");
        let mut rows = Rows::new();
        for write in writes {
            if let StateWrite::PutRow { table, key, value } = write {
                rows.insert((table.0, key), value);
            }
        }
        rows
    }
}

#[track_caller]
pub(super) fn check(expected: &Rows, found: &Rows, (way, than): (&str, &str)) {
    let differs = |(key, row): (&(u32, Vec<u8>), &Vec<u8>)| expected.get(key) != Some(row);
    let changed = found.iter().filter(|one| differs(*one)).count();
    let missing = expected
        .keys()
        .filter(|key| !found.contains_key(*key))
        .count();
    assert!(
        changed == 0 && missing == 0,
        "{way}: {changed} rows are others than {than}, {missing} are missing"
    );
}
