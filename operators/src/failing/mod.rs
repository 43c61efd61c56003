//! Items that user code fails on: tried again, kept as dead letters, and what comes later of their key waits behind them.
//!
//! Place: inside of the operators that may fail ([`TryItems`](crate::stateless::TryItems),
//! [`TryProcess`](crate::keyed::TryProcess)), which ask it before each item and hand it what failed. It has the items; the
//! letter in `state/` is a copy for people. Decisions come from the log, see [`ItemLetters`].
//! Invariants: (1) while an item of a key waits, later items of the key wait behind it in their order, and all other keys
//! go on; (2) what waits, how often it was tried and up to which decision was read is one part of the checkpoint, so a
//! restart neither loses nor doubles an item and carries a decision out once; (3) a decision names its letter and how many
//! redrives it knew of: of two that know of the same the first counts.
//! Bounds: [`WaitingLimits`], per partition of the stage. Threads: one owner. Failure: a bound that is reached, a policy
//! that halts, a store or log that fails end the stage.
//! Cost: with nothing waiting one branch per item and one per turn. What waits is part of each checkpoint that it changed
//! before. Watermarks are not held back: an item that is tried again keeps its event time and may be late for what follows.
//! Not here: events of projections, see [`projection`](crate::projection), whose position in the log they wait in.

mod cause;
mod deciding;
mod entry;
mod filter;
mod heads;
mod hook;
mod letters;
mod outside;
mod parked;
mod policy;
mod running;
mod saved;
mod standing;
mod telling;
mod turns;

#[cfg(test)]
mod tests;

pub use cause::{Classed, Failure};
pub use hook::limit_panic_messages;
pub use letters::{DecisionLog, ItemLetters, LetterStanding, ParkedItem, is_of_item, letter_stage};
pub use policy::{ItemPolicy, Then, WaitingLimits, WhenFull};

pub use crate::projection::FailurePolicy;

pub(crate) use cause::{ERROR, NOT_TRIED, guarded};
pub(crate) use entry::{Arrived, Place, Work};
pub(crate) use filter::Filter;
pub(crate) use parked::Failing;
pub(crate) use standing::{Standing, Stands};
pub(crate) use telling::Telling;
