//! What [`KeyedStream::window`](super::KeyedStream::window) takes: for each kind of window the operator that does it,
//! and what it cannot do.

use std::convert::Infallible;
use std::hash::Hash;

use millstream_engine::flow::Operator;
use millstream_operators::function::AggregateFunction;
use millstream_operators::window::{
    Session, SessionWindows, Sliding, SlidingWindows, Triggered, Tumbling, TumblingWindows,
    Windowed,
};

/// A kind of window.
pub trait WindowKind: Sized {
    /// The operator.
    type Windows<T, K, F, A, L>: Operator<T, Out = Windowed<K, A::Output>> + Clone
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
    ($window:ty, $operator:ident::$make:ident $(, $fault:expr)?) => {
        impl WindowKind for $window {
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
                $operator::$make(self, key, function, late)
            }

            $(
                fn fault<T, A: AggregateFunction<T>>(&self) -> Option<String> {
                    $fault(A::MERGES)
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
fn must_merge(merges: bool) -> Option<String> {
    (!merges).then(|| {
        "session windows join sessions, and this function does not merge: give it a merge (fold_merging instead of \
         fold, or MERGES in a function of your own), or use tumbling or sliding windows"
            .to_owned()
    })
}

kind!(Tumbling, TumblingWindows::new);
kind!(Sliding, SlidingWindows::new);
kind!(Session, SessionWindows::new, must_merge);
kind!(Triggered<Session>, SessionWindows::triggered, must_merge);

retracting!(Session, Triggered<Session>);
