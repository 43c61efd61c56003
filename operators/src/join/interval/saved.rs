//! What a checkpoint holds of an interval join: what has changed of its tables, and the watermark.
//!
//! When keys are looked at next is known from their items. All of it was one value once, which is still read.

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use serde::Deserialize;
use smallvec::SmallVec;

use super::{Bounds, IntervalJoin};
use crate::join::pending::Pending;
use crate::join::run::{Held, Run};
use crate::{Key, Savable};

/// Its kinds of state in checkpoints.
const WATERMARK: &str = "watermark of an interval join";
const KEYS: &str = "keys of an interval join";
const LEFTS: &str = "left items of an interval join";
const RIGHTS: &str = "right items of an interval join";
/// All of it, once.
const WHOLE: &str = "interval join";

impl<L, R> Pending<L, R> {
    /// When its first item is over.
    #[inline(always)]
    pub(super) fn due(&self, bounds: Bounds) -> i64 {
        Self::due_of(&self.left, &self.right, bounds)
    }

    #[inline(always)]
    pub(super) fn due_of(left: &Run<Held<L>>, right: &Run<Held<R>>, bounds: Bounds) -> i64 {
        let left = left
            .first_time()
            .map_or(i64::MAX, |time| time.saturating_add(bounds.after));
        let right = right
            .first_time()
            .map_or(i64::MAX, |time| time.saturating_add(bounds.before));
        left.min(right)
    }
}

/// All that was saved once.
#[derive(Deserialize)]
#[serde(bound(deserialize = "K: Deserialize<'de>, L: Deserialize<'de>, R: Deserialize<'de>"))]
struct Whole<K, L, R> {
    keys: Vec<WholeSlot<K, L, R>>,
    watermark: i64,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "K: Deserialize<'de>, L: Deserialize<'de>, R: Deserialize<'de>"))]
struct WholeSlot<K, L, R> {
    key: K,
    value: WholePending<L, R>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "L: Deserialize<'de>, R: Deserialize<'de>"))]
struct WholePending<L, R> {
    left: SmallVec<[Held<L>; 1]>,
    right: SmallVec<[Held<R>; 1]>,
}

impl<K: Key, L: Savable, R: Savable, FL, FR, G, S> IntervalJoin<K, L, R, FL, FR, G, S> {
    pub(super) fn save_items(&mut self, saving: &mut Saving) -> Result<(), CheckpointError> {
        saving.whole(WATERMARK, &self.watermark)?;
        self.keys.table.save(KEYS, saving)?;
        self.lefts.save(LEFTS, saving)?;
        self.rights.save(RIGHTS, saving)
    }

    pub(super) fn restore_items(
        &mut self,
        restoring: &mut Restoring,
    ) -> Result<(), CheckpointError> {
        if restoring.next_kind() == Some(WHOLE) {
            self.restore_whole(restoring)?;
        } else {
            let watermarks = restoring.whole::<i64>(WATERMARK)?;
            self.watermark = watermarks.into_iter().max().unwrap_or(self.watermark);
            self.keys.table.restore(KEYS, restoring)?;
            self.lefts.restore(LEFTS, restoring)?;
            self.rights.restore(RIGHTS, restoring)?;
        }
        let (bounds, held) = (self.bounds, &mut self.held);
        let due = |_, _: &K, value: &Pending<L, R>| {
            *held += value.left.len() + value.right.len();
            (!value.is_empty()).then(|| value.due(bounds))
        };
        self.keys.queue_all(due, |due| due);
        Ok(())
    }

    fn restore_whole(&mut self, restoring: &mut Restoring) -> Result<(), CheckpointError> {
        for saved in restoring.whole::<Whole<K, L, R>>(WHOLE)? {
            self.watermark = self.watermark.max(saved.watermark);
            let own = saved
                .keys
                .into_iter()
                .filter(|slot| restoring.owns(&slot.key));
            self.keys.table.take_in(own.map(|slot| {
                let WholePending { left, right } = slot.value;
                let (left, right) = (Run::of(left), Run::of(right));
                (slot.key, Pending { left, right })
            }));
        }
        Ok(())
    }
}
