//! What travels in a lane of a dataflow.

use crate::batch::Batch;
use crate::checkpoint::Epoch;
use crate::time::Timestamp;

/// One entry of a lane. Order is the order of sending, for all kinds together.
#[derive(Debug, Clone)]
pub enum Message<T> {
    /// Items. Makes an idle lane active again.
    Batch(Batch<T>),
    /// Items that came after their source's watermark had reached `limit`: late where that is past the end of
    /// their window. Carried with them, so that what is late does not depend on when it is looked at.
    Late {
        /// The watermark of their source when they came.
        limit: Timestamp,
        /// The items.
        batch: Batch<T>,
    },
    /// No later item of this lane should have an earlier time; one that has is late. Makes an idle lane
    /// active again.
    Watermark(Timestamp),
    /// Nothing may come for a while: do not wait for this lane's watermark.
    Idle,
    /// What came before belongs to this checkpoint, what comes after does not.
    Barrier(Epoch),
    /// Nothing will ever come. After a watermark of [`Timestamp::MAX`] the input was finite and is complete;
    /// otherwise its source was stopped and windows stay open.
    End,
}

impl<T> Message<T> {
    /// Rough bytes for the mailbox's bound.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Batch(batch) | Self::Late { batch, .. } => batch.column_bytes(),
            Self::Watermark(_) | Self::Idle | Self::Barrier(_) | Self::End => size_of::<Self>(),
        }
    }
}
