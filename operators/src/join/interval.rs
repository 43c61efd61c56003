//! Interval join: items of one key that lie close together in time.
//!
//! A left item at `t` and a right one at `u` meet if `t - before <= u <= t + after`. The pair is stamped with the later
//! of the two times; an item that met none (outer joins) with its own, when the watermark has passed its interval.
//! State: a left item is held until the watermark passes its time + `after`, a right one until it passes its time +
//! `before`: no partner in time can come then; where that is past the end of time, until the input is complete. Late: an item meets only those whose interval its source's watermark had
//! not passed when it came, so one in time meets all; if there can be none, that is if its time + `after` + `before` is
//! past that watermark, it goes to the late sink. A late item whose own interval is over is not held.
//! Cost: per item one lookup, a push and the pairs; keys are cleaned up in the order in which their items are over,
//! each visited when its first item is, and no others. A checkpoint has the keys that were touched, of a key with many
//! items the newest and what was changed of the [others](super::pieces).

mod came;
mod saved;

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use super::pending::Pending;
use came::Came;
use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Side, Wiring, inner_sink};
use millstream_engine::time::Timestamp;

use super::keyed::Keyed;
use super::pieces::Pieces;
use super::run::Held;
use super::{JoinResult, micros};
use crate::progress::Progress;
use crate::table::StateMemory;
use crate::{Key, Savable};

/// Microseconds. Below it a bucket of the queue would be shorter than what one batch brings.
const QUEUE_SPAN_MIN: i64 = 32_000;

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

    fn queue_span(&self) -> i64 {
        let both = self.before.saturating_add(self.after);
        both.max(QUEUE_SPAN_MIN)
    }
}

#[inline(always)]
fn give<U, E: Emit<U>>(time: i64, result: Option<U>, out: &mut E) {
    if let Some(result) = result {
        out.emit(Timestamp(time), result);
    }
}

/// Joins items by key and nearness in time.
pub struct IntervalJoin<K, L, R, FL, FR, G, S> {
    bounds: Bounds,
    left_key: FL,
    right_key: FR,
    result: G,
    late: S,
    /// By key what it has, due when its first item is over.
    keys: Keyed<K, Pending<L, R>>,
    /// Older items of keys that have many.
    lefts: Pieces<K, Held<L>>,
    rights: Pieces<K, Held<R>>,
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
            keys: Keyed::new(bounds.queue_span()),
            lefts: Pieces::default(),
            rights: Pieces::default(),
            held: 0,
            watermark: i64::MIN,
            late_before: i64::MIN,
            items: PhantomData,
        }
    }
}

impl<K, L, R, FL, FR, G, S> IntervalJoin<K, L, R, FL, FR, G, S>
where
    K: Key,
    FL: Fn(&L) -> K,
    FR: Fn(&R) -> K,
    G: JoinResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible>,
{
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
        let is_held = came.due >= self.watermark;
        let result = &self.result;
        let place = if is_held {
            self.keys.find_or_insert(key)
        } else if let Some(place) = self.keys.find(&key) {
            place
        } else {
            return give(time, result.left_alone(&key, &item), out);
        };
        let (key, value) = self.keys.table.at_mut(place);
        let pair = |other: &_| result.pair(key, &item, other);
        let matched = came.meet(key, (&mut value.right, &mut self.rights), pair, out);
        if !is_held {
            let alone = (!matched).then(|| result.left_alone(key, &item));
            return give(time, alone.flatten(), out);
        }
        let due = value.due(self.bounds);
        let held = came.held(matched, item);
        value.left.insert(key, &mut self.lefts, held);
        self.held += 1;
        if came.due < due {
            self.keys.set_due(place, came.due, came.due);
        }
    }

    #[inline]
    fn right<E: Emit<G::Out>>(&mut self, time: i64, item: R, out: &mut E) {
        let Bounds { before, after } = self.bounds;
        let key = (self.right_key)(&item);
        let came = Came::new(time, self.late_before, after, before);
        let is_held = came.due >= self.watermark;
        let result = &self.result;
        let place = if is_held {
            self.keys.find_or_insert(key)
        } else if let Some(place) = self.keys.find(&key) {
            place
        } else {
            return give(time, result.right_alone(&key, &item), out);
        };
        let (key, value) = self.keys.table.at_mut(place);
        let pair = |other: &_| result.pair(key, other, &item);
        let matched = came.meet(key, (&mut value.left, &mut self.lefts), pair, out);
        if !is_held {
            let alone = (!matched).then(|| result.right_alone(key, &item));
            return give(time, alone.flatten(), out);
        }
        let due = value.due(self.bounds);
        let held = came.held(matched, item);
        value.right.insert(key, &mut self.rights, held);
        self.held += 1;
        if came.due < due {
            self.keys.set_due(place, came.due, came.due);
        }
    }

    /// Drops what is over, and gives out what of it met none.
    fn expire<E: Emit<G::Out>>(&mut self, out: &mut E) {
        let Bounds { before, after } = self.bounds;
        let ends = match self.watermark {
            i64::MAX => (i64::MAX, i64::MAX),
            watermark => (
                watermark.saturating_sub(after),
                watermark.saturating_sub(before),
            ),
        };
        let mut progress = Progress::default();
        while let Some((place, _)) = self.keys.pop(self.watermark, |due| due) {
            progress.made_one();
            match self.drop_over(place, ends, out) {
                Some(next) => self.keys.set_due(place, next, next),
                None => {
                    let is_empty = |value: &Pending<L, R>| value.is_empty();
                    self.keys.leave(place, is_empty, |due| due);
                }
            }
        }
        if self.watermark == i64::MAX {
            self.end(out);
        }
    }

    /// Drops what the key at a place has from before these times; gives when the next of it is over, if there is any.
    #[inline]
    fn drop_over<E: Emit<G::Out>>(
        &mut self,
        place: usize,
        (left_end, right_end): (i64, i64),
        out: &mut E,
    ) -> Option<i64> {
        let (key, Pending { left, right }) = self.keys.table.at_mut(place);
        let result = &self.result;
        self.held -= left.drop_before(key, &mut self.lefts, left_end, |held| {
            if !held.matched {
                give(held.time, result.left_alone(key, &held.item), out);
            }
        });
        self.held -= right.drop_before(key, &mut self.rights, right_end, |held| {
            if !held.matched {
                give(held.time, result.right_alone(key, &held.item), out);
            }
        });
        let is_empty = left.is_empty() && right.is_empty();
        (!is_empty).then(|| Pending::due_of(left, right, self.bounds))
    }

    /// The input is complete: items whose interval reaches to the end of time, which are never due, are over as well.
    #[cold]
    fn end<E: Emit<G::Out>>(&mut self, out: &mut E) {
        let mut progress = Progress::default();
        for place in 0..self.keys.table.len() {
            progress.made_one();
            self.drop_over(place, (i64::MAX, i64::MAX), out);
        }
        self.keys = Keyed::new(self.bounds.queue_span());
        self.lefts = Pieces::default();
        self.rights = Pieces::default();
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

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let memory = StateMemory::of(wiring);
        self.keys.table.share(&memory.for_tables());
        self.lefts.share(&memory);
        self.rights.share(&memory);
        self.late.open(wiring)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.keys.table.settle()?;
        self.lefts.settle()?;
        self.rights.settle()?;
        self.late.flush(idle)
    }

    inner_sink!(late: begin is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join items", self.held));
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
