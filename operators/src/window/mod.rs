//! Windows over keyed streams: which items belong together, and when their result is given out.
//!
//! Place: behind an exchange, fused with what follows. [`TumblingWindows`] and [`SlidingWindows`] are the aligned
//! ones, whose boundaries are the same for all keys; both collect items in slices, one table per slice, so that an
//! item costs one lookup however many windows it is in.
//! Invariants: (1) a window's result at the watermark has every item that was not late for it; (2) whether an
//! item is late is decided by the watermark of its own source when it came, never by how far this operator has got;
//! (3) a window's state is gone once the watermark has passed its end by the allowed lateness; (4) what is late goes
//! to the late sink, never silently away.
//! Threads: one owner per partition. Failure: an aggregate function that panics ends the stage.
//! Cost: see the operators. Not here: what is computed, see [`function`](crate::function).

mod aligned;
mod count;
mod early;
mod fifo;
mod global;
mod late;
mod pane;
mod portion;
mod pre_aggregate;
mod result;
mod session;
mod slices;
mod sliding;
mod sums;
mod timing;
mod trigger;
mod triggered;
mod tumbling;

#[cfg(test)]
mod restarts;
#[cfg(test)]
mod tests;

pub(crate) use aligned::by_span;
pub(crate) use aligned::{Shape, Span};
pub(crate) use slices::Slices;

pub use aligned::{Sliding, TimeDomain, Tumbling};
pub use count::{Count, CountWindows};
pub use global::Global;
pub use late::{CountLate, LateCounts};
pub use portion::{LatePortions, Merging, Portion};
pub use pre_aggregate::{PreAggregate, Slicing};
pub use result::{Revision, Window, Windowed};
pub use session::{Session, SessionWindows};
pub use sliding::SlidingWindows;
pub use timing::{Timed, Timing};
pub use trigger::{Trigger, Triggered};
pub use triggered::{Spans, TriggeredWindows};
pub use tumbling::TumblingWindows;
