//! What a checkpoint holds of a join of sliding windows: what has changed of its tables, and how far time has come.
//!
//! When keys are looked at next is known from their items and from the watermark of the partition that had them: windows
//! before that were given out. All of it was one value once, which is still read.

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{SlidingJoin, first_open, first_time, number_of};
use crate::join::pending::Pending;
use crate::join::run::{Held, Run};
use crate::window::{Shape, Span};
use crate::{Key, Savable};

/// Its kinds of state in checkpoints.
const TIME: &str = "time of a sliding join";
const KEYS: &str = "keys of a sliding join";
const LEFTS: &str = "left items of a sliding join";
const RIGHTS: &str = "right items of a sliding join";
/// All of it, once.
const WHOLE: &str = "sliding join";

/// What is saved beside the tables.
#[derive(Serialize, Deserialize)]
struct Time {
    shape: Shape,
    watermark: i64,
    now: Timestamp,
}

/// All that was saved once.
#[derive(Deserialize)]
#[serde(bound(deserialize = "K: Deserialize<'de>, L: Deserialize<'de>, R: Deserialize<'de>"))]
struct Whole<K, L, R> {
    shape: Shape,
    keys: Vec<WholeSlot<K, L, R>>,
    watermark: i64,
    now: Timestamp,
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

/// End of a key's next window, where those that were over at `watermark` were given out. If what is in it came late for
/// it nothing will be given out.
fn next_end<L, R>(span: &Span, watermark: i64, of: &Pending<L, R>) -> Option<i64> {
    let first = first_time(&of.left, &of.right)?;
    Some(span.next_end(first).max(first_open(span, watermark)))
}

impl<K: Key, L: Savable, R: Savable, FL, FR, G, S> SlidingJoin<K, L, R, FL, FR, G, S> {
    pub(super) fn save_items(&mut self, saving: &mut Saving) -> Result<(), CheckpointError> {
        let time = Time {
            shape: self.span.shape(),
            watermark: self.watermark,
            now: self.now,
        };
        saving.whole(TIME, &time)?;
        self.keys.table.save(KEYS, saving)?;
        self.lefts.save(LEFTS, saving)?;
        self.rights.save(RIGHTS, saving)
    }

    pub(super) fn restore_items(
        &mut self,
        restoring: &mut Restoring,
    ) -> Result<(), CheckpointError> {
        // How many keys there are after each partition's, and that partition's watermark.
        let (ends, watermarks) = if restoring.next_kind() == Some(WHOLE) {
            self.restore_whole(restoring)?
        } else {
            let mut watermarks = Vec::new();
            for Time {
                shape,
                watermark,
                now,
            } in restoring.whole(TIME)?
            {
                shape.check(TIME, self.span.shape(), restoring)?;
                watermarks.push(watermark);
                self.now = self.now.max(now);
                restoring.goes_on_from(now);
            }
            let ends = self
                .keys
                .table
                .restore_owned(KEYS, restoring, Restoring::owns)?;
            self.lefts.restore(LEFTS, restoring)?;
            self.rights.restore(RIGHTS, restoring)?;
            (ends, watermarks)
        };
        self.watermark = watermarks.iter().copied().fold(self.watermark, i64::max);
        let (span, held) = (self.span, &mut self.held);
        let due = |place, _: &K, value: &Pending<L, R>| {
            *held += value.left.len() + value.right.len();
            let partition = ends.partition_point(|end| *end <= place);
            let watermark = watermarks.get(partition).copied().unwrap_or(i64::MIN);
            next_end(&span, watermark, value)
        };
        self.keys.queue_all(due, |end| number_of(&span, end));
        Ok(())
    }

    fn restore_whole(
        &mut self,
        restoring: &mut Restoring,
    ) -> Result<(Vec<usize>, Vec<i64>), CheckpointError> {
        let (mut ends, mut watermarks) = (Vec::new(), Vec::new());
        for saved in restoring.whole::<Whole<K, L, R>>(WHOLE)? {
            saved.shape.check(WHOLE, self.span.shape(), restoring)?;
            watermarks.push(saved.watermark);
            self.now = self.now.max(saved.now);
            restoring.goes_on_from(saved.now);
            let own = saved
                .keys
                .into_iter()
                .filter(|slot| restoring.owns(&slot.key));
            self.keys.table.take_in(own.map(|slot| {
                let WholePending { left, right } = slot.value;
                let (left, right) = (Run::of(left), Run::of(right));
                (slot.key, Pending { left, right })
            }));
            ends.push(self.keys.table.len());
        }
        Ok((ends, watermarks))
    }
}
