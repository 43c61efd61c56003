//! Join of sliding windows: all that one key has on both sides in one window, for each window.
//!
//! An item is held once, in the order of time, and a window is a part of what is held. Given out when the watermark
//! passes a window's end by the allowed lateness: once per window, and complete; two items that share several windows
//! meet in each. State: items whose last window is not over, gone when it is. An item counts for those windows whose
//! end plus the allowed lateness is after its source's watermark, and is late if there is none.
//! Cost: per item one lookup and a push; per window one visit of each key that has something in it; keys and windows
//! without items cost nothing. A checkpoint has the keys to which something came or of which something was dropped; of a
//! key with many items the newest and what was changed of the [others](super::pieces), all of which a window that is
//! given out has in memory.

mod saved;

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use super::pending::Pending;
use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Side, Wiring, inner_sink};
use millstream_engine::time::Timestamp;

use super::group::{GroupResult, Items};
use super::held_back;
use super::keyed::Keyed;
use super::pieces::Pieces;
use super::run::{Held, Run};
use crate::progress::Progress;
use crate::table::StateMemory;
use crate::window::{Revision, Sliding, Span, TimeDomain, Window, Windowed, by_span};
use crate::{Key, Savable};

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

/// End of the first window that is not over at `watermark`.
fn first_open(span: &Span, watermark: i64) -> i64 {
    span.next_end(watermark.saturating_sub(span.lateness))
}

/// Time of the first item of either side.
#[inline(always)]
fn first_time<L, R>(left: &Run<Held<L>>, right: &Run<Held<R>>) -> Option<i64> {
    let times = left.first_time().into_iter();
    times.chain(right.first_time()).min()
}

/// Joins both sides' items of each key and window.
pub struct SlidingJoin<K, L, R, FL, FR, G, S> {
    window: Sliding,
    span: Span,
    left_key: FL,
    right_key: FR,
    result: G,
    late: S,
    /// By key what it has, due at the end of its next window, and queued by that one's number: a bucket for each, so that
    /// nothing is sorted.
    keys: Keyed<K, Pending<L, R>>,
    /// Older items of keys that have many.
    lefts: Pieces<K, Held<L>>,
    rights: Pieces<K, Held<R>>,
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
            keys: Keyed::new(0),
            lefts: Pieces::default(),
            rights: Pieces::default(),
            held: 0,
            watermark: i64::MIN,
            late_before: i64::MIN,
            now: Timestamp::MIN,
            items: PhantomData,
        }
    }
}

/// Gives what comes of a window, unless nothing that is in it was in time.
#[inline(always)]
fn give<K: Key, L, R, G: GroupResult<K, L, R>, E: Emit<Windowed<K, G::Out>>>(
    result: &G,
    (key, window): (&K, Window),
    left: Items<'_, L>,
    right: Items<'_, R>,
    out: &mut E,
) {
    if left.clone().next().is_none() && right.clone().next().is_none() {
        return;
    }
    result.group(key, window, left, right, |value| {
        let result = Windowed {
            key: key.clone(),
            window,
            value,
            revision: Revision::OnTime,
        };
        out.emit(window.last(), result);
    });
}

/// Items of one side that lie in the entry, and in pieces.
type SideOf<'a, K, T> = (&'a Run<Held<T>>, &'a mut Pieces<K, Held<T>>);

/// The same of a key that has items in pieces.
#[inline(never)]
fn give_divided<K: Key, L, R, G: GroupResult<K, L, R>, E: Emit<Windowed<K, G::Out>>>(
    result: &G,
    (key, window, over): (&K, Window, i64),
    (left, lefts): SideOf<'_, K, L>,
    (right, rights): SideOf<'_, K, R>,
    out: &mut E,
) {
    let (from, to) = (window.start.0, window.last().0);
    let older = lefts.lend(key, left, from, to);
    let older_too = rights.lend(key, right, from, to);
    let left: Vec<_> = older
        .slices()
        .chain([left.here_between(from, to)])
        .collect();
    let right: Vec<_> = older_too
        .slices()
        .chain([right.here_between(from, to)])
        .collect();
    let (left, right) = (Items::divided(&left, over), Items::divided(&right, over));
    give(result, (key, window), left, right, out);
    lefts.give_back(older);
    rights.give_back(older_too);
}

impl<K, L, R, FL, FR, G, S> SlidingJoin<K, L, R, FL, FR, G, S>
where
    K: Key,
    FL: Fn(&L) -> K,
    FR: Fn(&R) -> K,
    G: GroupResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible>,
{
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
        let place = self.keys.find_or_insert(key);
        let (key, value) = self.keys.table.at_mut(place);
        self.held += 1;
        match item {
            Side::Left(item) => {
                let held = Held {
                    time,
                    limit,
                    matched,
                    item,
                };
                value.left.insert(key, &mut self.lefts, held);
            }
            Side::Right(item) => {
                let held = Held {
                    time,
                    limit,
                    matched,
                    item,
                };
                value.right.insert(key, &mut self.rights, held);
            }
        }
        if end < self.keys.due(place) {
            self.keys.set_due(place, end, number_of(&self.span, end));
        }
    }

    fn fire<E: Emit<Windowed<K, G::Out>>>(&mut self, until: i64, out: &mut E) {
        let span = self.span;
        let before = match until {
            i64::MAX => i64::MAX,
            until => number_of(&span, first_open(&span, until)),
        };
        let at = |end| number_of(&span, end);
        let mut progress = Progress::default();
        while let Some((place, end)) = self.keys.pop(before, at) {
            progress.made_one();
            let (key, Pending { left, right }) = self.keys.table.peek_mut(place);
            let window = span.window_ending(end);
            let over = end.saturating_add(span.lateness);
            if !left.is_divided() && !right.is_divided() {
                let (from, to) = (window.start.0, window.last().0);
                let left = Items::held(left.here_between(from, to), over);
                let right = Items::held(right.here_between(from, to), over);
                give(&self.result, (key, window), left, right, out);
            } else {
                let (left, right) = ((&*left, &mut self.lefts), (&*right, &mut self.rights));
                give_divided(&self.result, (key, window, over), left, right, out);
            }
            // At the end of time there is no further window.
            let next = end.saturating_add(span.slide);
            let is_last = end == i64::MAX;
            let first = if is_last {
                i64::MAX
            } else {
                next.saturating_sub(span.size)
            };
            let dropped = left.drop_before(key, &mut self.lefts, first, |_| {})
                + right.drop_before(key, &mut self.rights, first, |_| {});
            self.held -= dropped;
            let time = first_time(left, right);
            if dropped > 0 {
                self.keys.table.changed_at(place);
            }
            match time {
                Some(time) if !is_last => {
                    let next = span.next_end(time.max(end));
                    self.keys.set_due(place, next, at(next));
                }
                _ => self.keys.leave(place, Pending::is_empty, at),
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
                .keys
                .first()
                .map(|number| Timestamp(end_of(&self.span, number).saturating_add(lateness))),
        }
    }

    by_span!();
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

    inner_sink!(late: is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

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
