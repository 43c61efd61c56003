//! Join of a stream with a table in event time: each left item meets the right value that was valid at its own time.
//!
//! A right item is valid from its time until that of the next one of its key. A left item waits until the watermark has
//! passed its time, since a value in time may come until then, and is given out with its own time. A right item that is
//! late counts for the left items from its source's watermark on: those before were given out. A left item is late if
//! its time plus the allowed lateness is before its source's watermark; one that is late but allowed is given out at
//! once. So is a right item if there are deletions: what is deleted leaves no trace once it is over, and must not come
//! back by a value older than its deletion.
//! State: left items until the watermark passes them; of each key the value that is valid at the watermark less the
//! allowed lateness, and later ones. What remains at the end of the input is dropped with it.
//! Cost: per item one lookup, and for a left one a place in a queue; per value one visit when it becomes valid. A checkpoint
//! has the keys with new values, and those of which one was dropped; of a key with many values the newest and what was
//! changed of the [others](super::pieces); and of left items those that came.

mod saved;
mod versions;

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Side, Wiring, inner_sink};
use millstream_engine::time::Timestamp;
use versions::{Version, Versions};

use super::keyed::Keyed;
use super::pieces::Pieces;
use super::waiting::Waiting;
use super::{JoinResult, micros};
use crate::progress::Progress;
use crate::table::StateMemory;
use crate::{Key, Savable};

/// Microseconds of a bucket times 32; what waits is what the watermark lags behind.
const QUEUE_SPAN: i64 = 1_000_000;

/// How a join by event time holds its table.
pub struct AsOf<R> {
    lateness: i64,
    deletes: Option<fn(&R) -> bool>,
}

impl<R> AsOf<R> {
    /// Every right item is a value; left items must be in time.
    pub fn new() -> Self {
        Self {
            lateness: 0,
            deletes: None,
        }
    }

    /// Left items, and right ones if there are deletions, may come this long (in event time) after the watermark. Holds
    /// values longer. Default: none.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness = micros(lateness);
        self
    }

    /// Whether left items may come after the watermark.
    #[must_use]
    pub const fn allows_late(&self) -> bool {
        self.lateness > 0
    }

    /// From right items for which `deletes` holds on, their key has no value. Default: none does. With it, right items
    /// that are behind their source's watermark by more than the allowed lateness are late; without, they are taken.
    #[must_use]
    pub fn deleted_by(mut self, deletes: fn(&R) -> bool) -> Self {
        self.deletes = Some(deletes);
        self
    }

    fn is_deletion(&self, item: &R) -> bool {
        self.deletes.is_some_and(|deletes| deletes(item))
    }
}

impl<R> Default for AsOf<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Clone for AsOf<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for AsOf<R> {}

/// Joins left items with the right value of their key at their time.
pub struct AsOfJoin<K, L, R, FL, FR, G, S> {
    table_of: AsOf<R>,
    left_key: FL,
    right_key: FR,
    result: G,
    late: S,
    /// By key its values, due when an older one may be dropped.
    keys: Keyed<K, Versions<R>>,
    /// Older values of keys that have many.
    pieces: Pieces<K, Version<R>>,
    versions: usize,
    /// Left items by time.
    waiting: Waiting<L>,
    watermark: i64,
    late_before: i64,
}

impl<K, L, R, FL, FR, G, S> AsOfJoin<K, L, R, FL, FR, G, S>
where
    K: Hash + Eq,
    FL: Fn(&L) -> K,
    FR: Fn(&R) -> K,
    G: JoinResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible>,
{
    /// Joins by the keys that `left_key` and `right_key` give; late items go to `late`.
    pub fn new(table_of: AsOf<R>, left_key: FL, right_key: FR, result: G, late: S) -> Self {
        Self {
            table_of,
            left_key,
            right_key,
            result,
            late,
            keys: Keyed::new(QUEUE_SPAN),
            pieces: Pieces::default(),
            versions: 0,
            waiting: Waiting::new(QUEUE_SPAN),
            watermark: i64::MIN,
            late_before: i64::MIN,
        }
    }
}

impl<K, L, R, FL, FR, G, S> AsOfJoin<K, L, R, FL, FR, G, S>
where
    K: Key,
    FL: Fn(&L) -> K,
    FR: Fn(&R) -> K,
    G: JoinResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible>,
{
    fn give<E: Emit<G::Out>>(&mut self, time: i64, item: &L, out: &mut E) {
        let key = (self.left_key)(item);
        let version = match self.keys.find(&key) {
            Some(place) => {
                let (key, versions) = self.keys.table.at(place);
                versions.at(time, key, &mut self.pieces)
            }
            None => None,
        };
        let right = version.filter(|version| !self.table_of.is_deletion(&version.item));
        let result = match right {
            Some(version) => Some(self.result.pair(&key, item, &version.item)),
            None => self.result.left_alone(&key, item),
        };
        result
            .into_iter()
            .for_each(|result| out.emit(Timestamp(time), result));
    }

    fn put(&mut self, time: i64, item: R) {
        let from = time.max(self.late_before);
        let place = self.keys.find_or_insert((self.right_key)(&item));
        let (key, versions) = self.keys.table.at_mut(place);
        versions.put(key, &mut self.pieces, Version { time, from, item });
        self.versions += 1;
        if from < self.keys.due(place) {
            self.keys.set_due(place, from, from);
        }
    }

    /// Drops values that no left item can meet any more.
    fn drop_old(&mut self) {
        let reached = match self.watermark {
            i64::MAX => i64::MAX,
            watermark => watermark.saturating_sub(self.table_of.lateness),
        };
        let table_of = self.table_of;
        while let Some((place, _)) = self.keys.pop(reached.saturating_add(1), |due| due) {
            let (key, versions) = self.keys.table.peek_mut(place);
            let is_deletion = |item: &R| table_of.is_deletion(item);
            let (dropped, next) = versions.drop_over(reached, key, &mut self.pieces, is_deletion);
            self.versions -= dropped;
            let is_empty = versions.is_empty();
            if dropped > 0 {
                self.keys.table.changed_at(place);
            }
            if is_empty {
                self.keys.leave(place, Versions::is_empty, |due| due);
            } else {
                self.keys.set_due(place, next, next);
            }
        }
    }
}

impl<K, L, R, FL, FR, G, S> Operator<Side<L, R>> for AsOfJoin<K, L, R, FL, FR, G, S>
where
    K: Key,
    L: Savable,
    R: Savable,
    FL: Fn(&L) -> K + Send + 'static,
    FR: Fn(&R) -> K + Send + 'static,
    G: JoinResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible>,
{
    type Out = G::Out;

    #[inline]
    fn item<E: Emit<G::Out>>(&mut self, time: Timestamp, item: Side<L, R>, out: &mut E) {
        let is_late = time.0.saturating_add(self.table_of.lateness) < self.late_before;
        match item {
            Side::Right(item) if is_late && self.table_of.deletes.is_some() => {
                self.late.item(time, Side::Right(item), &mut Discard);
            }
            Side::Right(item) => self.put(time.0, item),
            Side::Left(item) => {
                if is_late {
                    self.late.item(time, Side::Left(item), &mut Discard);
                } else if time.0 < self.watermark {
                    self.give(time.0, &item, out);
                } else {
                    self.waiting.push(time.0, item);
                }
            }
        }
    }

    fn watermark<E: Emit<G::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        self.late.watermark(watermark, &mut Discard);
        self.watermark = watermark.0;
        let mut progress = Progress::default();
        while let Some((time, item)) = self.waiting.pop(watermark.0) {
            progress.made_one();
            self.give(time, &item, out);
        }
        if watermark == Timestamp::MAX {
            self.keys = Keyed::new(QUEUE_SPAN); // The input is complete.
            self.pieces = Pieces::default();
            self.versions = 0;
        }
        self.drop_old();
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.late_before = limit.0;
        self.late.late_before(limit);
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let memory = StateMemory::of(wiring);
        self.keys.table.share(&memory.for_tables());
        self.pieces.share(&memory);
        self.waiting.share(&memory);
        self.late.open(wiring)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.keys.table.settle()?;
        self.pieces.settle()?;
        self.waiting.settle()?;
        self.late.flush(idle)
    }

    inner_sink!(late: begin is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join items", self.waiting.len()));
        into.push(("join rows", self.versions));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        self.save_items(saving)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        self.restore_items(restoring)?;
        self.late.restore(restoring)
    }
}

impl<K, L, R, FL, FR, G, S> Clone for AsOfJoin<K, L, R, FL, FR, G, S>
where
    K: Hash + Eq,
    FL: Fn(&L) -> K + Clone,
    FR: Fn(&R) -> K + Clone,
    G: JoinResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible> + Clone,
{
    /// The same join with nothing in it.
    fn clone(&self) -> Self {
        Self::new(
            self.table_of,
            self.left_key.clone(),
            self.right_key.clone(),
            self.result.clone(),
            self.late.clone(),
        )
    }
}

impl<R> fmt::Debug for AsOf<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsOf")
            .field("lateness", &self.lateness)
            .finish_non_exhaustive()
    }
}

impl<K, L, R, FL, FR, G, S> fmt::Debug for AsOfJoin<K, L, R, FL, FR, G, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsOfJoin")
            .field("table_of", &self.table_of)
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}
