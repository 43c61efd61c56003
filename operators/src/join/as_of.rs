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
//! Cost: per item one lookup, and for a left one a place in a queue; per value one visit when it becomes valid.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use millstream_engine::flow::{Discard, Emit, Operator, Side, inner_sink};
use millstream_engine::time::Timestamp;
use smallvec::SmallVec;

use super::due::DueQueue;
use super::keyed::{Keyed, Slot, SlotId};
use super::{JoinResult, micros};

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

struct Version<R> {
    time: i64,
    /// Left items before this do not meet it: its time, or the watermark that it was late for.
    from: i64,
    item: R,
}

/// Values of one key by time; equal times in the order of arrival.
struct Versions<R> {
    list: SmallVec<[Version<R>; 1]>,
    /// When the queue has it next.
    due: i64,
}

impl<R> Default for Versions<R> {
    fn default() -> Self {
        Self {
            list: SmallVec::new(),
            due: i64::MAX,
        }
    }
}

impl<R> Versions<R> {
    /// Index of the one that is valid at `time`.
    fn at(&self, time: i64) -> Option<usize> {
        let count = self.list.partition_point(|version| version.time <= time);
        self.list[..count]
            .iter()
            .rposition(|version| version.from <= time)
    }
}

/// Joins left items with the right value of their key at their time.
pub struct AsOfJoin<K, L, R, FL, FR, G, S> {
    table_of: AsOf<R>,
    left_key: FL,
    right_key: FR,
    result: G,
    late: S,
    keys: Keyed<K, Versions<R>>,
    versions: usize,
    /// Left items by time.
    waiting: DueQueue<L>,
    /// Keys by the time when an older value of theirs may be dropped.
    queue: DueQueue<SlotId>,
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
            keys: Keyed::default(),
            versions: 0,
            waiting: DueQueue::new(QUEUE_SPAN),
            queue: DueQueue::new(QUEUE_SPAN),
            watermark: i64::MIN,
            late_before: i64::MIN,
        }
    }

    fn give<E: Emit<G::Out>>(&mut self, time: i64, item: &L, out: &mut E) {
        let key = (self.left_key)(item);
        let id = self.keys.find(&key);
        let slot = id.and_then(|id| self.keys.get_mut(id));
        let version = slot.and_then(|slot| {
            let at = slot.value.at(time)?;
            slot.value.list.get(at)
        });
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
        let id = self.keys.find_or_insert((self.right_key)(&item));
        let Some(Slot { value, .. }) = self.keys.get_mut(id) else {
            return;
        };
        let at = value.list.partition_point(|version| version.time <= time);
        value.list.insert(at, Version { time, from, item });
        self.versions += 1;
        if from < value.due {
            value.due = from;
            self.queue.push(from, id);
        }
    }

    /// Drops values that no left item can meet any more.
    fn drop_old(&mut self) {
        let reached = match self.watermark {
            i64::MAX => i64::MAX,
            watermark => watermark.saturating_sub(self.table_of.lateness),
        };
        while let Some((due, id)) = self.queue.pop(reached.saturating_add(1)) {
            let Some(Slot { value, .. }) = self.keys.get_mut(id) else {
                continue;
            };
            if value.due != due {
                continue; // It was queued anew for an earlier time, or is another key's by now.
            }
            let before = value.list.len();
            if let Some(valid) = value.at(reached) {
                let is_deleted = self.table_of.is_deletion(&value.list[valid].item);
                value.list.drain(..valid + usize::from(is_deleted));
            }
            self.versions -= before - value.list.len();
            let later = value.list.iter().map(|version| version.from);
            match later.filter(|from| *from > reached).min() {
                Some(next) => {
                    value.due = next;
                    self.queue.push(next, id);
                }
                None if value.list.is_empty() => self.keys.remove(id),
                None => value.due = i64::MAX,
            }
        }
    }
}

impl<K, L, R, FL, FR, G, S> Operator<Side<L, R>> for AsOfJoin<K, L, R, FL, FR, G, S>
where
    K: Hash + Eq + Send + 'static,
    L: Send + 'static,
    R: Send + 'static,
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
        while let Some((time, item)) = self.waiting.pop(watermark.0) {
            self.give(time, &item, out);
        }
        if watermark == Timestamp::MAX {
            self.keys = Keyed::default(); // The input is complete.
            self.queue = DueQueue::new(QUEUE_SPAN);
            self.versions = 0;
        }
        self.drop_old();
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.late_before = limit.0;
        self.late.late_before(limit);
    }

    inner_sink!(late: begin open flush is_blocked blocked idle end);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join items", self.waiting.len()));
        into.push(("join rows", self.versions));
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
