//! Letting go what is older than a table keeps.
//!
//! From the oldest change on: the change goes, and with it the version of its row before it, which nobody can ask for any
//! more. Its own version stays, as what the row was when the changes kept begin, unless the row was gone then. The newest
//! change of an actor stays: it says where numbers go on.

use std::ops::Bound;

use millstream_engine::state::{StateError, StateWrite};
use millstream_engine::time::Timestamp;

use super::format::{place_bytes, version_key};
use super::keeping::VersionsMut;
use super::reading::changes_from;

/// Changes that one store lets go beyond those that it adds.
const MORE: usize = 64;
/// At most so many, however many it adds.
const PRUNED_MAX: usize = 16_384;

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
        let limit = (2 * added + MORE).min(PRUNED_MAX);
        let (tail, gone) = self.store.view(|view| {
            let (mut tail, mut gone) = (at.tail, Vec::new());
            // Those that the store has: what is added now is not among them.
            for (number, change) in changes_from(view, ids, actor, at.tail, limit)? {
                let is_old = number <= newest_gone || change.stamp.recorded_at < oldest;
                if !is_old || number >= at.head.number {
                    break;
                }
                tail = number + 1;
                gone.push((ids.changes, place_bytes(actor, number).to_vec()));
                let (first, own) = (
                    version_key(&change.key, actor, 0),
                    version_key(&change.key, actor, number),
                );
                let before = view.scan(
                    ids.versions,
                    Bound::Included(&first),
                    Bound::Excluded(&own),
                    usize::MAX,
                )?;
                gone.extend(before.into_iter().map(|(key, _)| (ids.versions, key)));
                if !change.is_there {
                    gone.push((ids.versions, own));
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
