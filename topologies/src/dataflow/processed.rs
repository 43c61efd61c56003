//! Keyed streams whose state is not a window: processes, running aggregates, removal of repeats, throttling.

use std::convert::Infallible;
use std::time::Duration;

use millstream_engine::flow::{Forward, Identity, Operator, Outlet, Then};
use millstream_operators::Key;
use millstream_operators::function::{AggregateFunction, Fold, Stored, fold};
use millstream_operators::keyed::{
    Dedup, KeyedProcess, NoSide, Process, Reducing, Running, Throttle, Ttl,
};
use millstream_operators::window::CountLate;

use super::check::DataflowFault;
use super::flow::SideOutput;
use super::keyed::KeyedStream;
use super::origin::{InletOrigin, Origin};
use super::site::Note;
use super::stream::Stream;
use super::windowed::place;

/// What a keyed stage with a process is.
pub type Processed<T, K, F, P, L = NoSide> =
    Stream<InletOrigin<T>, Then<Identity, Process<T, K, F, P, L>>>;

impl<P, O, K, F> KeyedStream<P, O, F>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Send + 'static,
    K: Key,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
{
    pub(super) fn processed<Q, L>(
        self,
        kind: &'static str,
        process: Q,
        side: L,
        edge: Option<usize>,
    ) -> Processed<O::Out, K, F, Q, L>
    where
        Q: KeyedProcess<K, O::Out>,
        L: Operator<Q::Side, Out = Infallible> + Clone,
    {
        let (mut stream, key, name) = self.exchange(kind);
        stream.site.outputs.extend(edge);
        stream
            .then(Process::new(key, process, side))
            .with_state(kind, name)
    }

    fn process_place(&self) -> String {
        place("a process", self.state.as_deref())
    }

    fn check_span(&self, place: &str, span: Duration) {
        if span < Duration::from_micros(1) {
            self.stream.flow.fault(DataflowFault::Impossible {
                place: place.to_owned(),
                reason: "its span of time is empty: give at least a microsecond".to_owned(),
            });
        }
    }

    /// State and timers of one's own per key.
    pub fn process<Q>(self, process: Q) -> Processed<O::Out, K, F, Q>
    where
        Q: KeyedProcess<K, O::Out, Side = Infallible>,
    {
        let place = self.process_place();
        self.processed("process", process, NoSide, None)
            .noted(Note::ByArrival)
            .noted(Note::in_time(place, false, false))
    }

    /// The same for a process that has a side output.
    pub fn process_with_side<Q>(
        self,
        process: Q,
        side: &SideOutput<Q::Side>,
    ) -> Processed<O::Out, K, F, Q, Outlet<Q::Side, Forward>>
    where
        Q: KeyedProcess<K, O::Out>,
    {
        let (outlet, place) = (side.outlet_of(self.partitions), self.process_place());
        self.processed("process", process, outlet, Some(side.id))
            .noted(Note::ByArrival)
            .noted(Note::in_time(place, false, false))
    }

    /// Each key's items combined two by two; for each item the key and what they are together so far. A key begins
    /// anew when it has been silent for `ttl`; with [`Ttl::Never`] every key is kept.
    pub fn reduce<C>(self, ttl: Ttl, combine: C) -> Processed<O::Out, K, F, Reducing<O::Out, C>>
    where
        O::Out: Stored,
        C: Fn(O::Out, O::Out) -> O::Out + Clone + Send + 'static,
    {
        self.processed("reduce", Reducing::new(combine, ttl), NoSide, None)
            .living(ttl)
    }

    /// For each item the key and what `function` has computed of its items so far. Times to live as of
    /// [`reduce`](Self::reduce).
    pub fn aggregate_running<A>(self, ttl: Ttl, function: A) -> Processed<O::Out, K, F, Running<A>>
    where
        A: AggregateFunction<O::Out>,
        A::Output: Send + 'static,
    {
        self.processed("running", Running::new(function, ttl), NoSide, None)
            .living(ttl)
    }

    /// For each item the key and what `add` has made of `initial` and its items so far. Times to live as of
    /// [`reduce`](Self::reduce).
    pub fn fold<A, C>(
        self,
        ttl: Ttl,
        initial: A,
        add: C,
    ) -> Processed<O::Out, K, F, Running<Fold<A, C>>>
    where
        A: Stored,
        C: Fn(&mut A, &O::Out) + Clone + Send + 'static,
    {
        self.aggregate_running(ttl, fold(initial, add))
    }

    /// Drops an item that lies less than `within` of event time from one of its key that has passed: of several the
    /// first to arrive passes. Items that are late by `within` or more are dropped and counted as late, since what
    /// they repeat may be forgotten.
    pub fn dedup(self, within: Duration) -> Processed<O::Out, K, F, Dedup, CountLate> {
        self.check_span("dedup", within);
        let place = place("a dedup", self.state.as_deref());
        self.processed("dedup", Dedup::new(within), CountLate::new(), None)
            .noted(Note::ByArrival)
            .noted(Note::forgetting(place))
    }

    /// Lets the first `items` of each key in each span of `per` of event time pass, and sends the others, and those
    /// of spans that are over, to `side`. Spans begin at multiples of their length.
    pub fn throttle(
        self,
        items: u64,
        per: Duration,
        side: &SideOutput<O::Out>,
    ) -> Processed<O::Out, K, F, Throttle, Outlet<O::Out, Forward>> {
        self.check_span("throttle", per);
        let place = place("a throttle", self.state.as_deref());
        let outlet = side.outlet_of(self.partitions);
        self.processed("throttle", Throttle::new(items, per), outlet, Some(side.id))
            .noted(Note::ByArrival)
            .noted(Note::forgetting(place))
    }
}

impl<P: Origin, O: Operator<P::Item> + Clone> Stream<P, O> {
    /// Notes that results are those so far, and when state is forgotten.
    fn living(self, ttl: Ttl) -> Self {
        let place = "a running aggregate";
        let running = self.noted(Note::ByArrival);
        match ttl {
            Ttl::Never => running,
            Ttl::Event(_) => running.noted(Note::forgetting(place)),
            Ttl::Processing(_) => {
                let reason = "it forgets by the engine's clock: give it a Ttl::Event";
                running.noted(Note::content(place, reason))
            }
        }
    }

    /// Names the state of the operator that was added last, as [`KeyedStream::named`] does beforehand.
    pub fn state_named(mut self, name: &str) -> Self {
        match self.site.states.last_mut() {
            Some(state) => state.name = Some(name.to_owned()),
            None => self.flow.fault(DataflowFault::Impossible {
                place: name.to_owned(),
                reason: "no operator of this stage keeps state that could be named".to_owned(),
            }),
        }
        self
    }
}
