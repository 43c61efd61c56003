//! Reading a frame: stored bytes in, events out.

use std::ops::Range;

use compact_str::CompactString;
use uuid::Uuid;

use super::bytes::{Cursor, varint_bytes};
use super::records::Mark;
use super::{
    BODY_BYTES_MAX, CRC_AT, FORMAT_VERSION, FrameHash, HASH_AT, HEADER_BYTES, crc_of, hash_of,
};
use super::{Encoding, Kind};
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
    #[error("frame has format version {found}, this program knows {FORMAT_VERSION}")]
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
    is_packed: bool,
    body_bytes: usize,
}

/// A frame that was read and found whole.
#[derive(Clone, Debug)]
pub struct Frame {
    pub(super) header: FrameHeader,
    pub(super) kinds: Vec<Kind>,
    attachments: Vec<(u8, Range<usize>)>,
    pub(super) body: Vec<u8>,
    pub(super) records_at: usize,
    /// Where records begin in the body, in strides.
    pub(super) marks: Vec<Mark>,
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
        if bytes[0] != FORMAT_VERSION {
            return Err(FrameError::Version { found: bytes[0] });
        }
        let malformed = |at, what| Err(FrameError::Malformed { at, what });
        if bytes[1] > 1 {
            return malformed(1, "compression is 0 or 1");
        }
        let body_bytes = u32::from_be_bytes(array(bytes, 16)) as usize;
        if body_bytes > BODY_BYTES_MAX {
            return malformed(16, "body is at most 64 MiB");
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
            body_bytes,
        })
    }

    /// Reads the header and looks at the checksum, of which the body is a part, but unpacks nothing.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`FrameError::Checksum`].
    pub fn parse_checked(bytes: &[u8]) -> Result<Self, FrameError> {
        let header = Self::parse(bytes)?;
        let found = u32::from_be_bytes(array(bytes, CRC_AT));
        let computed = crc_of(bytes, &bytes[HEADER_BYTES..]);
        if found != computed {
            return Err(FrameError::Checksum { found, computed });
        }
        Ok(header)
    }
}

impl Frame {
    /// Reads a stored frame: checks the CRC, unpacks the body, reads every record once.
    ///
    /// # Errors
    /// [`FrameError`], on any bytes that a writer did not make. Never panics.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let header = FrameHeader::parse_checked(bytes)?;
        let stored = &bytes[HEADER_BYTES..];
        let body = if header.is_packed {
            let fault = FrameError::Malformed {
                at: HEADER_BYTES,
                what: "body is an LZ4 block of the stated length",
            };
            let mut body = vec![0; header.body_bytes];
            match lz4_flex::block::decompress_into(stored, &mut body) {
                Ok(length) if length == body.len() => body,
                _ => return Err(fault),
            }
        } else {
            stored.to_vec()
        };
        if body.len() != header.body_bytes {
            return Err(FrameError::Malformed {
                at: 16,
                what: "body has the stated length",
            });
        }
        let mut frame = Self {
            header,
            kinds: Vec::new(),
            attachments: Vec::new(),
            body,
            records_at: 0,
            marks: Vec::new(),
        };
        frame.read_tables()?;
        frame.marks = frame.check_records()?;
        Ok(frame)
    }

    /// The frame that a builder has just written as `body`, whose last `records` bytes are the events, each
    /// beginning at one of `starts` in them.
    pub(super) fn sealed(
        header: FrameHeader,
        kinds: &[Kind],
        attachments: &[(u8, &[u8])],
        body: Vec<u8>,
        records: usize,
        starts: &[u32],
    ) -> Self {
        let records_at = body.len() - records;
        // Attachments stand right before the records, each behind its tag and length: found from the end.
        let mut end = records_at;
        let mut ranges = Vec::with_capacity(attachments.len());
        for (tag, bytes) in attachments.iter().rev() {
            let start = end - bytes.len();
            ranges.push((*tag, start..end));
            end = start - 1 - varint_bytes(bytes.len() as u64);
        }
        ranges.reverse();
        Self {
            header,
            kinds: kinds.to_vec(),
            attachments: ranges,
            marks: Mark::unlooked(starts, records_at as u32),
            body,
            records_at,
        }
    }

    /// Also recomputes the hash that the next frame names: what `verify` does, and replay does not.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`FrameError::Hash`].
    pub fn parse_verified(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = Self::parse(bytes)?;
        if hash_of(bytes, &bytes[HEADER_BYTES..]) == frame.header.hash {
            Ok(frame)
        } else {
            Err(FrameError::Hash)
        }
    }

    /// What stands before the events.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// About the memory that the frame takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.body.capacity()
            + self.marks.capacity() * size_of::<Mark>()
            + self.kinds.len() * size_of::<Kind>()
    }

    /// Kinds of the frame's events.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Bytes of the first attachment with this tag.
    pub fn attachment(&self, tag: u8) -> Option<&[u8]> {
        self.attachments
            .iter()
            .find(|(known, _)| *known == tag)
            .map(|(_, at)| &self.body[at.clone()])
    }

    fn read_tables(&mut self) -> Result<(), FrameError> {
        let mut cursor = Cursor::new(&self.body, 0);
        // Counts come from the bytes, so nothing is reserved by them: a list ends where the body does.
        let kinds = cursor.varint().unwrap_or(u64::MAX);
        for _ in 0..kinds {
            let at = cursor.at;
            let kind =
                read_kind(&mut cursor).ok_or(FrameError::Malformed { at, what: "a kind" })?;
            self.kinds.push(kind);
        }
        let attachments = cursor.varint().unwrap_or(u64::MAX);
        for _ in 0..attachments {
            let at = cursor.at;
            let fault = FrameError::Malformed {
                at,
                what: "an attachment",
            };
            let (Some(tag), Some(bytes)) = (cursor.byte(), cursor.sized()) else {
                return Err(fault);
            };
            self.attachments
                .push((tag, cursor.at - bytes.len()..cursor.at));
        }
        self.records_at = cursor.at;
        Ok(())
    }
}

fn read_kind(cursor: &mut Cursor<'_>) -> Option<Kind> {
    Some(Kind {
        category: CompactString::from(cursor.text()?),
        event_type: CompactString::from(cursor.text()?),
        schema_version: u32::try_from(cursor.varint()?).ok()?,
        encoding: Encoding::from_byte(cursor.byte()?)?,
    })
}
