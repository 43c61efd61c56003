//! Where a stage's items come from.

use std::convert::Infallible;
use std::time::Duration;

use super::operator::{Discard, Fault, Operator, Turn};
use crate::checkpoint::{Epoch, Restoring, Saving};
use crate::time::{Clock, Timestamp};

/// What came of one pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// There may be more at once.
    More,
    /// Nothing is there; a wake-up comes with the next item.
    Idle,
    /// Nothing is there; look again after this long, or at a wake-up.
    IdleFor(Duration),
    /// The barrier of this checkpoint has come everywhere: state is to be saved before more is pulled.
    Barrier(Epoch),
    /// Everything has come, and [`Operator::end`](super::Operator::end) was called.
    Ended,
}

/// Tells an operator the end of its input, if nothing must come out before; if something must, the head looks again at its
/// next pull.
pub fn tell_end<T, O: Operator<T, Out = Infallible>>(operator: &mut O) -> Pull {
    if !operator.before_end(&mut Discard) {
        return Pull::More;
    }
    operator.end(&mut Discard);
    Pull::Ended
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

    /// The time up to which it has told the operator that its input is complete: `Timestamp::MIN` before any, `MAX` when
    /// nothing is to come.
    fn watermark(&self) -> Timestamp;

    /// Whether checkpoints begin here, instead of coming in.
    fn is_source(&self) -> bool {
        false
    }

    /// How long the last barrier was waited for, from the first lane to the last.
    fn aligned(&self) -> Duration {
        Duration::ZERO
    }

    /// Before the first pull, and behind [`restore`](Self::restore).
    ///
    /// # Errors
    /// [`Fault`]: it cannot be read.
    fn open(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// Gives where it stands: before the end of time, if the operator [holds it back](Saving::holds_end).
    ///
    /// # Errors
    /// [`Fault`]: it cannot be written.
    fn save(&self, saving: &mut Saving) -> Result<(), Fault>;

    /// Goes to where it stood; gives the watermark that it had told then.
    ///
    /// # Errors
    /// [`Fault`]: it cannot be read from there.
    fn restore(&mut self, restoring: &mut Restoring) -> Result<Timestamp, Fault>;
}
