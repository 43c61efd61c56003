//! Running aggregates: for each item what has been computed of its key so far.

use std::convert::Infallible;
use std::marker::PhantomData;

use millstream_engine::time::Timestamp;

use super::context::{Context, KeyedProcess, Ttl};
use super::expiring::Expiring;
use crate::function::{AggregateFunction, Stored};

/// Gives out the key and the value of an aggregate function after each item.
///
/// State: one accumulator per key, until no item of the key has come for the time to live.
#[derive(Clone, Debug)]
pub struct Running<A> {
    function: A,
    ttl: Ttl,
}

impl<A> Running<A> {
    /// Computes `function`; a key begins anew when it has been silent for `ttl`.
    pub const fn new(function: A, ttl: Ttl) -> Self {
        Self { function, ttl }
    }
}

impl<K, T, A> KeyedProcess<K, T> for Running<A>
where
    K: Clone + Send + 'static,
    A: AggregateFunction<T>,
    A::Output: Send + 'static,
{
    type State = Expiring<A::Accumulator>;
    type Out = (K, A::Output);
    type Side = Infallible;

    fn parameters(&self) -> String {
        self.function.parameters()
    }

    fn item(
        &mut self,
        key: &K,
        state: &mut Self::State,
        time: Timestamp,
        item: T,
        ctx: &mut Context<'_, Self::Out>,
    ) {
        state.renew(self.ttl, ctx, |kept, ctx| {
            let mut accumulator = kept.unwrap_or_else(|| self.function.create());
            self.function.add(&mut accumulator, time, &item);
            ctx.emit((key.clone(), self.function.finish(&accumulator)));
            accumulator
        });
    }
}

/// Combines each key's items two by two and gives out what they are together after each. State as that of [`Running`].
#[derive(Debug)]
pub struct Reducing<T, F> {
    combine: F,
    ttl: Ttl,
    item: PhantomData<fn(T)>,
}

impl<T, F> Reducing<T, F> {
    /// Combines with `combine`; a key begins anew when it has been silent for `ttl`.
    pub const fn new(combine: F, ttl: Ttl) -> Self {
        Self {
            combine,
            ttl,
            item: PhantomData,
        }
    }
}

impl<T, F: Clone> Clone for Reducing<T, F> {
    fn clone(&self) -> Self {
        Self::new(self.combine.clone(), self.ttl)
    }
}

impl<K, T, F> KeyedProcess<K, T> for Reducing<T, F>
where
    K: Clone + Send + 'static,
    T: Stored,
    F: Fn(T, T) -> T + Clone + Send + 'static,
{
    type State = Expiring<T>;
    type Out = (K, T);
    type Side = Infallible;

    fn item(
        &mut self,
        key: &K,
        state: &mut Self::State,
        _time: Timestamp,
        item: T,
        ctx: &mut Context<'_, Self::Out>,
    ) {
        state.renew(self.ttl, ctx, |kept, ctx| {
            let combined = match kept {
                Some(kept) => (self.combine)(kept, item),
                None => item,
            };
            ctx.emit((key.clone(), combined.clone()));
            combined
        });
    }
}
