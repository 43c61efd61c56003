//! A function together with the times of the earliest and the latest item.

use millstream_engine::time::Timestamp;

use crate::function::AggregateFunction;
use crate::window::Window;

#[derive(Clone)]
pub(super) struct Bounded<A>(pub(super) A);

/// An accumulator, and the first and the last time that it has.
pub(super) type Sum<A> = (A, i64, i64);

pub(super) fn window<A>(&(_, first, last): &Sum<A>) -> Window {
    Window {
        start: Timestamp(first),
        end: Timestamp(last.saturating_add(1)),
    }
}

impl<T, A: AggregateFunction<T>> AggregateFunction<T> for Bounded<A> {
    type Accumulator = Sum<A::Accumulator>;
    type Output = A::Output;
    const MERGES: bool = A::MERGES;
    const GROWS: bool = A::GROWS;

    fn parameters(&self) -> String {
        self.0.parameters()
    }

    fn create(&self) -> Self::Accumulator {
        (self.0.create(), i64::MAX, i64::MIN)
    }

    #[inline]
    fn add(&self, sum: &mut Self::Accumulator, time: Timestamp, item: &T) {
        sum.1 = sum.1.min(time.0);
        sum.2 = sum.2.max(time.0);
        self.0.add(&mut sum.0, time, item);
    }

    fn merge(&self, sum: &mut Self::Accumulator, other: &Self::Accumulator) {
        sum.1 = sum.1.min(other.1);
        sum.2 = sum.2.max(other.2);
        self.0.merge(&mut sum.0, &other.0);
    }

    fn finish(&self, sum: &Self::Accumulator) -> A::Output {
        self.0.finish(&sum.0)
    }
}
