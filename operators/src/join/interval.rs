//! Interval join: items of one key that lie close together in time.
//!
//! A left item at `t` and a right one at `u` meet if `t - before <= u <= t + after`. The pair is stamped with the later
//! of the two times; an item that met none (outer joins) with its own, when the watermark has passed its interval.
//! State: a left item is held until the watermark passes its time + `after`, a right one until it passes its time +
//! `before`: no partner in time can come then. Late: an item meets only those whose interval its source's watermark had
//! not passed when it came, so one in time meets all; if there can be none, that is if its time + `after` + `before` is
//! past that watermark, it goes to the late sink. A late item whose own interval is over is not held.
//! Cost: per item one lookup, a push and the pairs; keys are cleaned up in the order in which their items are over,
//! each visited when its first item is, and no others.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Side, inner_sink};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::due::DueQueue;
use super::keyed::{Keyed, Slot, SlotId};
use super::run::{Held, Run};
use super::{JoinResult, micros};
use crate::{Key, Savable};

/// Its kind of state in checkpoints.
const KIND: &str = "interval join";

/// Microseconds. Below it a bucket of the queue would be shorter than what one batch brings.
const QUEUE_SPAN_MIN: i64 = 32_000;

/// What is saved, of keys that are lent or owned.
#[derive(Serialize, Deserialize)]
struct Saved<S> {
    keys: Vec<S>,
    watermark: i64,
}

/// What is held of one key.
#[derive(Debug, Serialize, Deserialize)]
struct Pending<L, R> {
    left: Run<L>,
    right: Run<R>,
    /// When the queue has it next.
    due: i64,
}

impl<L, R> Default for Pending<L, R> {
    fn default() -> Self {
        Self {
            left: Run::default(),
            right: Run::default(),
            due: i64::MAX,
        }
    }
}

/// How far apart in time the two items of a pair may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    before: i64,
    after: i64,
}

impl Bounds {
    /// The right item may be earlier by up to `before` and later by up to `after`, both inclusive.
    pub fn between(before: Duration, after: Duration) -> Self {
        Self {
            before: micros(before),
            after: micros(after),
        }
    }
}

/// An item that came, seen from its own side.
#[derive(Clone, Copy)]
struct Came {
    time: i64,
    limit: i64,
    /// The first time of a partner whose own interval was not over.
    from: i64,
    /// The last time of a partner: when its own interval is over.
    due: i64,
}

impl Came {
    #[inline(always)]
    fn new(time: i64, limit: i64, before: i64, after: i64) -> Self {
        Self {
            time,
            limit,
            from: time.max(limit).saturating_sub(before),
            due: time.saturating_add(after),
        }
    }

    /// Gives a pair for each partner that is held; gives whether there was one.
    #[inline(always)]
    fn meet<A, B, U, E: Emit<U>>(
        &self,
        item: &A,
        others: &mut Run<B>,
        pair: impl Fn(&A, &B) -> U,
        out: &mut E,
    ) -> bool {
        let mut matched = false;
        for other in others.between(self.from, self.due) {
            if other.limit <= self.due {
                (matched, other.matched) = (true, true);
                let time = Timestamp(self.time.max(other.time));
                out.emit(time, pair(item, &other.item));
            }
        }
        matched
    }

    #[inline(always)]
    fn held<T>(&self, matched: bool, item: T) -> Held<T> {
        Held {
            time: self.time,
            limit: self.limit,
            matched,
            item,
        }
    }
}

/// The slot of `key`; a new one only for what will be held.
#[inline(always)]
fn slot_for<K: Hash + Eq, L, R>(
    keys: &mut Keyed<K, Pending<L, R>>,
    key: K,
    is_held: bool,
) -> Result<SlotId, K> {
    if is_held {
        return Ok(keys.find_or_insert(key));
    }
    keys.find(&key).ok_or(key)
}

#[inline(always)]
fn give<U, E: Emit<U>>(time: i64, result: Option<U>, out: &mut E) {
    if let Some(result) = result {
        out.emit(Timestamp(time), result);
    }
}

/// Gives out those that are over and met none, and drops them; gives how many.
fn drop_over<T, U, E: Emit<U>>(
    run: &mut Run<T>,
    end: i64,
    alone: impl Fn(&T) -> Option<U>,
    out: &mut E,
) -> usize {
    for held in run.before(end).iter().filter(|held| !held.matched) {
        give(held.time, alone(&held.item), out);
    }
    run.drop_before(end)
}

/// Joins items by key and nearness in time.
pub struct IntervalJoin<K, L, R, FL, FR, G, S> {
    bounds: Bounds,
    left_key: FL,
    right_key: FR,
    result: G,
    late: S,
    keys: Keyed<K, Pending<L, R>>,
    /// Keys by the time when their first item is over.
    queue: DueQueue<SlotId>,
    held: usize,
    watermark: i64,
    late_before: i64,
    items: PhantomData<fn(L, R)>,
}

impl<K, L, R, FL, FR, G, S> IntervalJoin<K, L, R, FL, FR, G, S>
where
    K: Hash + Eq,
    FL: Fn(&L) -> K,
    FR: Fn(&R) -> K,
    G: JoinResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible>,
{
    /// Joins by the keys that `left_key` and `right_key` give; late items go to `late`.
    pub fn new(bounds: Bounds, left_key: FL, right_key: FR, result: G, late: S) -> Self {
        Self {
            bounds,
            left_key,
            right_key,
            result,
            late,
            keys: Keyed::default(),
            queue: DueQueue::new(
                bounds
                    .before
                    .saturating_add(bounds.after)
                    .max(QUEUE_SPAN_MIN),
            ),
            held: 0,
            watermark: i64::MIN,
            late_before: i64::MIN,
            items: PhantomData,
        }
    }

    /// Whether no item that is held or to come can be its partner.
    #[inline(always)]
    fn is_late(&self, time: i64) -> bool {
        let Bounds { before, after } = self.bounds;
        let last = time.saturating_add(after).saturating_add(before);
        time < self.late_before && last < self.late_before
    }

    #[inline]
    fn left<E: Emit<G::Out>>(&mut self, time: i64, item: L, out: &mut E) {
        let Bounds { before, after } = self.bounds;
        let key = (self.left_key)(&item);
        let came = Came::new(time, self.late_before, before, after);
        let result = &self.result;
        let id = match slot_for(&mut self.keys, key, came.due >= self.watermark) {
            Ok(id) => id,
            Err(key) => return give(time, result.left_alone(&key, &item), out),
        };
        let Some(Slot { key, value }) = self.keys.get_mut(id) else {
            return;
        };
        let pair = |left: &L, right: &R| result.pair(key, left, right);
        let matched = came.meet(&item, &mut value.right, pair, out);
        if came.due < self.watermark {
            let alone = (!matched).then(|| result.left_alone(key, &item));
            return give(time, alone.flatten(), out);
        }
        value.left.insert(came.held(matched, item));
        self.held += 1;
        if came.due < value.due {
            value.due = came.due;
            self.queue.push(came.due, id);
        }
    }

    #[inline]
    fn right<E: Emit<G::Out>>(&mut self, time: i64, item: R, out: &mut E) {
        let Bounds { before, after } = self.bounds;
        let key = (self.right_key)(&item);
        let came = Came::new(time, self.late_before, after, before);
        let result = &self.result;
        let id = match slot_for(&mut self.keys, key, came.due >= self.watermark) {
            Ok(id) => id,
            Err(key) => return give(time, result.right_alone(&key, &item), out),
        };
        let Some(Slot { key, value }) = self.keys.get_mut(id) else {
            return;
        };
        let pair = |right: &R, left: &L| result.pair(key, left, right);
        let matched = came.meet(&item, &mut value.left, pair, out);
        if came.due < self.watermark {
            let alone = (!matched).then(|| result.right_alone(key, &item));
            return give(time, alone.flatten(), out);
        }
        value.right.insert(came.held(matched, item));
        self.held += 1;
        if came.due < value.due {
            value.due = came.due;
            self.queue.push(came.due, id);
        }
    }

    /// Drops what is over, and gives out what of it met none.
    fn expire<E: Emit<G::Out>>(&mut self, out: &mut E) {
        let Bounds { before, after } = self.bounds;
        let (left_end, right_end) = match self.watermark {
            i64::MAX => (i64::MAX, i64::MAX),
            watermark => (
                watermark.saturating_sub(after),
                watermark.saturating_sub(before),
            ),
        };
        while let Some((due, id)) = self.queue.pop(self.watermark) {
            let Some(Slot { key, value }) = self.keys.get_mut(id) else {
                continue;
            };
            if value.due != due {
                continue; // It was queued anew for an earlier time, or is another key's by now.
            }
            let (key, result) = (&*key, &self.result);
            let left = |item: &L| result.left_alone(key, item);
            let right = |item: &R| result.right_alone(key, item);
            self.held -= drop_over(&mut value.left, left_end, left, out);
            self.held -= drop_over(&mut value.right, right_end, right, out);
            let left = value
                .left
                .first_time()
                .map(|time| time.saturating_add(after));
            let right = value
                .right
                .first_time()
                .map(|time| time.saturating_add(before));
            match left.into_iter().chain(right).min() {
                Some(next) => {
                    value.due = next;
                    self.queue.push(next, id);
                }
                None => self.keys.remove(id),
            }
        }
    }
}

impl<K, L, R, FL, FR, G, S> Operator<Side<L, R>> for IntervalJoin<K, L, R, FL, FR, G, S>
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

    #[inline(always)]
    fn item<E: Emit<G::Out>>(&mut self, time: Timestamp, item: Side<L, R>, out: &mut E) {
        if self.is_late(time.0) {
            self.late.item(time, item, &mut Discard);
            return;
        }
        match item {
            Side::Left(item) => self.left(time.0, item, out),
            Side::Right(item) => self.right(time.0, item, out),
        }
    }

    fn watermark<E: Emit<G::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        self.late.watermark(watermark, &mut Discard);
        self.watermark = watermark.0;
        self.expire(out);
    }

    /// Items that meet none are given out when their interval is over, with their own time.
    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        let left = if G::LEFT { self.bounds.after } else { 0 };
        let right = if G::RIGHT { self.bounds.before } else { 0 };
        super::held_back(watermark, left.max(right))
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.late_before = limit.0;
        self.late.late_before(limit);
    }

    inner_sink!(late: begin open flush is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join items", self.held));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let saved = Saved {
            keys: self.keys.in_order(&self.queue, |pending| pending.due),
            watermark: self.watermark,
        };
        saving.whole(KIND, &saved)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        type Stored<K, L, R> = Saved<Slot<K, Pending<L, R>>>;
        for saved in restoring.whole::<Stored<K, L, R>>(KIND)? {
            for Slot { key, value } in saved.keys {
                if restoring.owns(&key) {
                    self.held += value.left.len() + value.right.len();
                    let due = value.due;
                    let id = self.keys.insert(key, value);
                    // Until the end of time it is in no queue.
                    if due < i64::MAX {
                        self.queue.push(due, id);
                    }
                }
            }
            self.watermark = self.watermark.max(saved.watermark);
        }
        self.late.restore(restoring)
    }
}

impl<K, L, R, FL, FR, G, S> Clone for IntervalJoin<K, L, R, FL, FR, G, S>
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
            self.bounds,
            self.left_key.clone(),
            self.right_key.clone(),
            self.result.clone(),
            self.late.clone(),
        )
    }
}

impl<K, L, R, FL, FR, G, S> fmt::Debug for IntervalJoin<K, L, R, FL, FR, G, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntervalJoin")
            .field("bounds", &self.bounds)
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}
