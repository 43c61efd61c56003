//! The contract between what computes (a function) and what keeps (a window, a table, a pre-aggregation).
//!
//! Place: the lowest file of this module; every function implements [`AggregateFunction`], every window asks it.
//! Invariants a function must keep: (1) `create` is neutral: merging it changes nothing; (2) where
//! [`MERGES`](AggregateFunction::MERGES), adding some items here, the others there and merging gives what adding
//! all of them in one place gives; (3) where [`INVERTS`](AggregateFunction::INVERTS), `subtract` undoes a `merge`
//! exactly. Whoever keeps accumulators relies on all three and tests none of them.
//! Not here: keys, time bounds, when a result is given; those belong to the window.

use millstream_engine::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a window (or a table, or a pre-aggregation) computes of its items.
///
/// The value itself holds only what the function was built with (closures, parameters); what it has seen lies in
/// the accumulator. A function of one's own:
///
/// ```
/// use millstream_engine::time::Timestamp;
/// use millstream_operators::function::AggregateFunction;
///
/// /// The share of temperatures above zero.
/// #[derive(Clone)]
/// struct ShareAboveZero;
///
/// impl AggregateFunction<f64> for ShareAboveZero {
///     type Accumulator = (u64, u64); // above zero, all
///     type Output = Option<f64>;
///     const MERGES: bool = true;
///
///     fn create(&self) -> (u64, u64) {
///         (0, 0)
///     }
///     fn add(&self, (above, all): &mut (u64, u64), _time: Timestamp, item: &f64) {
///         *above += u64::from(*item > 0.0);
///         *all += 1;
///     }
///     fn merge(&self, into: &mut (u64, u64), other: &(u64, u64)) {
///         into.0 += other.0;
///         into.1 += other.1;
///     }
///     fn finish(&self, &(above, all): &(u64, u64)) -> Option<f64> {
///         (all > 0).then(|| above as f64 / all as f64)
///     }
/// }
///
/// let function = ShareAboveZero;
/// let mut accumulator = function.create();
/// for temperature in [-3.0, 4.0, 0.5, 9.0] {
///     function.add(&mut accumulator, Timestamp::EPOCH, &temperature);
/// }
/// assert_eq!(function.finish(&accumulator), Some(0.75));
/// ```
pub trait AggregateFunction<T>: Clone + Send + 'static {
    /// What is kept per key and window. Small is fast: there is one of these per key per slice.
    type Accumulator: Clone + Send + Serialize + DeserializeOwned + 'static;
    /// What is handed on when the window closes.
    type Output;

    /// Whether [`merge`](Self::merge) is implemented: sessions and pre-aggregation need it, and it lets sliding
    /// windows share slices.
    const MERGES: bool = false;

    /// Whether [`subtract`](Self::subtract) is implemented: lets a sliding window drop one slice instead of
    /// merging all the others. Implies [`MERGES`](Self::MERGES). Must be exact, so nothing that adds floats.
    const INVERTS: bool = false;

    /// Whether an accumulator may grow with the items that it takes in, as a list or a set of them does. Overlapping windows
    /// of one that merges and does not invert share merges, and keep sums of slices for it, one for each slice: of
    /// accumulators that grow, as much as the square of the items. Where this says so, they look at how many bytes
    /// accumulators take: those whose sum is hardly smaller than they are, as lists, are kept once and merged for each window,
    /// which costs about as much as its result; of others, as of sets with few values, there are sums that together take about
    /// twice as much as the slices, at most. Changes no result.
    const GROWS: bool = false;

    /// The parameters that accumulators depend on, as text: the precision of a sketch, the length of a list. Windows and
    /// running aggregates store it beside their accumulators and refuse those that were stored with another at the start,
    /// by a [`CheckpointError::Parameters`](millstream_engine::checkpoint::CheckpointError::Parameters) with both.
    /// Empty (the default): there are none, or any will do.
    fn parameters(&self) -> String {
        String::new()
    }

    /// The accumulator of no items.
    fn create(&self) -> Self::Accumulator;

    /// Takes in one item of event time `time`. Items come in any order.
    fn add(&self, accumulator: &mut Self::Accumulator, time: Timestamp, item: &T);

    /// Takes in all that `other` has taken in.
    ///
    /// # Panics
    /// Unless implemented: call it only where [`MERGES`](Self::MERGES).
    fn merge(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        let _ = (accumulator, other);
        unreachable!(
            "{} has no merge: set MERGES only together with an implementation of merge",
            std::any::type_name::<Self>()
        )
    }

    /// Takes back all that `other` has taken in, which must have been merged or added before.
    ///
    /// # Panics
    /// Unless implemented: call it only where [`INVERTS`](Self::INVERTS).
    fn subtract(&self, accumulator: &mut Self::Accumulator, other: &Self::Accumulator) {
        let _ = (accumulator, other);
        unreachable!(
            "{} has no subtract: set INVERTS only together with implementations of subtract and merge",
            std::any::type_name::<Self>()
        )
    }

    /// The result of what was taken in so far. The accumulator stays usable: early results ask more than once.
    fn finish(&self, accumulator: &Self::Accumulator) -> Self::Output;
}

/// What can be kept in an accumulator. Every type with these bounds is.
pub trait Stored: Clone + Send + Serialize + DeserializeOwned + 'static {}

impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Stored for T {}
