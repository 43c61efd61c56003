//! What a checkpoint holds of a join as of a time: what has changed of its tables, what was about to be given out, and the
//! watermark.
//!
//! When keys are looked at next is known from their values. All of it was one value once, which is still read.

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::AsOfJoin;
use super::versions::{Version, Versions};
use crate::{Key, Savable};

/// Its kinds of state in checkpoints.
const TIME: &str = "time of an as-of join";
const KEYS: &str = "keys of an as-of join";
const VALUES: &str = "values of an as-of join";
const WAITING: &str = "items that wait in an as-of join";
/// All of it, once.
const WHOLE: &str = "as-of join";

/// What is saved beside the tables, of left items that are lent or owned.
#[derive(Serialize, Deserialize)]
struct Time<L> {
    /// Those whose time has come, and how far that has.
    waiting: Vec<(i64, L)>,
    opened: i64,
    watermark: i64,
}

/// All that was saved once.
#[derive(Deserialize)]
#[serde(bound(deserialize = "K: Deserialize<'de>, L: Deserialize<'de>, R: Deserialize<'de>"))]
struct Whole<K, L, R> {
    keys: Vec<WholeSlot<K, R>>,
    waiting: Vec<(i64, L)>,
    watermark: i64,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "K: Deserialize<'de>, R: Deserialize<'de>"))]
struct WholeSlot<K, R> {
    key: K,
    value: WholeVersions<R>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "R: Deserialize<'de>"))]
struct WholeVersions<R> {
    list: SmallVec<[Version<R>; 1]>,
}

impl<K: Key, L: Savable, R: Savable, FL: Fn(&L) -> K, FR, G, S> AsOfJoin<K, L, R, FL, FR, G, S> {
    pub(super) fn save_items(&mut self, saving: &mut Saving) -> Result<(), CheckpointError> {
        let (waiting, opened) = self.waiting.opened();
        let time = Time {
            waiting,
            opened,
            watermark: self.watermark,
        };
        saving.whole(TIME, &time)?;
        self.keys.table.save(KEYS, saving)?;
        self.pieces.save(VALUES, saving)?;
        self.waiting.save(WAITING, saving)
    }

    pub(super) fn restore_items(
        &mut self,
        restoring: &mut Restoring,
    ) -> Result<(), CheckpointError> {
        let reached = if restoring.next_kind() == Some(WHOLE) {
            self.restore_whole(restoring)?
        } else {
            self.restore_parts(restoring)?
        };
        let (versions, pieces) = (&mut self.versions, &mut self.pieces);
        let due = |_, key: &K, value: &Versions<R>| {
            *versions += value.len();
            (!value.is_empty()).then(|| value.next_from(reached, key, pieces))
        };
        self.keys.queue_all(due, |due| due);
        Ok(())
    }

    /// Gives until when values were dropped that could be, at least.
    fn restore_parts(&mut self, restoring: &mut Restoring) -> Result<i64, CheckpointError> {
        let times = restoring.whole::<Time<L>>(TIME)?;
        let reached = times.iter().map(|time| time.watermark).min();
        let opened = times.iter().map(|time| time.opened).max();
        self.waiting.open_until(opened.unwrap_or(i64::MIN));
        for saved in times {
            self.watermark = self.watermark.max(saved.watermark);
            self.take_waiting(saved.waiting, restoring);
        }
        self.keys.table.restore(KEYS, restoring)?;
        self.pieces.restore(VALUES, restoring)?;
        let left_key = &self.left_key;
        let owns = |restoring: &Restoring, item: &L| restoring.owns(&left_key(item));
        self.waiting.restore(WAITING, restoring, owns)?;
        Ok(self.reached(reached))
    }

    fn restore_whole(&mut self, restoring: &mut Restoring) -> Result<i64, CheckpointError> {
        let mut reached = None;
        for saved in restoring.whole::<Whole<K, L, R>>(WHOLE)? {
            self.watermark = self.watermark.max(saved.watermark);
            reached = Some(reached.unwrap_or(i64::MAX).min(saved.watermark));
            let own = saved
                .keys
                .into_iter()
                .filter(|slot| restoring.owns(&slot.key));
            let own = own.map(|slot| (slot.key, Versions::of(slot.value.list)));
            self.keys.table.take_in(own);
            self.take_waiting(saved.waiting, restoring);
        }
        Ok(self.reached(reached))
    }

    fn take_waiting(&mut self, waiting: Vec<(i64, L)>, restoring: &Restoring) {
        for (time, item) in waiting {
            if restoring.owns(&(self.left_key)(&item)) {
                self.waiting.push(time, item);
            }
        }
    }

    fn reached(&self, watermark: Option<i64>) -> i64 {
        let watermark = watermark.unwrap_or(i64::MIN);
        watermark.saturating_sub(self.table_of.lateness)
    }
}
