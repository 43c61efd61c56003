//! Time as the engine knows it: timestamps, and the one clock that everything asks.
//!
//! Invariants: no other module reads the machine's clocks, so tests and simulation can replace time
//! as a whole. Wall time may jump either way; monotonic time never goes back.

mod clock;
mod timestamp;

pub use clock::{Clock, ManualClock, SystemClock};
pub use timestamp::Timestamp;
