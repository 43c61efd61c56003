//! Operators with state per key that are not windows: what users write themselves, running aggregates, removal of
//! repeats, throttling.
//!
//! Place: behind an exchange by key, fused with what follows. [`Process`] drives a [`KeyedProcess`], which the others
//! here are too.
//! Invariants: (1) timers are kept once per key, kind of time and time, and fire in the order of their times, each before
//! any item of the key that comes after its time was reached; (2) what was kept with a time to live is dropped when that
//! is over, whether or not the key is seen again, and a key that holds nothing else is dropped with it; (3) after the
//! end of a complete input nothing is kept.
//! Bound: what the process keeps; one state per key until it is cleared, over, or as it began.
//! Threads: one owner per partition. Failure: a process that panics ends the stage, but for a [`TryKeyedProcess`]: what it
//! fails on waits, as [`failing`](crate::failing) says, and the state of its key is as it was.
//! Cost: per item one hash and one lookup, per timer a push into a queue of buckets with a clone of the key.

mod broadcast;
mod context;
mod dedup;
mod expiring;
mod plain;
mod process;
mod running;
mod table;
mod throttle;
mod timers;
mod try_batch;
mod try_call;
mod try_core;
mod try_process;

#[cfg(test)]
mod freed;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod tests;

pub use broadcast::BroadcastJoin;
pub use context::{Context, KeyedProcess, NoSide, Timer, Ttl};
pub use dedup::Dedup;
pub use expiring::{Deadline, Expiring, ExpiringList, ExpiringMap, KeyedState, Left, Now};
pub use process::Process;
pub use running::{Reducing, Running};
pub use throttle::Throttle;
pub use try_core::TryKeyedProcess;
pub use try_process::TryProcess;
