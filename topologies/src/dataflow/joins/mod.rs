//! Joins of keyed streams: what meets whom is chosen first, then what is made of it.
//!
//! Each join ends in `inner`, `left` or `full` with a closure, `|key, left, right|`: in a left join the right item is
//! an `Option`, in a full join both are. Both streams need as many partitions, so that equal keys meet; a foreign key
//! join exchanges by itself and does not.

mod tables;
mod ways;

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use millstream_engine::flow::{ByKey, Forward, Identity, Operator, Outlet, Side, Then};
use millstream_operators::join::{
    AsOf, Bounds, CoGroup, FullOuter, Inner, Items, Latest, LeftOuter,
};
use millstream_operators::sink::LateLetters;
use millstream_operators::window::{CountLate, Window};
use serde::Serialize;

use super::check::DataflowFault;
use super::flow::SideOutput;
use super::keyed::KeyedStream;
use super::origin::{Origin, PairOrigin};
use super::site::{LateWay, Site};
use super::stream::Stream;
use super::windowed::place;

pub use tables::{ForeignJoinedStream, ForeignJoining, JoinedTables, TableJoining};
pub use ways::{JoinBothSides, JoinInTime, JoinLeft, JoinOf, Meeting, Unbounded, UniqueRight};

/// What a join gives: a stream that begins with both sides.
pub type JoinedStream<L, R, J> = Stream<PairOrigin<L, R>, Then<Identity, J>>;

/// Two keyed streams that are to be joined as `J` says.
#[must_use = "a join does nothing before `inner`, `left` or `full`"]
pub struct Joining<A, B, J, S = CountLate> {
    left: A,
    right: B,
    how: J,
    late: S,
    late_way: LateWay,
}

/// Two streams whose join still lacks its bounds or its window.
#[derive(Debug, Clone, Copy)]
pub struct Undecided;

impl<A, B, J> Joining<A, B, J> {
    const fn new(left: A, right: B, how: J) -> Self {
        Self {
            left,
            right,
            how,
            late: CountLate::new(),
            late_way: LateWay::Counted,
        }
    }
}

impl<A, B, J, S> Joining<A, B, J, S> {
    fn with_how<J2>(self, how: impl FnOnce(J) -> J2) -> Joining<A, B, J2, S> {
        Joining {
            left: self.left,
            right: self.right,
            how: how(self.how),
            late: self.late,
            late_way: self.late_way,
        }
    }
}

/// The first half of an interval join.
#[must_use = "a join does nothing before `between`"]
pub struct IntervalJoining<A, B>(Joining<A, B, Undecided>);

impl<A, B> IntervalJoining<A, B> {
    /// A right item may be up to `before` earlier and up to `after` later than the left one, both inclusive.
    pub fn between(self, before: Duration, after: Duration) -> Joining<A, B, Bounds> {
        self.0.with_how(|_| Bounds::between(before, after))
    }
}

/// The first half of a join of windows.
#[must_use = "a join does nothing before `window`"]
pub struct WindowJoining<A, B>(Joining<A, B, Undecided>);

impl<A, B> WindowJoining<A, B> {
    /// Items meet in windows such as [`Tumbling`](millstream_operators::window::Tumbling) or
    /// [`Sliding`](millstream_operators::window::Sliding). A window is given out once: with an allowed lateness,
    /// when that is over.
    pub fn window<W: JoinInTime>(self, window: W) -> Joining<A, B, W> {
        self.0.with_how(|_| window)
    }
}

impl<P, O, K, F> KeyedStream<P, O, F>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Send + 'static,
    K: Hash + Eq,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
{
    /// Pairs items of one key that lie close together in time; say how close with
    /// [`between`](IntervalJoining::between).
    ///
    /// ```
    /// use std::time::Duration;
    /// use millstream::dataflow::{Dataflow, Driver, Feed};
    /// use millstream_engine::time::Timestamp;
    ///
    /// let (orders, payments) = (Feed::new(1), Feed::new(1));
    /// let (flow, paid) = Dataflow::declare("paid", |flow| {
    ///     let orders = flow.source("orders", orders.clone()).stream();
    ///     let payments = flow.source("payments", payments.clone()).stream();
    ///     orders
    ///         .key_by(|&(order, _): &(u32, String)| order)
    ///         .interval_join(payments.key_by(|&(order, _): &(u32, u64)| order))
    ///         .between(Duration::ZERO, Duration::from_secs(3600))
    ///         .left(|_, (_, what), payment| (what.clone(), payment.map(|(_, amount)| *amount)))
    ///         .collect()
    /// })?;
    /// let mut driver = Driver::new(flow)?;
    /// orders.push(0, Timestamp::from_seconds(0), (1, "shoes".to_owned()));
    /// orders.push(0, Timestamp::from_seconds(1), (2, "socks".to_owned()));
    /// payments.push(0, Timestamp::from_seconds(60), (1, 80));
    /// orders.end_all();
    /// payments.end_all();
    /// driver.run()?;
    /// let mut paid = paid.take_items();
    /// paid.sort();
    /// assert_eq!(paid, [("shoes".to_owned(), Some(80)), ("socks".to_owned(), None)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn interval_join<P2, O2, F2>(
        self,
        right: KeyedStream<P2, O2, F2>,
    ) -> IntervalJoining<Self, KeyedStream<P2, O2, F2>> {
        IntervalJoining(Joining::new(self, right, Undecided))
    }

    /// Pairs items of one key that are in one window; say which with [`window`](WindowJoining::window).
    pub const fn join<P2, O2, F2>(
        self,
        right: KeyedStream<P2, O2, F2>,
    ) -> WindowJoining<Self, KeyedStream<P2, O2, F2>> {
        WindowJoining(Joining::new(self, right, Undecided))
    }

    /// Each item meets the latest one of `table` with its key at the moment it comes: fast, and dependent on how the
    /// two streams are interleaved.
    pub fn join_latest<P2, O2, F2>(
        self,
        table: KeyedStream<P2, O2, F2>,
    ) -> Joining<Self, KeyedStream<P2, O2, F2>, Latest<O2::Out>>
    where
        P2: Origin,
        O2: Operator<P2::Item>,
    {
        Joining::new(self, table, Latest::new())
    }

    /// Each item meets the one of `table` with its key that was valid at its event time: it waits for the watermark.
    pub fn join_as_of<P2, O2, F2>(
        self,
        table: KeyedStream<P2, O2, F2>,
    ) -> Joining<Self, KeyedStream<P2, O2, F2>, AsOf<O2::Out>>
    where
        P2: Origin,
        O2: Operator<P2::Item>,
    {
        Joining::new(self, table, AsOf::new())
    }

    /// Pairs all items of one key, whenever they come. Holds both sides for ever.
    pub const fn join_unbounded<P2, O2, F2>(
        self,
        right: KeyedStream<P2, O2, F2>,
    ) -> Joining<Self, KeyedStream<P2, O2, F2>, Unbounded> {
        Joining::new(self, right, Unbounded)
    }
}

impl<A, B> Joining<A, B, Unbounded> {
    /// The right side has one item per key: left items are held only until theirs comes.
    pub fn unique_right(self) -> Joining<A, B, UniqueRight> {
        self.with_how(|_| UniqueRight)
    }

    /// Only items whose times differ by at most this meet, so that state is bounded: the same as an interval join with
    /// this much on both sides.
    pub fn time_to_live(self, time_to_live: Duration) -> Joining<A, B, Bounds> {
        self.with_how(|_| Bounds::between(time_to_live, time_to_live))
    }
}

impl<A, B, R> Joining<A, B, Latest<R>> {
    /// Forgets a value when the watermark has passed its time by more than this. Default: never.
    pub fn time_to_live(self, time_to_live: Duration) -> Self {
        self.with_how(|latest| latest.time_to_live(time_to_live))
    }

    /// Right items for which `deletes` holds remove the value of their key. Default: none does.
    pub fn deleted_by(self, deletes: fn(&R) -> bool) -> Self {
        self.with_how(|latest| latest.deleted_by(deletes))
    }
}

impl<A, B, R, S> Joining<A, B, AsOf<R>, S> {
    /// Left items, and right ones if there are deletions, may come this long (in event time) after the watermark. Holds
    /// values longer. Default: none.
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        self.with_how(|as_of| as_of.allowed_lateness(lateness))
    }

    /// From right items for which `deletes` holds on, their key has no value. Default: none does. With it, right items
    /// that are behind their source's watermark by more than the allowed lateness are late; without, they are taken.
    pub fn deleted_by(self, deletes: fn(&R) -> bool) -> Self {
        self.with_how(|as_of| as_of.deleted_by(deletes))
    }
}

impl<P, O, F, P2, O2, F2, J, S> Joining<KeyedStream<P, O, F>, KeyedStream<P2, O2, F2>, J, S> {
    /// Names the state; needed once a dataflow has more than one operator with state.
    pub fn named(mut self, name: &str) -> Self {
        self.left.state = Some(name.to_owned());
        self
    }
}

impl<P, O, K, F, P2, O2, F2, J, S> Joining<KeyedStream<P, O, F>, KeyedStream<P2, O2, F2>, J, S>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Send + 'static,
    K: Hash + Eq + Send + 'static,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
    P2: Origin,
    O2: Operator<P2::Item> + Clone,
    O2::Out: Send + 'static,
    F2: Fn(&O2::Out) -> K + Clone + Send + 'static,
{
    /// Sends items that are late to a side output. Default: they are counted in the metrics.
    #[expect(
        clippy::type_complexity,
        reason = "the operators so far are in the type"
    )]
    pub fn late_to(
        self,
        side: &SideOutput<Side<O::Out, O2::Out>>,
    ) -> Joining<
        KeyedStream<P, O, F>,
        KeyedStream<P2, O2, F2>,
        J,
        Outlet<Side<O::Out, O2::Out>, Forward>,
    >
    where
        J: JoinInTime,
    {
        Joining {
            late: side.outlet_of(self.left.partitions),
            left: self.left,
            right: self.right,
            how: self.how,
            late_way: LateWay::Side(side.id),
        }
    }

    /// Keeps items that are late as dead letters, as
    /// [`WindowedStream::late_to_dead_letters`](super::WindowedStream::late_to_dead_letters) does.
    #[expect(
        clippy::type_complexity,
        reason = "the operators so far are in the type"
    )]
    pub fn late_to_dead_letters(
        self,
    ) -> Joining<KeyedStream<P, O, F>, KeyedStream<P2, O2, F2>, J, LateLetters<Side<O::Out, O2::Out>>>
    where
        J: JoinInTime,
        O::Out: Serialize,
        O2::Out: Serialize,
    {
        self.left.stream.flow.draft.borrow_mut().has_letters = true;
        Joining {
            left: self.left,
            right: self.right,
            how: self.how,
            late: LateLetters::new(),
            late_way: LateWay::Letters,
        }
    }

    /// Gives `function(key, left, right)` for each pair.
    pub fn inner<U, G>(self, function: G) -> JoinedStream<O::Out, O2::Out, J::Join>
    where
        G: Fn(&K, &O::Out, &O2::Out) -> U + Clone + Send + 'static,
        J: JoinOf<K, O::Out, O2::Out, F, F2, Inner<G>, S>,
    {
        self.with(Inner(function))
    }

    /// Gives `function(key, left, Some(right))` for each pair, and `function(key, left, None)` for left items without a
    /// partner.
    pub fn left<U, G>(self, function: G) -> JoinedStream<O::Out, O2::Out, J::Join>
    where
        G: Fn(&K, &O::Out, Option<&O2::Out>) -> U + Clone + Send + 'static,
        J: JoinOf<K, O::Out, O2::Out, F, F2, LeftOuter<G>, S> + JoinLeft,
    {
        self.with(LeftOuter(function))
    }

    /// Gives `function(key, left, right)` for each pair, and with one `None` for items of either side without a
    /// partner.
    pub fn full<U, G>(self, function: G) -> JoinedStream<O::Out, O2::Out, J::Join>
    where
        G: Fn(&K, Option<&O::Out>, Option<&O2::Out>) -> U + Clone + Send + 'static,
        J: JoinOf<K, O::Out, O2::Out, F, F2, FullOuter<G>, S> + JoinBothSides,
    {
        self.with(FullOuter(function))
    }

    /// Gives `function(key, window, lefts, rights)` once per key and window that has items of either side.
    pub fn apply<U, G>(self, function: G) -> JoinedStream<O::Out, O2::Out, J::Join>
    where
        G: Fn(&K, Window, Items<'_, O::Out>, Items<'_, O2::Out>) -> U + Clone + Send + 'static,
        J: JoinOf<K, O::Out, O2::Out, F, F2, CoGroup<G>, S>,
    {
        self.with(CoGroup(function))
    }

    fn with<G>(self, result: G) -> JoinedStream<O::Out, O2::Out, J::Join>
    where
        J: JoinOf<K, O::Out, O2::Out, F, F2, G, S>,
    {
        let place = place("a join", self.left.state.as_deref());
        let notes = self.how.meeting().notes(&place);
        let (left_key, right_key) = (self.left.key.clone(), self.right.key.clone());
        let operator = self.how.operator(left_key, right_key, result, self.late);
        let mut stream = meet(self.left, self.right, J::STAGE, operator);
        stream.site.leads_late(self.late_way);
        stream.site.notes.extend(notes);
        stream
    }
}

/// Closes both stages with exchanges by key and begins one that joins them.
fn meet<P, O, K, F, P2, O2, F2, J>(
    left: KeyedStream<P, O, F>,
    right: KeyedStream<P2, O2, F2>,
    stage: &str,
    operator: J,
) -> JoinedStream<O::Out, O2::Out, J>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Send + 'static,
    K: Hash + Eq,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
    P2: Origin,
    O2: Operator<P2::Item> + Clone,
    O2::Out: Send + 'static,
    F2: Fn(&O2::Out) -> K + Clone + Send + 'static,
    J: Operator<Side<O::Out, O2::Out>> + Clone,
{
    let (flow, partitions, name) = (left.stream.flow.clone(), left.partitions, left.state);
    if partitions != right.partitions {
        flow.fault(DataflowFault::JoinPartitions {
            stage: name.clone().unwrap_or_else(|| stage.to_owned()),
            left: partitions,
            right: right.partitions,
        });
    }
    let (left_input, left_edge) = left.stream.send(stage, ByKey::new(left.key));
    let (right_input, right_edge) = right.stream.send(stage, ByKey::new(right.key));
    let site = Site::new(stage, partitions, vec![left_input, right_input]);
    let origin = PairOrigin::new(vec![left_edge], vec![right_edge]);
    Stream::new(flow, origin, Identity, site)
        .then(operator)
        .with_state("a join", name)
}

impl<A, B, J, S> fmt::Debug for Joining<A, B, J, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining").finish_non_exhaustive()
    }
}

impl<A, B> fmt::Debug for IntervalJoining<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntervalJoining").finish_non_exhaustive()
    }
}

impl<A, B> fmt::Debug for WindowJoining<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowJoining").finish_non_exhaustive()
    }
}
