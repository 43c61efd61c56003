//! Letting go what is older than a table keeps.
//!
//! From the oldest change on: the change goes, and with it the version of its row before it, which nobody can ask for any
//! more. Its own version stays, as what the row was when the changes kept begin, unless the row was gone then. The newest
//! change of an actor stays: it says where numbers go on.
//!
//! Cost: per change that goes a read and at most two deletes, and per row among them a look at what is older; so also where
//! one row has all changes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Bound;

use millstream_engine::state::{StateError, StateWrite};
use millstream_engine::time::Timestamp;

use super::format::{place_bytes, version_key};
use super::keeping::VersionsMut;
use super::reading::changes_from;

/// Changes that one store lets go beyond those that it adds.
const MORE: usize = 64;
/// Changes beyond those that it adds, at most, however many it adds. So what is kept never grows for long.
const MORE_MAX: usize = 16_384;

impl VersionsMut {
    /// Lets some of what is too old go, in a store that adds so many changes.
    pub(super) fn prune(
        &mut self,
        added: usize,
        writes: &mut Vec<StateWrite>,
    ) -> Result<(), StateError> {
        let Some(at) = self.at else { return Ok(()) };
        let (ids, actor) = (self.ids, self.actor);
        let age = i64::try_from(self.retention.age_max.as_micros());
        let oldest = age.map_or(Timestamp::MIN, |age| {
            Timestamp(at.recorded_at.0.saturating_sub(age))
        });
        let newest_gone = at.head.number.saturating_sub(self.retention.changes_max);
        let is_due = newest_gone >= at.tail || oldest > Timestamp::MIN;
        if !is_due {
            return Ok(());
        }
        let limit = added + (added + MORE).min(MORE_MAX);
        let (tail, gone) = self.store.view(|view| {
            let (mut tail, mut gone) = (at.tail, Vec::new());
            // By row that has lost a change in this pass: its version of that change, which goes with the next one.
            let mut stays: HashMap<Vec<u8>, Option<Vec<u8>>> = HashMap::new();
            // Those that the store has: what is added now is not among them.
            for (number, change) in changes_from(view, ids, actor, at.tail, limit)? {
                let is_old = number <= newest_gone || change.stamp.recorded_at < oldest;
                if !is_old || number >= at.head.number {
                    break;
                }
                tail = number + 1;
                gone.push((ids.changes, place_bytes(actor, number).to_vec()));
                let own = version_key(&change.key, actor, number);
                let own = if change.is_there {
                    Some(own)
                } else {
                    gone.push((ids.versions, own));
                    None
                };
                match stays.entry(change.key) {
                    Entry::Occupied(mut entry) => {
                        let before = std::mem::replace(entry.get_mut(), own);
                        gone.extend(before.map(|key| (ids.versions, key)));
                    }
                    Entry::Vacant(entry) => {
                        let first = version_key(entry.key(), actor, 0);
                        let until = version_key(entry.key(), actor, number);
                        let before = view.scan(
                            ids.versions,
                            Bound::Included(&first),
                            Bound::Excluded(&until),
                            usize::MAX,
                        )?;
                        gone.extend(before.into_iter().map(|(key, _)| (ids.versions, key)));
                        entry.insert(own);
                    }
                }
            }
            Ok((tail, gone))
        })?;
        let deleted = gone.into_iter();
        writes.extend(deleted.map(|(table, key)| StateWrite::DeleteRow { table, key }));
        if let Some(at) = &mut self.at {
            at.tail = tail;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use millstream_engine::codec::EncodeError;
    use millstream_engine::event::{Offset, PartitionId, Position};
    use millstream_engine::state::{
        StateBatch, StateOptions, StateStore, SteppedStateWriter, stepped,
    };

    use super::super::{Retention, Stamp, VersionIds};
    use super::*;

    /// Appends a row's bytes.
    type WriteRow = fn(&mut Vec<u8>) -> Result<(), EncodeError>;

    /// Changes the rows of `keys` in one store; every tenth change removes its row. Gives how much was written.
    fn store(
        own: &mut VersionsMut,
        state: (
            &millstream_engine::state::StateWriterHandle,
            &SteppedStateWriter,
        ),
        keys: impl IntoIterator<Item = u8>,
    ) -> usize {
        let first = own.head().map_or(0, |head| head.number);
        for (number, key) in (first..).zip(keys) {
            let stamp = Stamp {
                position: Position {
                    partition: PartitionId(0),
                    offset: Offset(number),
                },
                recorded_at: Timestamp::EPOCH,
                event_time: Timestamp::EPOCH,
            };
            own.begin(&stamp, None);
            let row: WriteRow = |bytes| {
                bytes.push(7);
                Ok(())
            };
            own.change(&[key], (number % 10 != 9).then_some(row))
                .unwrap();
            own.keep();
        }
        let mut writes = Vec::new();
        own.store(&mut writes);
        let count = writes.len();
        state.0.try_submit(StateBatch::new(writes)).unwrap();
        while state.1.step() {}
        count
    }

    /// Story: of a row that changed very often between two stores each change that went named all versions before it once more,
    /// gigabytes of them.
    #[test]
    fn letting_go_costs_as_much_as_goes_also_of_one_row() {
        const CHANGES: usize = 5_000;
        for rows in [1, 7] {
            let folder = tempfile::tempdir().unwrap();
            let options = StateOptions {
                map_bytes_max: 1 << 30,
                ..StateOptions::default()
            };
            let (store_of, mut writer) = StateStore::open(folder.path(), options).unwrap();
            let names = ["rows", "changes", "versions"];
            let registered = writer.register_projection("p", 1, &names).unwrap();
            let ids = VersionIds::last_of(&registered.tables).unwrap();
            let (handle, steps) = stepped(writer);
            let mut own = VersionsMut::new(ids, store_of.clone(), 0, Retention::last(10));
            let keys = || (0..=u8::MAX).cycle().map(move |number| number % rows);
            store(&mut own, (&handle, &steps), keys().take(CHANGES));
            let mut written = 0;
            for _ in 0..3 {
                let writes = store(&mut own, (&handle, &steps), keys().take(CHANGES));
                written += writes;
                assert!(writes <= 2 * CHANGES + 3 * (2 * CHANGES + MORE), "{writes}");
            }
            // Two for each change, and of nearly each one two that go.
            assert!(written > 11 * CHANGES, "{written}");
            let count = |table| {
                let (low, high) = (Bound::Unbounded, Bound::Unbounded);
                let rows = store_of.view(|view| view.scan(table, low, high, usize::MAX));
                rows.unwrap().len()
            };
            // What has come at once goes by and by.
            for _ in 0..60 {
                store(&mut own, (&handle, &steps), keys().take(64));
            }
            let kept = 64;
            assert_eq!(
                count(ids.changes),
                kept,
                "the last ones, and what was added"
            );
            let versions = count(ids.versions);
            assert!(versions <= kept + usize::from(rows), "{versions}");
        }
    }
}
