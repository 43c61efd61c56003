//! What a pre-aggregation sends to the windows behind the exchange, and how those take it.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use millstream_engine::flow::{Discard, Emit, Fault, Operator, Wiring, inner_sink};
use millstream_engine::time::Timestamp;

use super::CountLate;
use crate::function::{AggregateFunction, inner_function};

/// Items of one key and slice, already aggregated, or an item as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Portion<T, K, A> {
    /// An item that was behind its source's watermark: whether it is late is decided behind the exchange.
    Item(T),
    /// Items of one slice, whose last moment is the portion's time.
    Sum {
        /// Their key.
        key: K,
        /// What they come to.
        sum: A,
        /// How many they are.
        items: u64,
    },
}

impl<T, K: Clone, A> Portion<T, K, A> {
    /// Its key, where `key` gives that of an item.
    #[inline]
    pub fn key(&self, key: impl Fn(&T) -> K) -> K {
        match self {
            Self::Item(item) => key(item),
            Self::Sum { key, .. } => key.clone(),
        }
    }
}

/// A function over items as a function over [`Portion`]s.
pub struct Merging<T, K, A> {
    function: A,
    item: PhantomData<fn(T, K)>,
}

impl<T, K, A> Merging<T, K, A> {
    /// `function`, which must merge.
    pub const fn new(function: A) -> Self {
        Self {
            function,
            item: PhantomData,
        }
    }
}

impl<T, K, A> AggregateFunction<Portion<T, K, A::Accumulator>> for Merging<T, K, A>
where
    T: 'static,
    K: 'static,
    A: AggregateFunction<T>,
{
    inner_function!(function: A);

    #[inline]
    fn add(
        &self,
        accumulator: &mut A::Accumulator,
        time: Timestamp,
        portion: &Portion<T, K, A::Accumulator>,
    ) {
        match portion {
            Portion::Item(item) => self.function.add(accumulator, time, item),
            Portion::Sum { sum, .. } => self.function.merge(accumulator, sum),
        }
    }
}

/// Takes late portions and gives the items on that are late as they came.
///
/// A sum is late if its sender was idle and the others went on: its items are counted with those that have nowhere to go,
/// since they are not there any more.
#[derive(Clone, Debug)]
pub struct LatePortions<L> {
    late: L,
    lost: CountLate,
}

impl<L> LatePortions<L> {
    /// Late items go to `late`.
    pub const fn new(late: L) -> Self {
        Self {
            late,
            lost: CountLate::new(),
        }
    }
}

impl<T, K, A, L> Operator<Portion<T, K, A>> for LatePortions<L>
where
    L: Operator<T, Out = Infallible>,
{
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(
        &mut self,
        time: Timestamp,
        portion: Portion<T, K, A>,
        _out: &mut E,
    ) {
        match portion {
            Portion::Item(item) => self.late.item(time, item, &mut Discard),
            Portion::Sum { items, .. } => self.lost.count(time, items),
        }
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.lost.begin(wiring);
        self.late.open(wiring)
    }

    inner_sink!(late: watermark late_before begin processing_time next_due flush is_blocked blocked idle holds_end
        before_end end state_items before_barrier save restore checkpointed awaits_checkpoint);
}

impl<T, K, A: Clone> Clone for Merging<T, K, A> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone())
    }
}

impl<T, K, A: fmt::Debug> fmt::Debug for Merging<T, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Merging").field(&self.function).finish()
    }
}
