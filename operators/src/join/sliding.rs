//! Join of sliding windows: all that one key has on both sides in one window, for each window.
//!
//! An item is held once, in the order of time, and a window is a part of what is held. Given out when the watermark
//! passes a window's end by the allowed lateness: once per window, and complete; two items that share several windows
//! meet in each. State: items whose last window is not over, gone when it is. An item counts for those windows whose
//! end plus the allowed lateness is after its source's watermark, and is late if there is none.
//! Cost: per item one lookup and a push; per window one visit of each key that has something in it; keys and windows
//! without items cost nothing.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Side, inner_sink};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::due::DueQueue;
use super::group::{GroupResult, Items};
use super::held_back;
use super::keyed::{Keyed, Slot, SlotId};
use super::run::{Held, Run};
use crate::window::{Revision, Shape, Sliding, Span, TimeDomain, Windowed, by_span};
use crate::{Key, Savable};

/// Its kind of state in checkpoints.
const KIND: &str = "sliding join";

/// What is saved, of keys that are lent or owned.
#[derive(Serialize, Deserialize)]
struct Saved<S> {
    shape: Shape,
    keys: Vec<S>,
    watermark: i64,
    now: Timestamp,
}

/// What is held of one key.
#[derive(Serialize, Deserialize)]
struct Pending<L, R> {
    left: Run<L>,
    right: Run<R>,
    /// End of its next window, for which the queue has it.
    end: i64,
}

impl<L, R> Default for Pending<L, R> {
    fn default() -> Self {
        Self {
            left: Run::default(),
            right: Run::default(),
            end: i64::MAX,
        }
    }
}

/// The windows in the order of time.
fn number_of(span: &Span, end: i64) -> i64 {
    let start = end.saturating_sub(span.size);
    start.saturating_sub(span.offset).div_euclid(span.slide)
}

fn end_of(span: &Span, number: i64) -> i64 {
    let start = number
        .saturating_mul(span.slide)
        .saturating_add(span.offset);
    start.saturating_add(span.size)
}

/// Joins both sides' items of each key and window.
pub struct SlidingJoin<K, L, R, FL, FR, G, S> {
    window: Sliding,
    span: Span,
    left_key: FL,
    right_key: FR,
    result: G,
    late: S,
    keys: Keyed<K, Pending<L, R>>,
    /// Keys by the number of their next window: one bucket for each, so that nothing is sorted.
    queue: DueQueue<SlotId>,
    held: usize,
    watermark: i64,
    late_before: i64,
    now: Timestamp,
    items: PhantomData<fn(L, R)>,
}

impl<K, L, R, FL, FR, G, S> SlidingJoin<K, L, R, FL, FR, G, S>
where
    K: Hash + Eq,
    FL: Fn(&L) -> K,
    FR: Fn(&R) -> K,
    G: GroupResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible>,
{
    /// Joins by the keys that `left_key` and `right_key` give; late items go to `late`.
    pub fn new(window: Sliding, left_key: FL, right_key: FR, result: G, late: S) -> Self {
        let span = window.span;
        Self {
            window,
            span,
            left_key,
            right_key,
            result,
            late,
            keys: Keyed::default(),
            queue: DueQueue::new(0),
            held: 0,
            watermark: i64::MIN,
            late_before: i64::MIN,
            now: Timestamp::MIN,
            items: PhantomData,
        }
    }

    /// End of the first window with `time` in it for which an item with that limit is not late; `None` if there is
    /// none.
    #[inline]
    fn first_end(&self, time: i64, limit: i64) -> Option<i64> {
        let over = limit.saturating_sub(self.span.lateness);
        let end = self.span.next_end(time.max(over));
        (end.saturating_sub(self.span.size) <= time && time < end).then_some(end)
    }

    fn take(&mut self, time: Timestamp, item: Side<L, R>) {
        let limit = self.late_before.max(self.watermark);
        let Some(end) = self.first_end(time.0, limit) else {
            // A time between windows that are shorter than their distance is in none, and not late either.
            if self.span.last_end(time).is_some() || !self.span.has_gaps() {
                self.late.item(time, item, &mut Discard);
            }
            return;
        };
        let (time, matched) = (time.0, false);
        let key = match &item {
            Side::Left(item) => (self.left_key)(item),
            Side::Right(item) => (self.right_key)(item),
        };
        let id = self.keys.find_or_insert(key);
        let Some(Slot { value, .. }) = self.keys.get_mut(id) else {
            return;
        };
        self.held += 1;
        match item {
            Side::Left(item) => value.left.insert(Held {
                time,
                limit,
                matched,
                item,
            }),
            Side::Right(item) => value.right.insert(Held {
                time,
                limit,
                matched,
                item,
            }),
        }
        if end < value.end {
            value.end = end;
            self.queue.push(number_of(&self.span, end), id);
        }
    }

    fn fire<E: Emit<Windowed<K, G::Out>>>(&mut self, until: i64, out: &mut E)
    where
        K: Clone,
    {
        let before = match until {
            i64::MAX => i64::MAX,
            until => {
                let first = self.span.next_end(until.saturating_sub(self.span.lateness));
                number_of(&self.span, first)
            }
        };
        while let Some((number, id)) = self.queue.pop(before) {
            let Some(Slot { key, value }) = self.keys.get_mut(id) else {
                continue;
            };
            let end = value.end;
            if number_of(&self.span, end) != number {
                continue; // It was queued anew for an earlier window, or is another key's by now.
            }
            let window = self.span.window_ending(end);
            let (from, to) = (window.start.0, window.last().0);
            let over = end.saturating_add(self.span.lateness);
            let left = Items::held(value.left.between(from, to), over);
            let right = Items::held(value.right.between(from, to), over);
            if left.clone().next().is_some() || right.clone().next().is_some() {
                self.result.group(key, window, left, right, |value| {
                    let result = Windowed {
                        key: key.clone(),
                        window,
                        value,
                        revision: Revision::OnTime,
                    };
                    out.emit(window.last(), result);
                });
            }
            let next = end.saturating_add(self.span.slide);
            let first = next.saturating_sub(self.span.size);
            self.held -= value.left.drop_before(first) + value.right.drop_before(first);
            let times = value.left.first_time().into_iter();
            match times.chain(value.right.first_time()).min() {
                Some(time) if end < i64::MAX => {
                    value.end = self.span.next_end(time.max(end));
                    self.queue.push(number_of(&self.span, value.end), id);
                }
                _ => {
                    // At the end of time there is no further window.
                    let rest = i64::MAX;
                    self.held -= value.left.drop_before(rest) + value.right.drop_before(rest);
                    self.keys.remove(id);
                }
            }
        }
    }
}

impl<K, L, R, FL, FR, G, S> Operator<Side<L, R>> for SlidingJoin<K, L, R, FL, FR, G, S>
where
    K: Key,
    L: Savable,
    R: Savable,
    FL: Fn(&L) -> K + Send + 'static,
    FR: Fn(&R) -> K + Send + 'static,
    G: GroupResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible>,
{
    type Out = Windowed<K, G::Out>;

    #[inline]
    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: Side<L, R>, _out: &mut E) {
        match self.span.domain {
            TimeDomain::Event => self.take(time, item),
            TimeDomain::Processing => self.take(self.now, item),
        }
    }

    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        held_back(watermark, self.span.lateness)
    }

    fn next_due(&self) -> Option<Timestamp> {
        let lateness = self.span.lateness;
        match self.span.domain {
            TimeDomain::Event => None,
            TimeDomain::Processing => self
                .queue
                .first()
                .map(|number| Timestamp(end_of(&self.span, number).saturating_add(lateness))),
        }
    }

    by_span!();
    inner_sink!(late: open flush is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join items", self.held));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let span = self.span;
        let due = |pending: &Pending<L, R>| number_of(&span, pending.end);
        let saved = Saved {
            shape: self.span.shape(),
            keys: self.keys.in_order(&self.queue, due),
            watermark: self.watermark,
            now: self.now,
        };
        saving.whole(KIND, &saved)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        type Stored<K, L, R> = Saved<Slot<K, Pending<L, R>>>;
        for saved in restoring.whole::<Stored<K, L, R>>(KIND)? {
            saved.shape.check(KIND, self.span.shape(), restoring)?;
            for Slot { key, value } in saved.keys {
                if restoring.owns(&key) {
                    self.held += value.left.len() + value.right.len();
                    let number = number_of(&self.span, value.end);
                    let id = self.keys.insert(key, value);
                    self.queue.push(number, id);
                }
            }
            self.watermark = self.watermark.max(saved.watermark);
            self.now = self.now.max(saved.now);
        }
        self.late.restore(restoring)
    }
}

impl<K, L, R, FL, FR, G, S> Clone for SlidingJoin<K, L, R, FL, FR, G, S>
where
    K: Hash + Eq,
    FL: Fn(&L) -> K + Clone,
    FR: Fn(&R) -> K + Clone,
    G: GroupResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible> + Clone,
{
    /// The same join with nothing in it.
    fn clone(&self) -> Self {
        Self::new(
            self.window,
            self.left_key.clone(),
            self.right_key.clone(),
            self.result.clone(),
            self.late.clone(),
        )
    }
}

impl<K, L, R, FL, FR, G, S> fmt::Debug for SlidingJoin<K, L, R, FL, FR, G, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlidingJoin")
            .field("window", &self.window)
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}
