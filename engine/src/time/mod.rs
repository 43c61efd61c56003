//! Time: the stamp that events carry and the clock that processing asks.
//!
//! Place: the lowest module of the engine; nothing below it. [`SystemClock`] is the only code of the
//! workspace that reads the machine's clocks; tests and simulation put [`ManualClock`] in its place.
//! Invariants: a [`Timestamp`] is a plain number and may do anything (wall clocks jump, event time
//! comes from outside); [`Clock::monotonic`] never decreases. Not here: timers, watermarks.

mod clock;
mod timestamp;

pub use clock::{Clock, ManualClock, SystemClock};
pub use timestamp::{ParseTimestampError, Timestamp};
