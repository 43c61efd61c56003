//! Where a stage's items come from.

use std::time::Duration;

use super::operator::{Fault, Turn};
use crate::time::Clock;

/// What came of one pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// There may be more at once.
    More,
    /// Nothing is there; a wake-up comes with the next item.
    Idle,
    /// Nothing is there; look again after this long, or at a wake-up.
    IdleFor(Duration),
    /// Everything has come, and [`Operator::end`](super::Operator::end) was called.
    Ended,
}

/// Drives a stage's operator with what comes in.
///
/// Generic over the operator, so that driving it is compiled into one loop with it.
pub trait Head<O>: Send + 'static {
    /// What comes in.
    type Item;

    /// One bounded turn: gives items, watermarks, idleness and the end to `operator`, and stops early once
    /// that is blocked.
    ///
    /// # Errors
    /// [`Fault`]: the input failed.
    fn pull(&mut self, operator: &mut O, turn: &Turn, clock: &dyn Clock) -> Result<Pull, Fault>;

    /// Asks for an early end: sources read nothing more. Inlets end when their senders do.
    fn stop(&mut self) {}

    /// Whether it has told the operator that it is idle, and nothing has come since.
    fn is_idle(&self) -> bool {
        false
    }

    /// Whether it takes no input for a reason of its own, such as a rate or calls under way: that time counts as work,
    /// since those before it wait for it.
    fn holds_back(&self) -> bool {
        false
    }

    /// Items given to the operator so far.
    fn items_total(&self) -> u64;
}
