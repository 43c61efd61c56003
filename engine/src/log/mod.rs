//! The event log: frames, and what stores them.
//!
//! Place: below everything else. Invariants: offsets have no gaps; a frame is stored whole or not at
//! all; each frame names the hash of the one before it in its partition, so a change to a stored byte
//! is seen; what a reader sees is durable.
//!
//! [`LogStore`] and [`LogReader`] ask nothing that a topic of a distributed log could not give: one
//! writer per partition, frames as records, atomic append, reads from an offset.

mod at_time;
mod embedded;
mod error;
mod feed;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod frame;
mod frame_cache;
mod index_chunks;
mod index_damage;
mod indexes;
mod stamps;
mod stats;
mod stream;
mod subscription;
mod writer;

pub use embedded::{EmbeddedLog, EmbeddedReader, EmbeddedStore, MAP_BYTES_DEFAULT, Verified};
pub use error::LogError;
pub(crate) use feed::recorded_before;
pub use feed::{Feed, FrameSlice, LogCursor, WantedKinds};
pub use stamps::{Asked, Stamp, Stamps};
pub use stats::PartitionStats;
pub use stream::{Direction, StreamReader, StreamRef, for_each_event};
pub use subscription::{Subscription, SubscriptionLimits};
pub use writer::{
    Committed, GroupWriter, LogWriter, LogWriterThread, SteppedLogWriter, Submission,
};

use std::sync::Arc;

use crate::event::{Offset, PartitionId};
use crate::time::Timestamp;
use frame::{Frame, FrameHash, FrameHeader, FramePart, SealedFrame};

/// Where a partition ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Offset that the next event gets; the number of events so far.
    pub next: Offset,
    /// Hash of the last frame; zeros when there is none.
    pub hash: FrameHash,
}

/// The write side of a log. One thread owns it.
pub trait LogStore: Send {
    /// Stores a group of frames, all or none; durable when it returns.
    ///
    /// # Errors
    /// [`LogError::Chain`] when a frame does not follow the head of its partition, else what the store says.
    fn append(&mut self, group: &[SealedFrame]) -> Result<(), LogError>;
}

/// The read side of a log: any number of threads, never waiting for the writer.
pub trait LogReader: Send + Sync {
    /// Number of partitions, fixed when the log was created.
    fn partitions(&self) -> u16;

    /// Where a partition ends.
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`], [`LogError::Frame`], [`LogError::Store`].
    fn head(&self, partition: PartitionId) -> Result<Head, LogError>;

    /// Frames from the one that holds `from` on, oldest first, until they take about `bytes_max` of memory and at
    /// least one: compression may have made them far smaller. Empty means that nothing is at or after `from` yet. The first frame may begin before `from`.
    ///
    /// # Errors
    /// As [`head`](Self::head), and [`LogError::Chain`] for a gap.
    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, LogError>;

    /// As [`read`](Self::read), for a reader that wants a part of each frame: the rest may be [passed
    /// over](frame::Frame::parse_part). Cost: in proportion to what is wanted where frames have enough of each kind for them
    /// to lie apart.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_part(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
        part: FramePart<'_>,
    ) -> Result<Vec<Frame>, LogError> {
        let _ = part;
        self.read(partition, from, bytes_max)
    }

    /// The one frame that holds `offset`; `None` when nothing is there yet.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn frame_at(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<Arc<Frame>>, LogError> {
        let found = self.read(partition, offset, 1)?;
        Ok(found.into_iter().next().map(Arc::new))
    }

    /// The head of the frame that holds `offset`; `None` when nothing is there yet. Its checksum need not be looked at:
    /// for searches that prove what they found.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn frame_head(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<FrameHeader>, LogError> {
        let frame = self.frame_at(partition, offset)?;
        Ok(frame.map(|frame| *frame.header()))
    }

    /// The offset of the first event of a partition that was recorded at or after `time`; where the partition ends when
    /// there is none, so that events before it are those recorded earlier than `time`. Recorded time does not decrease
    /// within a partition, so nothing appended later changes an answer below the end.
    ///
    /// Cost: the heads of about log2(frames) frames, and two whole ones.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn first_recorded_at(
        &self,
        partition: PartitionId,
        time: Timestamp,
    ) -> Result<Offset, LogError> {
        at_time::first_recorded_at(self, partition, time, &|offset| {
            self.frame_head(partition, offset)
        })
    }
}
