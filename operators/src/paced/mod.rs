//! Heads that hold their input back: calls that take time, and rates that must not be exceeded.
//!
//! Place: the beginning of a stage, around its inlet; an operator in the middle of a stage could not let a watermark
//! through later than it came. [`Recorder`] takes what the inlet gives, and the head gives it to the stage's operators
//! when its time has come.
//! Invariants: (1) no watermark, idleness or end overtakes an item; (2) each item is given on with the limit of
//! lateness that it came with; (3) at most one batch is held besides what is in flight: a head that holds enough does
//! not drain its lanes, so the senders wait.
//! Threads: that of the stage. Time: the engine's clock alone; the stage is stepped when the next deadline is there.
//! Failure: a closure or future that panics ends the stage. Not here: what an item becomes.

mod map_async;
mod options;
mod order;
mod rate_limit;
mod recorder;
mod wakers;

#[cfg(test)]
mod tests;

pub use map_async::MapAsync;
pub use options::{AsyncCause, AsyncError, AsyncOptions};
pub use rate_limit::RateLimit;
pub use recorder::{Mark, Recorded, Recorder, Teller};
