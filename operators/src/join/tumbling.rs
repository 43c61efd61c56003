//! Join of tumbling windows: all that one key has on both sides in one window.
//!
//! Given out when the watermark passes the window's end by the allowed lateness: once, and complete. State: the items
//! of windows that are not over, gone when they are. An item is late if its window's end plus the allowed lateness is
//! not after its source's watermark.
//! Cost: per item one lookup and a push, without an allocation for the first of a key and side; per window the walk
//! over its table, whose memory the next window takes.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Side, Wiring, inner_sink};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::group::{GroupResult, Items};
use super::held_back;
use crate::progress::Progress;
use crate::table::StateMemory;
use crate::window::{Revision, Shape, Slices, Span, TimeDomain, Tumbling, Windowed, by_span};
use crate::{Key, Savable};

/// Its kinds of state in checkpoints.
const KIND: &str = "tumbling join";
const OPEN: &str = "open windows of a join";

/// What is saved beside the windows.
#[derive(Serialize, Deserialize)]
struct Saved {
    shape: Shape,
    watermark: i64,
    now: Timestamp,
}

/// Both sides' items of one key and window.
#[derive(Serialize, Deserialize)]
struct Sides<L, R> {
    left: SmallVec<[L; 1]>,
    right: SmallVec<[R; 1]>,
}

impl<L, R> Default for Sides<L, R> {
    fn default() -> Self {
        Self {
            left: SmallVec::new(),
            right: SmallVec::new(),
        }
    }
}

/// Joins both sides' items of each key and window.
pub struct TumblingJoin<K, L, R, FL, FR, G, S> {
    window: Tumbling,
    span: Span,
    left_key: FL,
    right_key: FR,
    result: G,
    late: S,
    open: Slices<K, Sides<L, R>>,
    watermark: i64,
    late_before: i64,
    now: Timestamp,
    items: PhantomData<fn(L, R)>,
}

impl<K, L, R, FL, FR, G, S> TumblingJoin<K, L, R, FL, FR, G, S>
where
    K: Hash + Eq,
    FL: Fn(&L) -> K,
    FR: Fn(&R) -> K,
    G: GroupResult<K, L, R>,
    S: Operator<Side<L, R>, Out = Infallible>,
{
    /// Joins by the keys that `left_key` and `right_key` give; late items go to `late`.
    pub fn new(window: Tumbling, left_key: FL, right_key: FR, result: G, late: S) -> Self {
        let span = window.span;
        Self {
            window,
            span,
            left_key,
            right_key,
            result,
            late,
            open: Slices::new(span.size, span.offset),
            watermark: i64::MIN,
            late_before: i64::MIN,
            now: Timestamp::MIN,
            items: PhantomData,
        }
    }

    #[inline(always)]
    fn add(&mut self, item: Side<L, R>) {
        let table = self.open.current();
        match item {
            Side::Left(item) => {
                let key = (self.left_key)(&item);
                table
                    .get_or_insert_with(key, Sides::default)
                    .left
                    .push(item);
            }
            Side::Right(item) => {
                let key = (self.right_key)(&item);
                table
                    .get_or_insert_with(key, Sides::default)
                    .right
                    .push(item);
            }
        }
    }

    #[cold]
    fn add_elsewhere(&mut self, time: Timestamp, item: Side<L, R>) {
        let number = self.span.slice_of(self.span.size, time);
        let over = self.open.end_of(number).saturating_add(self.span.lateness);
        if over <= self.late_before.max(self.watermark) {
            self.late.item(time, item, &mut Discard);
            return;
        }
        self.open.select(time);
        self.add(item);
    }

    fn fire<E: Emit<Windowed<K, G::Out>>>(&mut self, until: i64, out: &mut E)
    where
        K: Clone,
    {
        let lateness = self.span.lateness;
        let mut progress = Progress::default();
        while (self.open.first_end()).is_some_and(|end| end.saturating_add(lateness) <= until) {
            let Some(mut slice) = self.open.pop() else {
                break;
            };
            let window = self.span.window_ending(self.open.end_of(slice.number));
            for (key, sides) in slice.table.drain() {
                progress.made_one();
                let (left, right) = (Items::plain(&sides.left), Items::plain(&sides.right));
                self.result.group(&key, window, left, right, |value| {
                    let result = Windowed {
                        key: key.clone(),
                        window,
                        value,
                        revision: Revision::OnTime,
                    };
                    out.emit(window.last(), result);
                });
            }
            self.open.recycle(slice.table);
        }
    }
}

impl<K, L, R, FL, FR, G, S> Operator<Side<L, R>> for TumblingJoin<K, L, R, FL, FR, G, S>
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

    #[inline(always)]
    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: Side<L, R>, _out: &mut E) {
        let time = match self.span.domain {
            TimeDomain::Event => time,
            TimeDomain::Processing => self.now,
        };
        if self.open.is_current(time) && time.0 >= self.late_before {
            self.add(item);
        } else {
            self.add_elsewhere(time, item);
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
                .open
                .first_end()
                .map(|end| Timestamp(end.saturating_add(lateness))),
        }
    }

    by_span!();
    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.open.share(StateMemory::of(wiring));
        self.late.open(wiring)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.open.settle()?;
        self.late.flush(idle)
    }

    inner_sink!(late: is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    /// Counts keys, not items: one entry per key and open window.
    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("join window keys", self.open.len()));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let saved = Saved {
            shape: self.span.shape(),
            watermark: self.watermark,
            now: self.now,
        };
        saving.whole(KIND, &saved)?;
        self.open.save(OPEN, saving)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        for saved in restoring.whole::<Saved>(KIND)? {
            saved.shape.check(KIND, self.span.shape(), restoring)?;
            self.watermark = self.watermark.max(saved.watermark);
            self.now = self.now.max(saved.now);
            restoring.goes_on_from(saved.now);
        }
        self.open.restore(OPEN, restoring)?;
        self.late.restore(restoring)
    }
}

impl<K, L, R, FL, FR, G, S> Clone for TumblingJoin<K, L, R, FL, FR, G, S>
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

impl<K, L, R, FL, FR, G, S> fmt::Debug for TumblingJoin<K, L, R, FL, FR, G, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TumblingJoin")
            .field("window", &self.window)
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}
