//! Windows over keyed streams: what is computed of each, and where late items go.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use millstream_engine::flow::{Forward, Operator, Outlet};
use millstream_operators::function::AggregateFunction;
use millstream_operators::window::{CountLate, Sliding, SlidingWindows, Tumbling, TumblingWindows};

use super::flow::SideOutput;
use super::keyed::KeyedStream;
use super::origin::{InletOrigin, Origin};
use super::stream::Stream;

/// Windows with the same boundaries for all keys.
pub trait AlignedWindow: Sized {
    /// The operator.
    type Windows<T, K, F, A, L>: Operator<T, Out = millstream_operators::window::Windowed<K, A::Output>>
        + Clone
    where
        T: Send + 'static,
        K: Hash + Eq + Clone + Send + 'static,
        F: Fn(&T) -> K + Clone + Send + 'static,
        A: AggregateFunction<T>,
        L: Operator<T, Out = Infallible> + Clone;

    /// Makes it.
    fn windows<T, K, F, A, L>(self, key: F, function: A, late: L) -> Self::Windows<T, K, F, A, L>
    where
        T: Send + 'static,
        K: Hash + Eq + Clone + Send + 'static,
        F: Fn(&T) -> K + Clone + Send + 'static,
        A: AggregateFunction<T>,
        L: Operator<T, Out = Infallible> + Clone;
}

macro_rules! aligned {
    ($window:ident, $operator:ident) => {
        impl AlignedWindow for $window {
            type Windows<T, K, F, A, L>
                = $operator<T, K, F, A, L>
            where
                T: Send + 'static,
                K: Hash + Eq + Clone + Send + 'static,
                F: Fn(&T) -> K + Clone + Send + 'static,
                A: AggregateFunction<T>,
                L: Operator<T, Out = Infallible> + Clone;

            fn windows<T, K, F, A, L>(
                self,
                key: F,
                function: A,
                late: L,
            ) -> Self::Windows<T, K, F, A, L>
            where
                T: Send + 'static,
                K: Hash + Eq + Clone + Send + 'static,
                F: Fn(&T) -> K + Clone + Send + 'static,
                A: AggregateFunction<T>,
                L: Operator<T, Out = Infallible> + Clone,
            {
                $operator::new(self, key, function, late)
            }
        }
    };
}

aligned!(Tumbling, TumblingWindows);
aligned!(Sliding, SlidingWindows);

/// A keyed stream in windows.
#[must_use = "a stream does nothing unless it ends in a sink"]
pub struct WindowedStream<P, O, F, W, L = CountLate> {
    keyed: KeyedStream<P, O, F>,
    window: W,
    late: L,
    /// The edge that late items leave by.
    late_edge: Option<usize>,
}

impl<P, O, F, W> WindowedStream<P, O, F, W> {
    pub(super) const fn new(keyed: KeyedStream<P, O, F>, window: W) -> Self {
        Self {
            keyed,
            window,
            late: CountLate::new(),
            late_edge: None,
        }
    }
}

impl<P, O, K, F, W, L> WindowedStream<P, O, F, W, L>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Send + 'static,
    K: Hash + Eq + Clone + Send + 'static,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
    W: AlignedWindow,
    L: Operator<O::Out, Out = Infallible> + Clone,
{
    /// Sends items that are late to a side output. Default: they are counted in the metrics.
    pub fn late_to(
        self,
        side: &SideOutput<O::Out>,
    ) -> WindowedStream<P, O, F, W, Outlet<O::Out, Forward>> {
        *side.partitions.borrow_mut() = Some(self.keyed.partitions);
        WindowedStream {
            keyed: self.keyed,
            window: self.window,
            late: Outlet::new(Arc::clone(&side.edge), Forward),
            late_edge: Some(side.id),
        }
    }

    /// Names the state; needed once a dataflow has more than one operator with state.
    pub fn named(mut self, name: &str) -> Self {
        self.keyed = self.keyed.named(name);
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
    ) -> Stream<InletOrigin<O::Out>, W::Windows<O::Out, K, F, A, L>> {
        let (mut stream, key, name) = self.keyed.exchange("window");
        stream.site.outputs.extend(self.late_edge);
        stream
            .begin_with(self.window.windows(key, function, self.late))
            .with_state("a window", name)
    }
}

impl<P, O, F, W, L> fmt::Debug for WindowedStream<P, O, F, W, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowedStream")
            .field("keyed", &self.keyed)
            .finish_non_exhaustive()
    }
}
