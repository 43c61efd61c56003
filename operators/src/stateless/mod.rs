//! Operators that keep no state: what each item becomes depends on the item alone.
//!
//! Place: fused into the stage they are declared in. Cost: what the closure costs. Failure: a closure that
//! panics ends the stage, but for those of [`TryItems`], which keeps what its function fails on.

mod filter;
mod filter_map;
mod flat_map;
mod fork;
mod inspect;
mod map;
mod sample;
mod split_result;
mod try_errors;
mod try_items;

pub use filter::Filter;
pub use filter_map::FilterMap;
pub use flat_map::FlatMap;
pub use fork::{Choose, Fork, Tee, ToAll, ToOne};
pub use inspect::Inspect;
pub use map::{Map, MapTimed};
pub use sample::{Sample, SampleEvery};
pub use split_result::SplitResult;
pub use try_errors::{Again, TryErrors};
pub use try_items::{
    NoOrder, Order, OrderByKey, TryFilterMap, TryFlatMap, TryFunction, TryItems, TryMap,
};
