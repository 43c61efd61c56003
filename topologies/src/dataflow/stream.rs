//! Streams: operators put together by type until an exchange or a sink closes the stage.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use millstream_engine::flow::{Forward, Identity, Operator, Outlet, Rebalance, Route, Then};
use millstream_engine::time::Timestamp;
use millstream_operators::stateless::{Filter, FilterMap, FlatMap, Inspect, Map, MapTimed};

use super::flow::{EdgeBound, Flow, then};
use super::keyed::KeyedStream;
use super::origin::{InletOrigin, Origin};
use super::site::{Note, Site, StateNote};

/// A stream of items with event times, on its way through a stage.
///
/// `P` is what the stage begins with, `O` the operators so far. Nothing happens unless it ends in a sink.
#[must_use = "a stream does nothing unless it ends in a sink"]
pub struct Stream<P, O> {
    pub(super) flow: Flow,
    pub(super) origin: P,
    pub(super) operator: O,
    pub(super) site: Site,
}

impl<P: Origin, O: Operator<P::Item> + Clone> Stream<P, O> {
    pub(super) const fn new(flow: Flow, origin: P, operator: O, site: Site) -> Self {
        Self {
            flow,
            origin,
            operator,
            site,
        }
    }

    /// Puts an operator of one's own into the stage.
    pub fn then<B: Operator<O::Out> + Clone>(self, operator: B) -> Stream<P, Then<O, B>> {
        Stream {
            flow: self.flow,
            origin: self.origin,
            operator: then(self.operator, operator),
            site: self.site,
        }
    }

    /// Names the stage that this is part of, for metrics and errors. Default: what it begins with.
    pub fn stage_named(mut self, name: &str) -> Self {
        self.site.name = Some(name.to_owned());
        self
    }

    /// What `function` makes of each item.
    pub fn map<U, F>(self, function: F) -> Stream<P, Then<O, Map<F>>>
    where
        F: Fn(O::Out) -> U + Clone + Send + 'static,
    {
        self.then(Map::new(function))
    }

    /// The same with the item's event time.
    pub fn map_timed<U, F>(self, function: F) -> Stream<P, Then<O, MapTimed<F>>>
    where
        F: Fn(Timestamp, O::Out) -> U + Clone + Send + 'static,
    {
        self.then(MapTimed::new(function))
    }

    /// The items for which `predicate` holds.
    pub fn filter<F>(self, predicate: F) -> Stream<P, Then<O, Filter<F>>>
    where
        O::Out: 'static,
        F: Fn(&O::Out) -> bool + Clone + Send + 'static,
    {
        self.then(Filter::new(predicate))
    }

    /// What `function` makes of an item, where it makes something.
    pub fn filter_map<U, F>(self, function: F) -> Stream<P, Then<O, FilterMap<F>>>
    where
        F: Fn(O::Out) -> Option<U> + Clone + Send + 'static,
    {
        self.then(FilterMap::new(function))
    }

    /// All that `function` makes of each item, at the item's time.
    pub fn flat_map<I, F>(self, function: F) -> Stream<P, Then<O, FlatMap<F>>>
    where
        I: IntoIterator,
        F: Fn(O::Out) -> I + Clone + Send + 'static,
    {
        self.then(FlatMap::new(function))
    }

    /// Shows each item to `function` on its way.
    pub fn inspect<F>(self, function: F) -> Stream<P, Then<O, Inspect<F>>>
    where
        O::Out: 'static,
        F: Fn(Timestamp, &O::Out) + Clone + Send + 'static,
    {
        self.then(Inspect::new(function))
    }

    /// Items of one key meet in one partition from here on; what follows may keep state per key.
    pub fn key_by<K, F>(self, key: F) -> KeyedStream<P, O, F>
    where
        K: Hash + Eq,
        F: Fn(&O::Out) -> K + Clone + Send + 'static,
    {
        let partitions = self.flow.partitions();
        KeyedStream {
            stream: self,
            key,
            partitions,
            state: None,
        }
    }

    /// Spreads items evenly over `partitions` partitions of a new stage.
    pub fn rebalance(self, partitions: usize) -> Stream<InletOrigin<O::Out>, Identity>
    where
        O::Out: Send + 'static,
    {
        let stream = self.exchange("rebalance", partitions, Rebalance::default());
        let reason = "items of one key go on in several partitions, and meet again in any order";
        stream.noted(Note::order("a rebalance", reason))
    }

    /// Ends the stage here and begins another of as many partitions, which works at the same time. Gives a type that
    /// can be written down.
    pub fn new_stage(self) -> Stream<InletOrigin<O::Out>, Identity>
    where
        O::Out: Send + 'static,
    {
        let partitions = self.site.partitions;
        let mut stream = self.exchange("stage", partitions, Forward);
        stream.site = stream.site.following();
        stream
    }

    /// Both streams as one, in a new stage; order is kept within each of them.
    pub fn merge<P2, O2>(self, other: Stream<P2, O2>) -> Stream<InletOrigin<O::Out>, Identity>
    where
        O::Out: Send + 'static,
        P2: Origin,
        O2: Operator<P2::Item, Out = O::Out> + Clone,
    {
        let flow = self.flow.clone();
        let partitions = self.site.partitions;
        let one_to_one = other.site.partitions == partitions;
        let (left, left_edge) = self.send("merge", Forward);
        let (right, right_edge) = if one_to_one {
            other.send("merge", Forward)
        } else {
            other.send("merge", Rebalance::default())
        };
        let site = Site::new("merge", partitions, vec![left, right]).following();
        let origin = InletOrigin::new(vec![left_edge, right_edge]);
        let reason = "items of the two streams come in any order";
        Stream::new(flow, origin, Identity, site).noted(Note::order("a merge", reason))
    }

    /// Closes the stage with an outlet and begins one that reads it.
    pub(super) fn exchange<R: Route<O::Out>>(
        self,
        kind: &str,
        partitions: usize,
        route: R,
    ) -> Stream<InletOrigin<O::Out>, Identity>
    where
        O::Out: Send + 'static,
    {
        let flow = self.flow.clone();
        let (input, edge) = self.send(kind, route);
        let site = Site::new(kind, partitions, vec![input]);
        Stream::new(flow, InletOrigin::new(vec![edge]), Identity, site)
    }

    /// Closes the stage with an outlet into a new edge.
    pub(super) fn send<R: Route<O::Out>>(
        self,
        label: &str,
        route: R,
    ) -> (usize, Arc<millstream_engine::flow::Edge<O::Out>>)
    where
        O::Out: Send + 'static,
    {
        self.send_bounded(label, route, None)
    }

    /// The same where no more may be on its way than a bound says.
    pub(super) fn send_bounded<R: Route<O::Out>>(
        mut self,
        label: &str,
        route: R,
        bound: Option<EdgeBound>,
    ) -> (usize, Arc<millstream_engine::flow::Edge<O::Out>>)
    where
        O::Out: Send + 'static,
    {
        let one_to_one = R::ONE_TO_ONE;
        let (id, edge) = self.flow.edge_of::<O::Out>(label, one_to_one, bound);
        self.site.outputs.push(id);
        self.end(Outlet::new(Arc::clone(&edge), route));
        (id, edge)
    }

    /// Closes the stage with a sink of one's own.
    pub fn end<S: Operator<O::Out, Out = Infallible> + Clone>(self, sink: S) {
        let operator = then(self.operator, sink);
        self.flow.close(self.origin, operator, self.site);
    }

    /// Notes what the operator added last has to do with order and time.
    pub(super) fn noted(mut self, note: Note) -> Self {
        self.site.notes.push(note);
        self
    }

    /// Notes that the operator added last keeps state.
    pub(super) fn with_state(mut self, kind: &'static str, name: Option<String>) -> Self {
        self.site.states.push(StateNote { kind, name });
        self
    }
}

impl<P: Origin> Stream<P, Identity> {
    /// Puts the first operator into a stage: it gets whole batches.
    pub(super) fn begin_with<B: Operator<P::Item> + Clone>(self, operator: B) -> Stream<P, B> {
        Stream::new(self.flow, self.origin, operator, self.site)
    }
}

impl<P, O> fmt::Debug for Stream<P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("site", &self.site).finish()
    }
}
