//! The state of one aggregate at one moment.

use crate::event::Position;
use crate::log::frame::FrameHash;
use crate::log::{LogError, LogReader};

use super::ProgressStanding;

/// Largest state of one aggregate in bytes, 256 MiB.
pub const SNAPSHOT_BYTES_MAX: usize = 256 << 20;

/// State of one aggregate after some of its events. An answer from here saves replaying them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Version of the state's shape: bytes of another one are not read.
    pub aggregate_version: u32,
    /// Number of events applied; the version of the next one.
    pub stream_version: u64,
    /// Where the last event applied lies.
    pub position: Position,
    /// Hash of the frame that holds it.
    pub frame: FrameHash,
    /// The encoded state.
    pub bytes: Vec<u8>,
}

impl Snapshot {
    /// Whether the log holds what this snapshot was made from. Cost: reads the head of one frame, whose hash says all; nothing
    /// is unpacked, so that a state in memory again costs no more for lying in a large frame.
    ///
    /// # Errors
    /// As [`LogReader::frame_head`]; nothing is known then.
    pub fn check(&self, reader: &(impl LogReader + ?Sized)) -> Result<ProgressStanding, LogError> {
        let Position { partition, offset } = self.position;
        let head = reader.frame_head(partition, offset)?;
        Ok(match head {
            None => ProgressStanding::AheadOfLog,
            Some(head) if head.hash == self.frame => ProgressStanding::Valid,
            Some(_) => ProgressStanding::OtherHistory,
        })
    }
}
