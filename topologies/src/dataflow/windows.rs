//! What [`KeyedStream::window`](super::KeyedStream::window) takes: for each kind of window the operator that does it,
//! and what it cannot do.

use std::convert::Infallible;

use millstream_engine::flow::Operator;
use millstream_operators::Key;
use millstream_operators::function::AggregateFunction;
use millstream_operators::window::{
    Count, CountWindows, Global, Session, SessionWindows, Sliding, SlidingWindows, Timed, Trigger,
    Triggered, TriggeredWindows, Tumbling, TumblingWindows, Windowed,
};

use super::origin::Origin;
use super::stream::Stream;
use super::windowed::WindowedStream;

/// A kind of window.
pub trait WindowKind: Timed + Sized {
    /// The operator.
    type Windows<T, K, F, A, L>: Operator<T, Out = Windowed<K, A::Output>> + Clone
    where
        T: Send + 'static,
        K: Key,
        F: Fn(&T) -> K + Clone + Send + 'static,
        A: AggregateFunction<T>,
        L: Operator<T, Out = Infallible> + Clone;

    /// Makes it.
    fn windows<T, K, F, A, L>(self, key: F, function: A, late: L) -> Self::Windows<T, K, F, A, L>
    where
        T: Send + 'static,
        K: Key,
        F: Fn(&T) -> K + Clone + Send + 'static,
        A: AggregateFunction<T>,
        L: Operator<T, Out = Infallible> + Clone;

    /// Why it cannot work with a function, and what to do, if so.
    fn fault<T, A: AggregateFunction<T>>(&self) -> Option<String> {
        None
    }
}

/// Windows that can take results back.
pub trait Retracting {
    /// Takes back each result before one that replaces it.
    #[must_use]
    fn retracting(self) -> Self;
}

macro_rules! kind {
    ($window:ty, $operator:ident::$make:ident $(after $prepare:ident)? $(, $fault:ident)?) => {
        impl WindowKind for $window {
            type Windows<T, K, F, A, L>
                = $operator<T, K, F, A, L>
            where
                T: Send + 'static,
                K: Key,
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
                K: Key,
                F: Fn(&T) -> K + Clone + Send + 'static,
                A: AggregateFunction<T>,
                L: Operator<T, Out = Infallible> + Clone,
            {
                let window = self;
                $(let window = $prepare(window);)?
                $operator::$make(window, key, function, late)
            }

            $(
                fn fault<T, A: AggregateFunction<T>>(&self) -> Option<String> {
                    $fault(self, A::MERGES)
                }
            )?
        }
    };
}

macro_rules! retracting {
    ($($window:ty),*) => {
        $(
            impl Retracting for $window {
                fn retracting(self) -> Self {
                    <$window>::retracting(self)
                }
            }
        )*
    };
}

/// Sessions are joined when an item comes that connects them.
fn must_merge<W>(_window: &W, merges: bool) -> Option<String> {
    (!merges).then(|| {
        "session windows join sessions, and this function does not merge: give it a merge (fold_merging instead of \
         fold, or MERGES in a function of your own), or use tumbling or sliding windows"
            .to_owned()
    })
}

/// One window for all time ends with the input.
fn needs_trigger(_window: &Global, _merges: bool) -> Option<String> {
    let reason = "a global window gives nothing out before the end of the input unless a trigger says when: add \
                  .trigger(Trigger::at_watermark().early_count(n)) or .early_every(period)";
    Some(reason.to_owned())
}

/// With a trigger that says nothing else it is the same.
fn needs_early(window: &Triggered<Global>, merges: bool) -> Option<String> {
    let is_early = window.is_early();
    (!is_early)
        .then(|| needs_trigger(&Global::new(), merges))
        .flatten()
}

const fn at_the_end(window: Global) -> Triggered<Global> {
    Triggered::new(window, Trigger::at_watermark())
}

kind!(Tumbling, TumblingWindows::new);
kind!(Sliding, SlidingWindows::new);
kind!(Session, SessionWindows::new, must_merge);
kind!(Count, CountWindows::new);
kind!(Global, TriggeredWindows::new after at_the_end, needs_trigger);
kind!(Triggered<Tumbling>, TriggeredWindows::new);
kind!(Triggered<Sliding>, TriggeredWindows::new);
kind!(Triggered<Session>, SessionWindows::triggered, must_merge);
kind!(Triggered<Global>, TriggeredWindows::new, needs_early);

retracting!(
    Tumbling,
    Sliding,
    Session,
    Global,
    Triggered<Tumbling>,
    Triggered<Sliding>,
    Triggered<Session>,
    Triggered<Global>
);

/// The key of a stream that has none.
const fn no_key<T>(_item: &T) {}

impl<P: Origin, O: Operator<P::Item> + Clone> Stream<P, O>
where
    O::Out: Send + 'static,
{
    /// Groups all items into windows, whatever they are: one partition takes them, and results have the key `()`.
    /// Where the function merges, [`pre_aggregated`](WindowedStream::pre_aggregated) lets most of the work be done
    /// before that.
    pub fn window_all<W: WindowKind>(self, window: W) -> WindowedStream<P, O, fn(&O::Out), W> {
        let key: fn(&O::Out) = no_key;
        self.key_by(key).partitions(1).window(window)
    }
}
