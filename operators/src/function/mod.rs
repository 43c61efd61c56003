//! Aggregate functions: what windows, tables and pre-aggregations compute of their items, one function per file.
//!
//! Place: used by the keyed operators; knows nothing of the engine but [`Timestamp`]. Threads: none; a function is
//! cloned to every partition and an accumulator has one owner. Failure: closures are user code and may panic; all but
//! [`fold`] call them before they change anything. A function's parameters and the type of its accumulator belong to
//! the state's version: an accumulator is not understood under others, so they are stored beside it and compared. Not here: the aggregates of the write side,
//! which are in [`aggregate`](crate::aggregate); when a result is given.
//!
//! [`Timestamp`]: millstream_engine::time::Timestamp

mod adapt;
mod collect;
mod contract;
mod count;
mod count_min;
mod distinct;
mod distinct_approximate;
mod extreme;
mod extreme_all;
mod extreme_item;
mod first_last;
mod fold;
mod heavy_hitters;
mod inner;
mod map;
mod mean;
mod of;
mod only;
mod quantiles;
mod ranked;
mod reduce;
mod registers;
mod stable_hash;
mod sum;
mod summable;
#[cfg(test)]
mod tests;
mod top_k;
mod tuple;
mod variance;

pub use adapt::Adapt;
pub use collect::{Collect, CollectSorted, collect, collect_sorted};
pub use contract::{AggregateFunction, Stored};
pub use count::{Count, count};
pub use distinct::{Distinct, DistinctSet, distinct, distinct_set};
pub use distinct_approximate::{DistinctApproximate, distinct_approximate};
pub use extreme::{Extreme, max, min};
pub use extreme_all::{ExtremeAll, max_all, min_all};
pub use extreme_item::{ExtremeItem, max_by_key, min_by_key};
pub use first_last::{ByTime, first, last};
pub use fold::{Fold, FoldMerging, fold, fold_merging};
pub use heavy_hitters::{Frequencies, HeavyHitters, heavy_hitters};
pub use map::Mapped;
pub use mean::{Mean, mean};
pub use of::Of;
pub use only::Only;
pub use quantiles::{Buckets, Distribution, MAGNITUDE_MAX, MAGNITUDE_MIN, Quantiles, quantiles};
pub use ranked::{Direction, Greatest, Least, Ranked};
pub use reduce::{Reduce, reduce};
pub use registers::Registers;
pub use stable_hash::{Hashed, StableHash};
pub use sum::{Sum, sum};
pub use summable::{Averaged, Summable};
pub use top_k::{TopK, top_k};
pub use variance::{Moments, Variance, stddev, stddev_sample, variance, variance_sample};

pub use crate::optional::Optional;

pub(crate) use inner::inner_function;
