//! How far a projection has come, and whether the log still agrees.

use crate::event::{Offset, PartitionId};
use crate::log::frame::FrameHash;
use crate::log::{LogError, LogReader};

use super::ProjectionId;
use super::wire::{FORMAT_VERSION, Input, sealed};

/// How far a projection has come in one partition. Committed with the rows that it explains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Offset of the first event that was not applied; events that were passed over count as applied.
    pub next: Offset,
    /// The frame that holds the event before `next`: its first offset, and its hash. `None` only while
    /// `next` is 0.
    pub frame: Option<(Offset, FrameHash)>,
}

/// What the log says to a stored progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressStanding {
    /// The log holds what was applied: go on from `next`.
    Valid,
    /// The log ends before what was applied, such as after the restore of a backup: discard and rebuild.
    AheadOfLog,
    /// The log holds something else there: discard and rebuild.
    OtherHistory,
}

impl Progress {
    /// Compares this progress with the frame that the log holds at its place. Cost: reads one frame.
    ///
    /// # Errors
    /// As [`LogReader::read`]; nothing is known then.
    pub fn check(
        &self,
        reader: &(impl LogReader + ?Sized),
        partition: PartitionId,
    ) -> Result<ProgressStanding, LogError> {
        match (self.frame, self.next) {
            (None, Offset(0)) => Ok(ProgressStanding::Valid),
            (Some((first, hash)), Offset(next)) if next > first.0 => {
                let last = Offset(next - 1);
                standing(reader, partition, last, first, hash)
            }
            // Progress without the frame that proves it, or before it: no writer of ours makes that.
            _ => Ok(ProgressStanding::OtherHistory),
        }
    }

    /// As it is stored, here and among the positions of dataflows: these have no seal, so it has a checksum of its own.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        out.extend_from_slice(&self.next.0.to_be_bytes());
        if let Some((first, hash)) = self.frame {
            out.extend_from_slice(&first.0.to_be_bytes());
            out.extend_from_slice(&hash.0);
        }
        sealed(out)
    }

    /// From its stored bytes; `None` if they are none of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input::unsealed(bytes)?;
        let next = Offset(input.u64()?);
        if input.clone().rest().is_empty() {
            return Some(Self { next, frame: None });
        }
        let frame = Some((Offset(input.u64()?), FrameHash(input.array()?)));
        input.finish(Self { next, frame })
    }
}

/// Whether the event at `offset` lies in the frame that begins at `first` and has this hash.
fn standing(
    reader: &(impl LogReader + ?Sized),
    partition: PartitionId,
    offset: Offset,
    first: Offset,
    hash: FrameHash,
) -> Result<ProgressStanding, LogError> {
    if offset >= reader.head(partition)?.next {
        return Ok(ProgressStanding::AheadOfLog);
    }
    let frames = reader.read(partition, offset, 1)?;
    let is_same = frames.first().is_some_and(|frame| {
        let header = frame.header();
        header.hash == hash && header.first == first
    });
    Ok(if is_same {
        ProgressStanding::Valid
    } else {
        ProgressStanding::OtherHistory
    })
}

/// Key of a progress: the projection, then the partition.
pub(super) fn progress_key(projection: ProjectionId, partition: PartitionId) -> [u8; 6] {
    let mut key = [0; 6];
    key[..4].copy_from_slice(&projection.0.to_be_bytes());
    key[4..].copy_from_slice(&partition.0.to_be_bytes());
    key
}
