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

    /// Nothing more is pulled, and nobody will read on in this process. Not called where a run fails: the next one reads on.
    fn stop(&mut self) {}

    /// Whether there may be more at the next start where one found the end, as in another channel, or in a file that is followed
    /// and was not before. Default: what has ended stays so, also if its medium has grown, since everything behind was told that
    /// it is complete.
    fn may_go_on(&self) -> bool {
        false
    }

    /// Where it stands, for [`seek`](Self::seek); `None` if what was read cannot be read again, so that a restart
    /// after a failure goes on with what comes then.
    ///
    /// # Errors
    /// [`Fault`]: it cannot be known.
    fn position(&self) -> Result<Option<Vec<u8>>, Fault>;

    /// What it reads, each by a name that is the same at the next start, such as categories of the log. A position that was saved
    /// where none of these was read is another source's, and refused. Default: none, so that any position is taken.
    fn reads(&self) -> Vec<String> {
        Vec::new()
    }

    /// Goes to a position, before [`open`](Self::open): what is read first is what came after it.
    ///
    /// # Errors
    /// [`SeekError`]: it is none of this source, or the medium has another past.
    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError>;
}

/// A source cannot go to a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeekError {
    /// What was read up to there is not what the medium holds, as when it was restored from a backup: state that was made
    /// of it is to be discarded.
    #[error("what was read before is not what is there now: {0}")]
    OtherHistory(String),
    /// It cannot be read from there.
    #[error(transparent)]
    Failed(#[from] Fault),
}

/// A position that is a number, such as that of the next item.
pub fn number_position(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The number of such a position.
///
/// # Errors
/// [`SeekError::Failed`]: it is another kind of position.
pub fn position_number(position: &[u8]) -> Result<u64, SeekError> {
    let bytes = position.try_into();
    let bytes = bytes.map_err(|_| Fault("a position of another kind of source".to_owned()))?;
    Ok(u64::from_be_bytes(bytes))
}
