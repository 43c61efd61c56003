//! Building one function out of another: `.map`, `.only` and `.of`.
//!
//! A trait of its own, because a function such as `count()` takes every item type: a method of the contract itself
//! could not tell which of them is meant. Not here: doing two things at once, which a tuple of functions does.

use super::map::Mapped;
use super::of::Of;
use super::only::Only;

/// The adaptors; every function of this module has them. For a function of one's own: `impl Adapt for Mine {}`.
///
/// ```
/// use millstream_engine::time::Timestamp;
/// use millstream_operators::function::{Adapt, AggregateFunction, count, max, sum};
///
/// // Orders above 100, their total in thousands, and the longest name.
/// let function = (
///     count().only(|order: &(String, u32)| order.1 > 100),
///     sum(|order: &(String, u32)| order.1).map(|total: u64| total as f64 / 1_000.0),
///     max(|name: &usize| *name).of(|order: &(String, u32)| order.0.len()),
/// );
/// let mut accumulator = function.create();
/// for order in [("Ann".to_owned(), 500), ("Oscar".to_owned(), 50)] {
///     function.add(&mut accumulator, Timestamp::EPOCH, &order);
/// }
/// assert_eq!(function.finish(&accumulator), (1, 0.55, Some(5)));
/// ```
pub trait Adapt: Sized {
    /// Hands the result through `map`. What is kept, merges and inverts stays as it was.
    fn map<O, U, M>(self, map: M) -> Mapped<Self, M>
    where
        M: Fn(O) -> U + Clone + Send + 'static,
    {
        Mapped::new(self, map)
    }

    /// Takes in only the items for which `wanted` is true.
    fn only<T, P>(self, wanted: P) -> Only<Self, P>
    where
        P: Fn(&T) -> bool + Clone + Send + 'static,
    {
        Only::new(self, wanted)
    }

    /// Takes in what `part` makes of an item instead of the item: a way to use a function that needs an order on
    /// items without one, or to keep less of each.
    fn of<T, U, P>(self, part: P) -> Of<Self, P>
    where
        P: Fn(&T) -> U + Clone + Send + 'static,
    {
        Of::new(self, part)
    }
}
