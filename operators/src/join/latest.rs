//! Join of a stream with a table: each left item meets the latest right one of its key at the moment it comes.
//!
//! The right side is a table: the value with the latest time counts, of equal times the one that came last. What a left
//! item meets depends on what has come when it comes, and so on how the sides are interleaved; where that must not be,
//! see [`AsOfJoin`](super::AsOfJoin). Results carry the left item's time. Nothing is late.
//! State: one value per key, with a time to live until the watermark passes its time by that, otherwise until the end of
//! the input or a deletion. A deletion is forgotten at once, or with the time to live: an older value that comes after
//! that counts.
//! Cost: per item one lookup; with a time to live, a visit of each value when it is over.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Side};
use millstream_engine::time::Timestamp;

use super::due::DueQueue;
use super::{JoinResult, micros};
use crate::table::{Table, in_memory};
use crate::{Key, Savable};

/// Its kinds of state in checkpoints.
const KIND: &str = "latest join";
const WATERMARK: &str = "watermark of a latest join";

/// How a join with the latest value holds its table.
pub struct Latest<R> {
    time_to_live: Option<i64>,
    deletes: fn(&R) -> bool,
}

impl<R> Latest<R> {
    /// Every right item is a value, held for ever.
    pub fn new() -> Self {
        Self {
            time_to_live: None,
            deletes: |_| false,
        }
    }

    /// Forgets a value when the watermark has passed its time by more than this. Default: never.
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = Some(micros(time_to_live));
        self
    }

    /// Whether values have a time to live.
    #[must_use]
    pub const fn forgets(&self) -> bool {
        self.time_to_live.is_some()
    }

    /// Right items for which `deletes` holds remove the value of their key. Default: none does.
    #[must_use]
    pub fn deleted_by(mut self, deletes: fn(&R) -> bool) -> Self {
        self.deletes = deletes;
        self
    }
}

impl<R> Default for Latest<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Clone for Latest<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Latest<R> {}

/// Joins left items with the latest right one of their key.
pub struct LatestJoin<K, L, R, FL, FR, G> {
    table_of: Latest<R>,
    left_key: FL,
    right_key: FR,
    result: G,
    table: Table<K, (i64, R)>,
    /// Keys by the time when their value may be over; each key once.
    queue: DueQueue<K>,
    watermark: i64,
    items: PhantomData<fn(L)>,
}

impl<K, L, R, FL, FR, G> LatestJoin<K, L, R, FL, FR, G> {
    /// Joins by the keys that `left_key` and `right_key` give.
    pub fn new(table_of: Latest<R>, left_key: FL, right_key: FR, result: G) -> Self {
        Self {
            table_of,
            left_key,
            right_key,
            result,
            table: Table::default(),
            queue: DueQueue::new(table_of.time_to_live.unwrap_or(0)),
            watermark: i64::MIN,
            items: PhantomData,
        }
    }

    fn put(&mut self, time: i64, item: R)
    where
        K: Hash + Eq + Clone,
        FR: Fn(&R) -> K,
    {
        let due = self
            .table_of
            .time_to_live
            .map(|ttl| time.saturating_add(ttl));
        if due.is_some_and(|due| due < self.watermark) {
            return;
        }
        let deletes = (self.table_of.deletes)(&item);
        let key = (self.right_key)(&item);
        // With a time to live the deletion is held instead: the queue has each key once.
        let is_removed = deletes && due.is_none();
        match self.table.find(&key) {
            Some(place) if self.table.at(place).1.0 > time => {}
            Some(place) if is_removed => drop(self.table.remove_at(place)),
            Some(place) => *self.table.at_mut(place).1 = (time, item),
            None if is_removed => {}
            None => {
                if let Some(due) = due {
                    self.queue.push(due, key.clone());
                }
                self.table.insert(key, (time, item));
            }
        }
    }
}

impl<K, L, R, FL, FR, G> Operator<Side<L, R>> for LatestJoin<K, L, R, FL, FR, G>
where
    K: Key,
    L: Send + 'static,
    R: Savable,
    FL: Fn(&L) -> K + Send + 'static,
    FR: Fn(&R) -> K + Send + 'static,
    G: JoinResult<K, L, R>,
{
    type Out = G::Out;

    #[inline]
    fn item<E: Emit<G::Out>>(&mut self, time: Timestamp, item: Side<L, R>, out: &mut E) {
        let left = match item {
            Side::Left(left) => left,
            Side::Right(right) => return self.put(time.0, right),
        };
        let key = (self.left_key)(&left);
        let deletes = self.table_of.deletes;
        match self.table.get(&key).filter(|(_, right)| !deletes(right)) {
            Some((_, right)) => out.emit(time, self.result.pair(&key, &left, right)),
            None => {
                if let Some(alone) = self.result.left_alone(&key, &left) {
                    out.emit(time, alone);
                }
            }
        }
    }

    fn watermark<E: Emit<G::Out>>(&mut self, watermark: Timestamp, _out: &mut E) {
        self.watermark = watermark.0;
        if watermark == Timestamp::MAX {
            self.table = Table::default(); // The input is complete.
            self.queue = DueQueue::new(0);
        }
        while let Some((_, key)) = self.queue.pop(watermark.0) {
            let Some((time, _)) = self.table.get(&key) else {
                continue;
            };
            let due = time.saturating_add(self.table_of.time_to_live.unwrap_or(i64::MAX));
            if due < watermark.0 {
                self.table.remove(&key);
            } else {
                self.queue.push(due, key);
            }
        }
    }

    in_memory!(table);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join rows", self.table.len()));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        self.table.save(KIND, saving)?;
        Ok(saving.whole(WATERMARK, &self.watermark)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        self.table.restore(KIND, restoring)?;
        if let Some(ttl) = self.table_of.time_to_live {
            self.table.for_each(|key, (time, _)| {
                // It may have been queued for an earlier time; that a value is over is not seen before its own.
                self.queue.push(time.saturating_add(ttl), key.clone());
            });
        }
        let watermarks = restoring.whole::<i64>(WATERMARK)?;
        self.watermark = watermarks.into_iter().max().unwrap_or(i64::MIN);
        Ok(())
    }
}

impl<K, L, R, FL: Clone, FR: Clone, G: Clone> Clone for LatestJoin<K, L, R, FL, FR, G> {
    /// The same join with nothing in it.
    fn clone(&self) -> Self {
        let (left_key, right_key) = (self.left_key.clone(), self.right_key.clone());
        Self::new(self.table_of, left_key, right_key, self.result.clone())
    }
}

impl<R> fmt::Debug for Latest<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest")
            .field("time_to_live", &self.time_to_live)
            .finish_non_exhaustive()
    }
}

impl<K, L, R, FL, FR, G> fmt::Debug for LatestJoin<K, L, R, FL, FR, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestJoin")
            .field("table_of", &self.table_of)
            .field("rows", &self.table.len())
            .finish_non_exhaustive()
    }
}
