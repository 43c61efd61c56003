//! Reading a frame: stored bytes in, events out.

use std::ops::Range;

use compact_str::CompactString;

use super::bytes::{Cursor, varint_bytes};
use super::header::{FrameError, FrameHeader};
use super::part::FramePart;
use super::records::Starts;
use super::sections::{Apart, ReadApart};
use super::{Encoding, HEADER_BYTES, Kind, hash_of};

/// A frame that was read and found whole, or [the part of it that was wanted](Self::parse_part).
#[derive(Clone, Debug)]
pub struct Frame {
    pub(super) header: FrameHeader,
    pub(super) kinds: Vec<Kind>,
    attachments: Vec<(u8, Range<usize>)>,
    pub(super) body: Vec<u8>,
    /// Where records begin in the body.
    pub(super) starts: Starts,
}

/// What stands before the records of a body, or at the beginning of a directory.
pub(super) struct ListedTables {
    pub(super) kinds: Vec<Kind>,
    /// Of the attachments, whose bytes are elsewhere.
    pub(super) tags: Vec<u8>,
    /// Where the lists end.
    pub(super) end: usize,
}

impl Frame {
    /// Reads a stored frame: checks its checksums, unpacks the body, reads every record once.
    ///
    /// # Errors
    /// [`FrameError`], on any bytes that a writer did not make. Never panics.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        Self::parse_part(bytes, FramePart::Whole)
    }

    /// As [`parse`](Self::parse), but of what lies apart only that part is looked at. Other events are then [passed
    /// over](Self::records).
    ///
    /// # Errors
    /// As [`parse`](Self::parse). What is wrong with what is not wanted is not found.
    pub fn parse_part(bytes: &[u8], part: FramePart<'_>) -> Result<Self, FrameError> {
        let header = FrameHeader::parse_checked(bytes)?;
        if header.is_apart {
            Self::parse_apart(header, bytes, part)
        } else {
            Self::parse_whole(header, bytes)
        }
    }

    fn parse_whole(header: FrameHeader, bytes: &[u8]) -> Result<Self, FrameError> {
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
        let mut cursor = Cursor::new(&body, 0);
        let kinds = read_kinds(&mut cursor)?;
        let attachments = read_attachments(&mut cursor)?;
        let starts = Starts::check(&body, cursor.at, header.count as usize, kinds.len())?;
        Ok(Self {
            header,
            kinds,
            attachments,
            body,
            starts,
        })
    }

    fn parse_apart(
        header: FrameHeader,
        bytes: &[u8],
        part: FramePart<'_>,
    ) -> Result<Self, FrameError> {
        let directory = &bytes[HEADER_BYTES..HEADER_BYTES + header.body_bytes];
        let tables = ListedTables::read(directory)?;
        let read = ReadApart::read(bytes, directory.len(), &tables, part)?;
        let starts = Starts::check_apart(&read.body, header.count as usize, &read.kinds)?;
        if part.is_whole() && !starts.are_all() {
            return Err(FrameError::Malformed {
                at: HEADER_BYTES,
                what: "all events are of a kind",
            });
        }
        Ok(Self {
            header,
            kinds: tables.kinds,
            attachments: read.attachments,
            body: read.body,
            starts,
        })
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
        let starts = starts.iter().map(|start| start + records_at as u32);
        Self {
            header,
            kinds: kinds.to_vec(),
            attachments: ranges,
            body,
            starts: Starts::unlooked(starts.collect()),
        }
    }

    /// The frame that a builder has just written, with its events by kind.
    pub(super) fn sealed_apart(header: FrameHeader, kinds: &[Kind], apart: Apart) -> Self {
        Self {
            header,
            kinds: kinds.to_vec(),
            attachments: apart.attachments,
            body: apart.body,
            starts: Starts::unlooked(apart.starts),
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
            + self.starts.memory_bytes()
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
}

impl ListedTables {
    /// The lists at the beginning of a directory.
    fn read(directory: &[u8]) -> Result<Self, FrameError> {
        let mut cursor = Cursor::new(directory, 0);
        let kinds = read_kinds(&mut cursor)?;
        let at = cursor.at;
        let tags = cursor.sized().ok_or(FrameError::Malformed {
            at,
            what: "tags of attachments",
        })?;
        Ok(Self {
            kinds,
            tags: tags.to_vec(),
            end: cursor.at,
        })
    }
}

// Counts come from the bytes, so nothing is reserved by them: a list ends where the bytes do.

fn read_kinds(cursor: &mut Cursor<'_>) -> Result<Vec<Kind>, FrameError> {
    let mut kinds = Vec::new();
    for _ in 0..cursor.varint().unwrap_or(u64::MAX) {
        let at = cursor.at;
        kinds.push(read_kind(cursor).ok_or(FrameError::Malformed { at, what: "a kind" })?);
    }
    Ok(kinds)
}

fn read_attachments(cursor: &mut Cursor<'_>) -> Result<Vec<(u8, Range<usize>)>, FrameError> {
    let mut attachments = Vec::new();
    for _ in 0..cursor.varint().unwrap_or(u64::MAX) {
        let at = cursor.at;
        let fault = FrameError::Malformed {
            at,
            what: "an attachment",
        };
        let (Some(tag), Some(bytes)) = (cursor.byte(), cursor.sized()) else {
            return Err(fault);
        };
        attachments.push((tag, cursor.at - bytes.len()..cursor.at));
    }
    Ok(attachments)
}

fn read_kind(cursor: &mut Cursor<'_>) -> Option<Kind> {
    Some(Kind {
        category: CompactString::from(cursor.text()?),
        event_type: CompactString::from(cursor.text()?),
        schema_version: u32::try_from(cursor.varint()?).ok()?,
        encoding: Encoding::from_byte(cursor.byte()?)?,
    })
}

/// For tests: checksums that fit the sections, as far as the directory can be read.
#[cfg(test)]
pub(super) fn seal_sections(bytes: &mut [u8], directory: usize) {
    let (lines, mut rest) = bytes[HEADER_BYTES..].split_at_mut(directory);
    let Ok(tables) = ListedTables::read(lines) else {
        return;
    };
    let mut at = tables.end;
    loop {
        let mut cursor = Cursor::new(lines, at);
        let (Some(_), Some(stored)) = (cursor.varint(), cursor.varint()) else {
            return;
        };
        let crc_at = cursor.at;
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        let Some((section, behind)) = std::mem::take(&mut rest).split_at_mut_checked(stored) else {
            return;
        };
        let Some(place) = lines.get_mut(crc_at..crc_at + 4) else {
            return;
        };
        place.copy_from_slice(&crc32c::crc32c(section).to_be_bytes());
        (rest, at) = (behind, crc_at + 4);
    }
}
