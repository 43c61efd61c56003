//! What stands before a frame's body.

use uuid::Uuid;

use super::{
    APART, BODY_BYTES_MAX, CRC_AT, FORMAT_VERSION, FrameHash, HASH_AT, HEADER_BYTES, crc_of,
};
use crate::event::{Offset, PartitionId};
use crate::time::Timestamp;

/// Why bytes are not a frame. Nothing of such a frame may be used; positions are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Shorter than a header.
    #[error("frame of {bytes} bytes is shorter than its header of {HEADER_BYTES}")]
    Short {
        /// Length found.
        bytes: usize,
    },
    /// Written by a newer program: open the store with that.
    #[error(
        "frame has format version {found}, this program knows {FORMAT_VERSION} and {APART}: open the store with the program that wrote it or a newer one"
    )]
    Version {
        /// Version found.
        found: u8,
    },
    /// The bytes are not those that were written.
    #[error("frame checksum is {found:08x}, its bytes give {computed:08x}")]
    Checksum {
        /// Stored checksum.
        found: u32,
        /// Checksum of the bytes.
        computed: u32,
    },
    /// The checksum holds but the hash does not: the frame was changed on purpose.
    #[error("frame hash does not match its bytes: the frame was changed after it was written")]
    Hash,
    /// The checksum holds but the content is not what a writer makes.
    #[error("frame content is malformed at byte {at}: {what}")]
    Malformed {
        /// Byte of the stored frame when in the header, of the uncompressed body otherwise.
        at: usize,
        /// What was expected.
        what: &'static str,
    },
}

/// What stands before the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The partition.
    pub partition: PartitionId,
    /// Offset of the first event.
    pub first: Offset,
    /// Number of events, at least 1.
    pub count: u32,
    /// Recorded time of the first event.
    pub recorded_first: Timestamp,
    /// Recorded time of the last event.
    pub recorded_last: Timestamp,
    /// Base of the events' ids.
    pub ids: Uuid,
    /// Hash of the frame before.
    pub previous: FrameHash,
    /// Hash of this frame.
    pub hash: FrameHash,
    pub(super) is_packed: bool,
    /// Whether the events lie by kind.
    pub(super) is_apart: bool,
    /// Of the body before compression; of the directory where events lie by kind.
    pub(super) body_bytes: usize,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the header's length was checked")
}

impl FrameHeader {
    /// Offset after the last event: where the next frame begins.
    pub fn end(&self) -> Offset {
        self.first.plus(u64::from(self.count))
    }

    /// Reads the header alone, without looking at the checksum.
    ///
    /// # Errors
    /// [`FrameError`] when it is too short, of another version or makes no sense.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() < HEADER_BYTES {
            return Err(FrameError::Short { bytes: bytes.len() });
        }
        if ![FORMAT_VERSION, APART].contains(&bytes[0]) {
            return Err(FrameError::Version { found: bytes[0] });
        }
        let is_apart = bytes[0] == APART;
        let malformed = |at, what| Err(FrameError::Malformed { at, what });
        if bytes[1] > u8::from(!is_apart) {
            return malformed(1, "compression is 0 or 1, and 0 where events lie by kind");
        }
        let body_bytes = u32::from_be_bytes(array(bytes, 16)) as usize;
        if body_bytes > BODY_BYTES_MAX {
            return malformed(16, "body is at most 64 MiB");
        }
        if is_apart && body_bytes > bytes.len() - HEADER_BYTES {
            return malformed(16, "the frame has its directory");
        }
        let count = u32::from_be_bytes(array(bytes, 12));
        let first = u64::from_be_bytes(array(bytes, 4));
        if count == 0 || first.checked_add(u64::from(count)).is_none() {
            return malformed(4, "offsets are at least one and fit 64 bits");
        }
        let time = |at| Timestamp(i64::from_be_bytes(array(bytes, at)));
        Ok(Self {
            partition: PartitionId(u16::from_be_bytes(array(bytes, 2))),
            first: Offset(first),
            count,
            recorded_first: time(20),
            recorded_last: time(28),
            ids: Uuid::from_bytes(array(bytes, 36)),
            previous: FrameHash(array(bytes, 52)),
            hash: FrameHash(array(bytes, HASH_AT)),
            is_packed: bytes[1] == 1,
            is_apart,
            body_bytes,
        })
    }

    /// Length of the directory, where events lie by kind.
    #[cfg(test)]
    pub(super) fn directory_bytes(&self) -> Option<usize> {
        self.is_apart.then_some(self.body_bytes)
    }

    /// Reads the header and looks at the checksum, of which the body is a part (where events lie by kind: its directory), but
    /// unpacks nothing.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`FrameError::Checksum`].
    pub fn parse_checked(bytes: &[u8]) -> Result<Self, FrameError> {
        let header = Self::parse(bytes)?;
        let found = u32::from_be_bytes(array(bytes, CRC_AT));
        let body = &bytes[HEADER_BYTES..];
        let covered = if header.is_apart {
            &body[..header.body_bytes]
        } else {
            body
        };
        let computed = crc_of(bytes, covered);
        if found != computed {
            return Err(FrameError::Checksum { found, computed });
        }
        Ok(header)
    }
}
