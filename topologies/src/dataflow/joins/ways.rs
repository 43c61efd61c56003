//! The ways to join two streams, and what each can be asked for.

use std::convert::Infallible;

use millstream_engine::flow::{Operator, Side};
use millstream_operators::join::{
    AsOf, AsOfJoin, Bounds, GroupResult, IntervalJoin, JoinResult, Latest, LatestJoin, SlidingJoin,
    TumblingJoin, UnboundedJoin, UniqueJoin,
};
use millstream_operators::window::{Sliding, Timed, Tumbling};
use millstream_operators::{Key, Savable};

use crate::dataflow::site::Note;

/// A way to join two streams.
pub trait JoinOf<K, L, R, FL, FR, G, S>: Sized {
    /// The operator.
    type Join: Operator<Side<L, R>> + Clone;
    /// What the stage is called unless it is named.
    const STAGE: &'static str;

    /// What decides what meets, and when.
    fn meeting(&self) -> Meeting;

    /// Makes it.
    fn operator(self, left_key: FL, right_key: FR, result: G, late: S) -> Self::Join;
}

/// What decides what meets in a join, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meeting {
    /// Times: a pair is given out as soon as its second item is there, the others when the watermark has passed.
    Pairs,
    /// Times, and the watermark says when.
    AtWatermark,
    /// The same, but items that are late meet what is there when they come.
    AtWatermarkOrLater,
    /// The engine's clock says what and when.
    ByTheClock,
    /// Everything meets in the end, in the order of arrival.
    InTheEnd,
    /// The order of arrival.
    AtTheMoment,
    /// The same, and the watermark says what is forgotten.
    AtTheMomentUntilForgotten,
}

impl Meeting {
    fn in_windows(window: &impl Timed) -> Self {
        if window.timing().by_clock {
            Self::ByTheClock
        } else {
            Self::AtWatermark
        }
    }

    pub(super) fn notes(self, place: &str) -> Vec<Note> {
        let in_time = |orders| Note::in_time(place, true, orders);
        let order = || Note::order(place, "pairs come in the order in which its two sides do");
        let moment = || {
            let reason = "what its two sides bring at about the same time meets in any order";
            Note::content(place, reason)
        };
        let late = || Note::content(place, "what late items meet depends on when they are read");
        match self {
            Self::Pairs => vec![in_time(false), order()],
            Self::AtWatermark => vec![in_time(true)],
            Self::AtWatermarkOrLater => vec![in_time(true), late()],
            Self::ByTheClock => vec![Note::in_time(place, false, false), Note::by_clock(place)],
            Self::InTheEnd => vec![order()],
            Self::AtTheMoment => vec![moment()],
            Self::AtTheMomentUntilForgotten => vec![Note::forgetting(place), moment()],
        }
    }
}

/// Ways to join that can give out what met none on either side.
pub trait JoinBothSides {}

/// Ways to join in which items can be late.
pub trait JoinInTime {}

/// Holds both sides for ever; see [`KeyedStream::join_unbounded`](crate::dataflow::KeyedStream::join_unbounded).
#[derive(Debug, Clone, Copy)]
pub struct Unbounded;

/// Holds both sides for ever, the right one with one item per key; see [`Joining::unique_right`](super::Joining::unique_right).
#[derive(Debug, Clone, Copy)]
pub struct UniqueRight;

/// A way to join, and what its left items must be: `Savable` if it keeps them.
macro_rules! join_of {
    ($how:ty, $left:ident, $stage:literal, $result:ident, $join:ty, $meeting:expr, |$self:ident, $fl:ident, $fr:ident, $g:ident, $s:ident| $make:expr) => {
        impl<K, L, R, FL, FR, G, S> JoinOf<K, L, R, FL, FR, G, S> for $how
        where
            K: Key,
            L: $left + 'static,
            R: Savable,
            FL: Fn(&L) -> K + Clone + Send + 'static,
            FR: Fn(&R) -> K + Clone + Send + 'static,
            G: $result<K, L, R>,
            S: Operator<Side<L, R>, Out = Infallible> + Clone,
        {
            type Join = $join;
            const STAGE: &'static str = $stage;

            fn meeting(&self) -> Meeting {
                let meeting: fn(&Self) -> Meeting = $meeting;
                meeting(self)
            }

            fn operator($self, $fl: FL, $fr: FR, $g: G, $s: S) -> Self::Join {
                $make
            }
        }
    };
}

join_of!(Bounds, Savable, "interval-join", JoinResult, IntervalJoin<K, L, R, FL, FR, G, S>, |_| Meeting::Pairs,
    |self, left, right, result, late| IntervalJoin::new(self, left, right, result, late));
join_of!(Tumbling, Savable, "window-join", GroupResult, TumblingJoin<K, L, R, FL, FR, G, S>,
    |window| Meeting::in_windows(window),
    |self, left, right, result, late| TumblingJoin::new(self, left, right, result, late));
join_of!(Sliding, Savable, "window-join", GroupResult, SlidingJoin<K, L, R, FL, FR, G, S>,
    |window| Meeting::in_windows(window),
    |self, left, right, result, late| SlidingJoin::new(self, left, right, result, late));
join_of!(AsOf<R>, Savable, "as-of-join", JoinResult, AsOfJoin<K, L, R, FL, FR, G, S>,
    |as_of| if as_of.allows_late() { Meeting::AtWatermarkOrLater } else { Meeting::AtWatermark },
    |self, left, right, result, late| AsOfJoin::new(self, left, right, result, late));
join_of!(Latest<R>, Send, "latest-join", JoinResult, LatestJoin<K, L, R, FL, FR, G>,
    |latest| if latest.forgets() { Meeting::AtTheMomentUntilForgotten } else { Meeting::AtTheMoment },
    |self, left, right, result, _late| LatestJoin::new(self, left, right, result));
join_of!(Unbounded, Savable, "join", JoinResult, UnboundedJoin<K, L, R, FL, FR, G>, |_| Meeting::InTheEnd,
    |self, left, right, result, _late| UnboundedJoin::new(left, right, result));
join_of!(UniqueRight, Savable, "join", JoinResult, UniqueJoin<K, L, R, FL, FR, G>, |_| Meeting::InTheEnd,
    |self, left, right, result, _late| UniqueJoin::new(left, right, result));

impl JoinBothSides for Bounds {}
impl JoinBothSides for Tumbling {}
impl JoinBothSides for Sliding {}

impl JoinInTime for Bounds {}
impl JoinInTime for Tumbling {}
impl JoinInTime for Sliding {}
impl<R> JoinInTime for AsOf<R> {}

/// Ways to join that can give out left items without a partner.
pub trait JoinLeft {}
impl JoinLeft for Bounds {}
impl JoinLeft for Tumbling {}
impl JoinLeft for Sliding {}
impl<R> JoinLeft for Latest<R> {}
impl<R> JoinLeft for AsOf<R> {}
