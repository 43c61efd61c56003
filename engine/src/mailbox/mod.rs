//! Bounded mailbox of one receiving actor, with one lane per sender.
//!
//! Place: between stages, and between callers and partitions; data never waits in ractor's own
//! queues, which have no bound. [`Mailbox`] holds what the lanes share (credits, wake-up, counters),
//! [`Mailbox::lane`] makes a typed lane; lanes of different types may share a mailbox. [`Mailbox::own_lane`] makes one
//! with a bound of its own.
//! Invariants: (1) order is kept within a lane, not between lanes; (2) credits in use never pass the
//! limits, see [`Credits`]; (3) an item in a lane is followed by a wake-up, see [`WakeFlag`]; (4) what a
//! lane refuses goes back to the sender inside the error.
//! Threads: senders anywhere; drains of one lane from one thread at a time.
//! Failure: a receiver that dies leaves its items in the lanes for the one that takes over. When the
//! last receiver of a lane is dropped, the lane is closed and what it held is dropped.
//! Cost: per item two compare-and-swaps, a fence and a load; no allocation, no clock. Per drain one
//! release of credits, per wake-up one clock read. Every lane reserves `items_max` slots when made.
//! Not here: choosing how much to drain (`batch`), running the receiver (`stage`).

mod credits;
mod error;
mod lane;
mod shared;
mod wake_flag;

// The atomics of `WakeFlag`; its loom test puts loom's in their place.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

#[cfg(test)]
mod tests;

pub use credits::{Credits, MailboxLimits};
pub use error::{Closed, Overloaded};
pub use lane::{DrainSummary, LaneReceiver, LaneSender};
pub use shared::{Mailbox, MailboxStatistics, Wake};
pub use wake_flag::WakeFlag;
