//! Joins of two keyed streams: what meets whom, and for how long an item waits for a partner.
//!
//! Place: behind two exchanges that split equal keys alike; takes [`Side`](millstream_engine::flow::Side)s.
//! [`IntervalJoin`] is for items near each other in time, [`TumblingJoin`] and [`SlidingJoin`] for those of one window,
//! [`LatestJoin`] and [`AsOfJoin`] look a stream's items up in a table, [`TableJoin`] and [`ForeignJoin`] join tables
//! given as changes, [`UnboundedJoin`] and [`UniqueJoin`] hold everything.
//! Invariants: (1) joins by event time give the same results however the sides are interleaved: a pair depends on the
//! two times and on the watermarks of the items' own sources; (2) each join states when its state is gone; (3) what
//! is late goes to the late sink.
//! Threads: one owner per partition. Failure: a closure that panics ends the stage.
//! State lies in tables: checkpoints hold what has changed of it; what is rebuilt are the queues. Cost: see the operators. A clone of a join is the same
//! join with nothing in it.

mod as_of;
mod between;
mod change;
mod due;
mod foreign;
mod group;
mod interval;
mod keyed;
mod latest;
mod pending;
mod pieces;
mod result;
mod run;
mod sliding;
mod tables;
mod tumbling;
mod unbounded;
mod unique;
mod waiting;

#[cfg(test)]
mod tests;

use std::time::Duration;

use millstream_engine::time::Timestamp;

pub use as_of::{AsOf, AsOfJoin};
pub use change::{Change, Update};
pub use foreign::{ForeignJoin, ForeignKeys, Reference, Settle, Settling};
pub use group::{CoGroup, GroupResult, Items};
pub use interval::{Bounds, IntervalJoin};
pub use latest::{Latest, LatestJoin};
pub use result::{FullOuter, Inner, JoinResult, LeftOuter};
pub use sliding::SlidingJoin;
pub use tables::TableJoin;
pub use tumbling::TumblingJoin;
pub use unbounded::UnboundedJoin;
pub use unique::UniqueJoin;

/// Whole microseconds.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The watermark of an output that may be earlier than its cause by `by`.
fn held_back(watermark: Timestamp, by: i64) -> Timestamp {
    match watermark {
        Timestamp::MAX => Timestamp::MAX,
        watermark => Timestamp(watermark.0.saturating_sub(by)),
    }
}
