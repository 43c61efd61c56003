//! What a dataflow reads from.

use std::sync::Arc;
use std::time::Duration;

use super::operator::{Emit, Fault};
use crate::mailbox::Mailbox;
use crate::time::Timestamp;

/// What came of one pull of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// There may be more at once.
    More,
    /// Nothing is there now; the source wakes the mailbox it was opened with when there is.
    Pending,
    /// Nothing is there now; look again after this long.
    PendingFor(Duration),
    /// There is nothing more, ever.
    End,
}

/// An ordered input: a partition of the log, a file, a generator. A stage's partition reads one or several,
/// each with a watermark of its own.
pub trait Source: Send + 'static {
    /// What it reads.
    type Item;

    /// Before the first pull. `mailbox` is that of the stage: [`Mailbox::wake`] has it pull again.
    ///
    /// # Errors
    /// [`Fault`]: it cannot be read.
    fn open(&mut self, mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        let _ = mailbox;
        Ok(())
    }

    /// The watermark, where the source itself knows it; asked before and after each pull. Never decreases.
    fn watermark(&self) -> Option<Timestamp> {
        None
    }

    /// Emits up to `items_max` items (a few more where they come in pieces), each with the time that the medium
    /// has for it. Must not block.
    ///
    /// # Errors
    /// [`Fault`]: reading failed.
    fn pull<E: Emit<Self::Item>>(&mut self, items_max: usize, out: &mut E)
    -> Result<Pulled, Fault>;
}
