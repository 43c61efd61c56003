//! Several functions at once: a tuple of 1 to 8 functions is a function, its result the tuple of their results.
//!
//! It merges and inverts where all of its parts do.

use millstream_engine::time::Timestamp;

use super::{Adapt, AggregateFunction};

macro_rules! tuple {
    ($($part:ident $index:tt),+) => {
        impl<$($part),+> Adapt for ($($part,)+) {}

        impl<T, $($part: AggregateFunction<T>),+> AggregateFunction<T> for ($($part,)+) {
            type Accumulator = ($($part::Accumulator,)+);
            type Output = ($($part::Output,)+);
            const MERGES: bool = $($part::MERGES)&&+;
            const INVERTS: bool = $($part::INVERTS)&&+;
            const GROWS: bool = $($part::GROWS)||+;

            fn parameters(&self) -> String {
                let all = [$(self.$index.parameters()),+];
                let said = all.into_iter().filter(|one| !one.is_empty());
                said.collect::<Vec<_>>().join(", ")
            }

            #[inline]
            fn create(&self) -> Self::Accumulator {
                ($(self.$index.create(),)+)
            }

            #[inline]
            fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T) {
                $(self.$index.add(&mut accumulator.$index, time, item);)+
            }

            #[inline]
            fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
                $(self.$index.merge(&mut accumulator.$index, &other.$index);)+
            }

            #[inline]
            fn subtract(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
                $(self.$index.subtract(&mut accumulator.$index, &other.$index);)+
            }

            #[inline]
            fn finish(&self, accumulator: &Self::Accumulator) -> Self::Output {
                ($(self.$index.finish(&accumulator.$index),)+)
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
