//! Aggregate functions: what windows, tables and pre-aggregations compute of their items, one function per file.
//!
//! Place: used by the keyed operators; knows nothing of the engine but [`Timestamp`]. Threads: none; a function is
//! cloned to every partition and an accumulator has one owner. Not here: the aggregates of the write side, which
//! are in [`aggregate`](crate::aggregate); when a result is given.
//!
//! [`Timestamp`]: millstream_engine::time::Timestamp

mod contract;
mod count;

pub use contract::AggregateFunction;
pub use count::{Count, count};
