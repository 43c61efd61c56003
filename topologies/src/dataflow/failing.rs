//! Streams whose functions may fail: what they fail on is tried again, and then kept, passed over, or ends the dataflow.

use std::convert::Infallible;
use std::error::Error;

use millstream_engine::flow::{Forward, Identity, Operator, Outlet, Then};
use millstream_operators::failing::ItemPolicy;
use millstream_operators::keyed::{NoSide, TryKeyedProcess, TryProcess};
use millstream_operators::stateless::{
    Again, NoOrder, OrderByKey, TryErrors, TryFilterMap, TryFlatMap, TryFunction, TryItems, TryMap,
};
use millstream_operators::{Key, Savable};

use super::flow::{Flow, SideOutput};
use super::keyed::KeyedStream;
use super::origin::{InletOrigin, Origin};
use super::site::{Note, Site};
use super::stream::Stream;
use super::windowed::place;

/// What a stage becomes that applies a function which may fail.
pub type Tried<P, O, T, M> = Stream<P, Then<O, TryItems<T, NoOrder, M>>>;

/// What a keyed stage with a function that may fail is.
pub type TriedByKey<T, F, M> = Stream<InletOrigin<T>, TryItems<T, OrderByKey<F>, M>>;

/// What a keyed stage with a process that may fail is.
pub type TriedProcess<T, K, F, P, L = NoSide> =
    Stream<InletOrigin<T>, Then<Identity, TryProcess<T, K, F, P, L>>>;

/// Why the results may be others at each start.
const VARIES: &str = "what fails is tried again by the engine's clock, and decided about by people";

/// Notes an operator that may fail; gives how many of them the stage has before it.
fn note(flow: &Flow, site: &mut Site, policy: &ItemPolicy) -> usize {
    flow.draft.borrow_mut().has_letters |= policy.keeps_letters();
    let ordinal = site.failing;
    site.failing += 1;
    ordinal
}

impl<P, O> Stream<P, O>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Savable,
{
    /// What `function` makes of each item. An item that it fails on, or panics on, is dealt with by `policy`: tried again
    /// later, while the others go on; and then kept as a dead letter (in an engine), skipped, or the dataflow fails. What
    /// comes out keeps the item's event time, and may be late for what follows.
    ///
    /// An operator with state: name it with [`state_named`](Self::state_named) if there is another. To keep the items of
    /// a key in order put [`key_by`](Self::key_by) before it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millstream::dataflow::Dataflow;
    /// use millstream_operators::failing::ItemPolicy;
    ///
    /// let policy = ItemPolicy::skip().attempts(3, Duration::from_millis(100));
    /// let (flow, numbers) = Dataflow::declare("numbers", |flow| {
    ///     flow.items(["1", "2", "drei"].map(String::from))
    ///         .stream()
    ///         .try_map(policy, |text: &String| text.parse::<u64>())
    ///         .collect()
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_map<U, X, F>(self, policy: ItemPolicy, function: F) -> Tried<P, O, O::Out, TryMap<F>>
    where
        U: 'static,
        X: Into<Box<dyn Error + Send + Sync>>,
        F: Fn(&O::Out) -> Result<U, X> + Clone + Send + 'static,
    {
        self.tried("try_map", policy, TryMap(function))
    }

    /// What `function` makes of an item, where it makes something; failures as of [`try_map`](Self::try_map).
    pub fn try_filter_map<U, X, F>(
        self,
        policy: ItemPolicy,
        function: F,
    ) -> Tried<P, O, O::Out, TryFilterMap<F>>
    where
        U: 'static,
        X: Into<Box<dyn Error + Send + Sync>>,
        F: Fn(&O::Out) -> Result<Option<U>, X> + Clone + Send + 'static,
    {
        self.tried("try_filter_map", policy, TryFilterMap(function))
    }

    /// All that `function` makes of each item, once all of it is made; failures as of [`try_map`](Self::try_map).
    pub fn try_flat_map<I, X, F>(
        self,
        policy: ItemPolicy,
        function: F,
    ) -> Tried<P, O, O::Out, TryFlatMap<F>>
    where
        I: IntoIterator,
        I::Item: 'static,
        X: Into<Box<dyn Error + Send + Sync>>,
        F: Fn(&O::Out) -> Result<I, X> + Clone + Send + 'static,
    {
        self.tried("try_flat_map", policy, TryFlatMap(function))
    }

    fn tried<M: TryFunction<O::Out>>(
        mut self,
        kind: &'static str,
        policy: ItemPolicy,
        function: M,
    ) -> Tried<P, O, O::Out, M> {
        let ordinal = note(&self.flow, &mut self.site, &policy);
        self.then(TryItems::new(policy, ordinal, NoOrder, function))
            .with_state(kind, None)
            .noted(Note::content(kind, VARIES))
    }
}

impl<P, O, T, X> Stream<P, O>
where
    P: Origin,
    O: Operator<P::Item, Out = Result<T, X>> + Clone,
    T: Send + 'static,
    X: Again<T>,
{
    /// The good items, as they are. Errors among them are dealt with by `policy`, as items that a function fails on: events of
    /// the log that cannot be [read](super::SourceBuilder::keep_unreadable), which are read once more when they are redriven,
    /// by a program that may know them by then; bad lines of [files](super::Files::keep_bad_lines), which stay what they are.
    pub fn try_errors(mut self, policy: ItemPolicy) -> Stream<P, Then<O, TryErrors<T, X>>> {
        let ordinal = note(&self.flow, &mut self.site, &policy);
        self.then(TryErrors::new(policy, ordinal))
            .with_state("try_errors", None)
            .noted(Note::content("try_errors", VARIES))
    }
}

impl<P, O, K, F> KeyedStream<P, O, F>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Savable,
    K: Key,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
{
    /// As [`Stream::try_map`], with the items of each key in order: while one is tried again or lies dead, later ones of
    /// its key wait behind it, and other keys go on.
    pub fn try_map<U, X, M>(
        self,
        policy: ItemPolicy,
        function: M,
    ) -> TriedByKey<O::Out, F, TryMap<M>>
    where
        U: 'static,
        X: Into<Box<dyn Error + Send + Sync>>,
        M: Fn(&O::Out) -> Result<U, X> + Clone + Send + 'static,
    {
        self.tried("try_map", policy, TryMap(function))
    }

    /// As [`Stream::try_filter_map`], with the items of each key in order.
    pub fn try_filter_map<U, X, M>(
        self,
        policy: ItemPolicy,
        function: M,
    ) -> TriedByKey<O::Out, F, TryFilterMap<M>>
    where
        U: 'static,
        X: Into<Box<dyn Error + Send + Sync>>,
        M: Fn(&O::Out) -> Result<Option<U>, X> + Clone + Send + 'static,
    {
        self.tried("try_filter_map", policy, TryFilterMap(function))
    }

    /// As [`Stream::try_flat_map`], with the items of each key in order.
    pub fn try_flat_map<I, X, M>(
        self,
        policy: ItemPolicy,
        function: M,
    ) -> TriedByKey<O::Out, F, TryFlatMap<M>>
    where
        I: IntoIterator,
        I::Item: 'static,
        X: Into<Box<dyn Error + Send + Sync>>,
        M: Fn(&O::Out) -> Result<I, X> + Clone + Send + 'static,
    {
        self.tried("try_flat_map", policy, TryFlatMap(function))
    }

    fn tried<M: TryFunction<O::Out>>(
        self,
        kind: &'static str,
        policy: ItemPolicy,
        function: M,
    ) -> TriedByKey<O::Out, F, M> {
        let place = place(kind, self.state.as_deref());
        let (mut stream, key, name) = self.exchange(kind);
        let ordinal = note(&stream.flow, &mut stream.site, &policy);
        stream
            .begin_with(TryItems::new(policy, ordinal, OrderByKey(key), function))
            .with_state(kind, name)
            .noted(Note::content(place, VARIES))
    }

    /// State and timers of one's own per key, of a process that may fail. What a failed call changed does not count: the
    /// state of its key is cloned before each call and put back. Later items of the key, and timers that are reached, wait
    /// behind what failed.
    pub fn try_process<Q>(self, policy: ItemPolicy, process: Q) -> TriedProcess<O::Out, K, F, Q>
    where
        Q: TryKeyedProcess<K, O::Out, Side = Infallible>,
    {
        self.tried_process(policy, process, NoSide, None)
    }

    /// The same for a process that has a side output.
    pub fn try_process_with_side<Q>(
        self,
        policy: ItemPolicy,
        process: Q,
        side: &SideOutput<Q::Side>,
    ) -> TriedProcess<O::Out, K, F, Q, Outlet<Q::Side, Forward>>
    where
        Q: TryKeyedProcess<K, O::Out>,
    {
        let outlet = side.outlet_of(self.partitions);
        self.tried_process(policy, process, outlet, Some(side.id))
    }

    fn tried_process<Q, L>(
        self,
        policy: ItemPolicy,
        process: Q,
        side: L,
        edge: Option<usize>,
    ) -> TriedProcess<O::Out, K, F, Q, L>
    where
        Q: TryKeyedProcess<K, O::Out>,
        L: Operator<Q::Side, Out = Infallible> + Clone,
    {
        let place = place("a process", self.state.as_deref());
        let (mut stream, key, name) = self.exchange("process");
        stream.site.outputs.extend(edge);
        note(&stream.flow, &mut stream.site, &policy);
        stream
            .then(TryProcess::new(policy, key, process, side))
            .with_state("process", name)
            .noted(Note::in_time(place.clone(), false, false))
            .noted(Note::content(place, VARIES))
    }
}
