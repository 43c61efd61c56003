//! Operators that keep no state: what each item becomes depends on the item alone.
//!
//! Place: fused into the stage they are declared in. Cost: what the closure costs. Failure: a closure that
//! panics ends the stage.

mod filter;
mod filter_map;
mod flat_map;
mod fork;
mod inspect;
mod map;
mod sample;
mod split_result;

pub use filter::Filter;
pub use filter_map::FilterMap;
pub use flat_map::FlatMap;
pub use fork::{Choose, Fork, Tee, ToAll, ToOne};
pub use inspect::Inspect;
pub use map::{Map, MapTimed};
pub use sample::{Sample, SampleEvery};
pub use split_result::SplitResult;
