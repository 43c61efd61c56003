//! Windows whose items are summed up before the exchange.

use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use millstream_engine::flow::{ByKey, Identity, Operator, Outlet, Then};
use millstream_operators::Key;
use millstream_operators::function::AggregateFunction;
use millstream_operators::window::{
    LatePortions, Merging, Portion, PreAggregate, Slicing, Windowed,
};

use super::check::DataflowFault;
use super::origin::{InletOrigin, Origin};
use super::site::{Note, Site};
use super::stream::Stream;
use super::windowed::{WindowedStream, place};
use super::windows::WindowKind;

/// Accumulators kept before the exchange: they should fit into the processor's second-level cache.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();

/// A keyed stream in windows, summed up before the exchange.
#[must_use = "a stream does nothing unless it ends in a sink"]
pub struct PreAggregated<P, O, F, W, L> {
    windowed: WindowedStream<P, O, F, W, L>,
    capacity: NonZeroUsize,
}

impl<P, O, F, W, L> WindowedStream<P, O, F, W, L>
where
    W: WindowKind + Into<Slicing> + Copy,
{
    /// Sums items up by key and slice before the exchange, and sends only the sums through it. Worth it for hot or
    /// few keys, which then load no partition more than others; where most items have a key of their own it costs a
    /// lookup and saves nothing. Results are the same, late items included. The function must merge.
    pub const fn pre_aggregated(self) -> PreAggregated<P, O, F, W, L> {
        PreAggregated {
            windowed: self,
            capacity: CAPACITY,
        }
    }
}

/// What crosses the exchange.
type Sent<T, K, A> = Portion<T, K, <A as AggregateFunction<T>>::Accumulator>;

impl<P, O, K, F, W, L> PreAggregated<P, O, F, W, L>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Send + 'static,
    K: Key,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
    W: WindowKind + Into<Slicing> + Copy,
    L: Operator<O::Out, Out = Infallible> + Clone,
{
    /// How many sums each partition keeps before the exchange; when there are more, all are sent on. Default 8192.
    /// More: fewer items cross; less: less memory, and all of it in the cache.
    pub const fn capacity(mut self, accumulators: NonZeroUsize) -> Self {
        self.capacity = accumulators;
        self
    }

    /// What `function` computes of each key's items of each window.
    #[expect(
        clippy::type_complexity,
        reason = "the operators so far are in the type"
    )]
    pub fn aggregate<A: AggregateFunction<O::Out>>(
        self,
        function: A,
    ) -> Stream<
        InletOrigin<Sent<O::Out, K, A>>,
        Then<Identity, impl Operator<Sent<O::Out, K, A>, Out = Windowed<K, A::Output>> + Clone>,
    > {
        let capacity = self.capacity;
        let WindowedStream {
            keyed,
            window,
            late,
            late_way,
        } = self.windowed;
        let mut stream = keyed.stream;
        let flow = stream.flow.clone();
        let place = place("a pre-aggregated window", keyed.state.as_deref());
        if let Some(reason) = fault(A::MERGES, window.into()) {
            let place = place.clone();
            flow.fault(DataflowFault::Impossible { place, reason });
        }
        let key = keyed.key.clone();
        let of_portion = move |portion: &Sent<O::Out, K, A>| portion.key(&key);
        let (input, edge) = flow.edge("window", false);
        stream.site.outputs.push(input);
        let outlet = Outlet::new(Arc::clone(&edge), ByKey::new(of_portion.clone()));
        let sums = PreAggregate::new(window, capacity, keyed.key, function.clone(), outlet);
        stream.end(sums);
        let mut site = Site::new("window", keyed.partitions, vec![input]);
        site.leads_late(late_way);
        site.notes = Note::of_window(&place, window.timing());
        let windows = window.windows(of_portion, Merging::new(function), LatePortions::new(late));
        Stream::new(flow, InletOrigin::new(vec![edge]), Identity, site)
            .then(windows)
            .with_state("a window", keyed.state)
    }
}

/// Why items cannot be summed up before the exchange, and what to do.
fn fault(merges: bool, slicing: Slicing) -> Option<String> {
    let reason = if !merges {
        "sums from several partitions are merged, and this function does not merge: give it a merge, or leave out \
         .pre_aggregated()"
    } else if slicing.is_in_processing_time() {
        "items get their processing time behind the exchange: use event time, or leave out .pre_aggregated()"
    } else {
        return None;
    };
    Some(reason.to_owned())
}

impl<P, O, F, W, L> fmt::Debug for PreAggregated<P, O, F, W, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreAggregated")
            .field("windowed", &self.windowed)
            .field("capacity", &self.capacity)
            .finish()
    }
}
