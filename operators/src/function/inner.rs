//! What a function around another one passes on to it.

/// Implements calls of [`AggregateFunction`](super::AggregateFunction) by those of the function in a field, whose type is
/// named behind the colon: all that have to do with the accumulator, but for `add`; and `finish`, unless results are others
/// (`but finish`).
macro_rules! inner_function {
    ($field:ident: $function:ident) => {
        $crate::function::inner_function!($field: $function but finish);

        type Output = $function::Output;

        #[inline]
        fn finish(&self, accumulator: &Self::Accumulator) -> Self::Output {
            self.$field.finish(accumulator)
        }
    };
    ($field:ident: $function:ident but finish) => {
        type Accumulator = $function::Accumulator;
        const MERGES: bool = $function::MERGES;
        const INVERTS: bool = $function::INVERTS;
        const GROWS: bool = $function::GROWS;

        fn parameters(&self) -> String {
            self.$field.parameters()
        }

        #[inline]
        fn create(&self) -> Self::Accumulator {
            self.$field.create()
        }

        #[inline]
        fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
            self.$field.merge(accumulator, other);
        }

        #[inline]
        fn subtract(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
            self.$field.subtract(accumulator, other);
        }
    };
}

pub(crate) use inner_function;
