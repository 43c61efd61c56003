//! The second format: events lie by kind, so that a reader takes what it wants and leaves the rest on the disk.
//!
//! | what | |
//! |---|---|
//! | directory | kinds and tags of attachments as in the first format, then a line per section |
//! | sections | one per attachment, then one per kind |
//!
//! A section's line: length before compression and as stored, as varints, then the CRC32C of what is stored. A section is an
//! LZ4 block if it became shorter by that. The header's checksum is over the directory, and thereby over all sections for
//! whoever reads them; its length of the body is that of the directory.
//!
//! The section of a kind: how many events are of it; for each, by how many its number in the frame is behind the one before
//! (the first: behind 0); then their records, in their order.

use std::ops::Range;

use super::bytes::{Cursor, put_varint, varint_bytes};
use super::header::FrameError;
use super::parse::ListedTables;
use super::part::FramePart;
use super::{BODY_BYTES_MAX, HEADER_BYTES};

/// Below this bytes are stored as they are: there is nothing to gain.
pub(super) const COMPRESS_BYTES_MIN: usize = 128;
/// Mean length of the records of a kind from which on they lie by kind: shorter sections compress badly, and passing over
/// them gains little.
const SECTION_BYTES_MIN: usize = 1024;
/// With more kinds a reader would look at more lines than it saves.
const KINDS_MAX: usize = 1 << 8;
/// Least that a section takes in a directory.
const LINE_BYTES_MIN: usize = 6;

/// Whether events of so many kinds, with so many bytes of records, lie by kind.
pub(super) fn are_apart(kinds: usize, record_bytes: usize) -> bool {
    (2..=KINDS_MAX).contains(&kinds) && record_bytes / kinds >= SECTION_BYTES_MIN
}

/// The body of a frame before compression, with its sections one behind the other.
pub(super) struct Apart {
    pub(super) body: Vec<u8>,
    /// Where each event begins.
    pub(super) starts: Vec<u32>,
    /// Where the attachments are.
    pub(super) attachments: Vec<(u8, Range<usize>)>,
    sections: Vec<Range<usize>>,
}

impl Apart {
    /// Sorts records by kind. Each begins at one of `starts` in `records`, and is of the kind at its number in `kind_of`.
    pub(super) fn of(
        records: &[u8],
        starts: &[u32],
        kind_of: &[u8],
        kinds: usize,
        attachments: &[(u8, &[u8])],
    ) -> Self {
        let ends = starts.iter().skip(1).map(|&end| end as usize);
        let ends = ends.chain([records.len()]);
        let of_events = starts.iter().map(|&start| start as usize).zip(ends);
        let of_events = of_events.zip(kind_of.iter().map(|&kind| usize::from(kind)));
        let mut heads = vec![Head::default(); kinds];
        for (slot, ((start, end), kind)) in of_events.clone().enumerate() {
            heads[kind].add(slot, end - start);
        }
        let extra: usize = attachments.iter().map(|(_, bytes)| bytes.len()).sum();
        let own: usize = heads.iter().map(Head::section_bytes).sum();
        let mut body = Vec::with_capacity(extra + own);
        let mut sections = Vec::with_capacity(attachments.len() + kinds);
        let mut places = Vec::with_capacity(attachments.len());
        for (tag, bytes) in attachments {
            let at = body.len()..body.len() + bytes.len();
            body.extend_from_slice(bytes);
            places.push((*tag, at.clone()));
            sections.push(at);
        }
        let mut next = Vec::with_capacity(kinds);
        for head in &heads {
            let start = body.len();
            put_varint(&mut body, head.events as u64);
            body.extend_from_slice(&head.distances);
            next.push(body.len());
            body.resize(body.len() + head.record_bytes, 0);
            sections.push(start..body.len());
        }
        let mut sorted = Vec::with_capacity(starts.len());
        for ((start, end), kind) in of_events {
            let to = next[kind];
            next[kind] += end - start;
            body[to..next[kind]].copy_from_slice(&records[start..end]);
            sorted.push(to as u32); // A body has at most 64 MiB.
        }
        Self {
            body,
            starts: sorted,
            attachments: places,
            sections,
        }
    }

    /// What is stored behind the header, after `tables`: directory and sections; with the directory's length.
    pub(super) fn stored(&self, mut tables: Vec<u8>) -> (Vec<u8>, usize) {
        let mut packed = Vec::with_capacity(self.body.len() / 2);
        for section in &self.sections {
            let bytes = &self.body[section.clone()];
            let at = packed.len();
            pack(bytes, &mut packed);
            put_varint(&mut tables, bytes.len() as u64);
            put_varint(&mut tables, (packed.len() - at) as u64);
            tables.extend_from_slice(&crc32c::crc32c(&packed[at..]).to_be_bytes());
        }
        let directory = tables.len();
        tables.extend_from_slice(&packed);
        (tables, directory)
    }
}

/// What stands before the records of a kind, and how long they are.
#[derive(Clone, Default)]
struct Head {
    events: usize,
    /// Number of its last event in the frame.
    last: usize,
    distances: Vec<u8>,
    record_bytes: usize,
}

impl Head {
    fn add(&mut self, slot: usize, record_bytes: usize) {
        put_varint(&mut self.distances, (slot - self.last) as u64);
        self.last = slot;
        self.events += 1;
        self.record_bytes += record_bytes;
    }

    fn section_bytes(&self) -> usize {
        varint_bytes(self.events as u64) + self.distances.len() + self.record_bytes
    }
}

/// Appends bytes as they are stored.
fn pack(bytes: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    if bytes.len() >= COMPRESS_BYTES_MIN {
        out.resize(
            at + lz4_flex::block::get_maximum_output_size(bytes.len()),
            0,
        );
        let packed = lz4_flex::block::compress_into(bytes, &mut out[at..]);
        if let Ok(length) = packed
            && length < bytes.len()
        {
            out.truncate(at + length);
            return;
        }
        out.truncate(at);
    }
    out.extend_from_slice(bytes);
}

/// A section as it is stored.
struct Section<'a> {
    stored: &'a [u8],
    unpacked: usize,
    crc: u32,
    /// Of the stored frame.
    at: usize,
}

impl Section<'_> {
    /// Writes what it holds, at `start`; gives where.
    fn unpack(&self, body: &mut [u8], start: &mut usize) -> Result<Range<usize>, FrameError> {
        let computed = crc32c::crc32c(self.stored);
        if self.crc != computed {
            let found = self.crc;
            return Err(FrameError::Checksum { found, computed });
        }
        let place = *start..*start + self.unpacked;
        *start = place.end;
        if self.stored.len() == self.unpacked {
            body[place.clone()].copy_from_slice(self.stored);
            return Ok(place);
        }
        match lz4_flex::block::decompress_into(self.stored, &mut body[place.clone()]) {
            Ok(length) if length == self.unpacked => Ok(place),
            _ => Err(FrameError::Malformed {
                at: self.at,
                what: "a section is an LZ4 block of the stated length",
            }),
        }
    }
}

/// What was read of a frame in the second format.
pub(super) struct ReadApart {
    pub(super) body: Vec<u8>,
    pub(super) attachments: Vec<(u8, Range<usize>)>,
    /// The section of each kind; `None` for those that were left.
    pub(super) kinds: Vec<Option<Range<usize>>>,
}

impl ReadApart {
    /// Reads the sections that are wanted.
    pub(super) fn read(
        bytes: &[u8],
        directory: usize,
        tables: &ListedTables,
        part: FramePart<'_>,
    ) -> Result<Self, FrameError> {
        let number = tables.tags.len() + tables.kinds.len();
        let sections = listed(bytes, directory, tables.end, number)?;
        let (attached, of_kinds) = sections.split_at(tables.tags.len());
        let attached = tables.tags.iter().zip(attached);
        let attached: Vec<_> = attached
            .filter(|(tag, _)| part.has_attachment(**tag))
            .collect();
        let of_kinds = tables.kinds.iter().zip(of_kinds);
        let of_kinds: Vec<_> = of_kinds
            .map(|(kind, section)| part.has_kind(&tables.tags, kind).then_some(section))
            .collect();
        let taken = attached.iter().map(|(_, section)| *section);
        let taken = taken.chain(of_kinds.iter().copied().flatten());
        let mut body = vec![0; taken.map(|section| section.unpacked).sum()];
        let mut next = 0;
        let mut attachments = Vec::with_capacity(attached.len());
        for (tag, section) in attached {
            attachments.push((*tag, section.unpack(&mut body, &mut next)?));
        }
        let kinds = of_kinds.into_iter().map(|section| {
            let unpacked = section.map(|section| section.unpack(&mut body, &mut next));
            unpacked.transpose()
        });
        let kinds = kinds.collect::<Result<_, _>>()?;
        Ok(Self {
            body,
            attachments,
            kinds,
        })
    }
}

/// The sections of a frame, from the directory's lines, which begin at `lines_at` of the body.
fn listed(
    bytes: &[u8],
    directory: usize,
    lines_at: usize,
    number: usize,
) -> Result<Vec<Section<'_>>, FrameError> {
    let (lines, mut rest) = bytes[HEADER_BYTES..].split_at(directory);
    let malformed = |at, what| FrameError::Malformed { at, what };
    if number > lines.len().saturating_sub(lines_at) / LINE_BYTES_MIN {
        return Err(malformed(lines_at, "a line for each section"));
    }
    let mut cursor = Cursor::new(lines, lines_at);
    let (mut sections, mut total) = (Vec::with_capacity(number), 0usize);
    for _ in 0..number {
        let at = cursor.at;
        let (unpacked, stored, crc) =
            line(&mut cursor).ok_or(malformed(at, "length and checksum of a section"))?;
        // Nothing is reserved for more than a writer makes.
        total = total.saturating_add(unpacked);
        if total > BODY_BYTES_MAX || stored > unpacked {
            return Err(malformed(
                at,
                "sections of at most 64 MiB that compression made no longer",
            ));
        }
        let at = bytes.len() - rest.len();
        let Some((stored, behind)) = rest.split_at_checked(stored) else {
            return Err(malformed(at, "a section of the stated length"));
        };
        rest = behind;
        sections.push(Section {
            stored,
            unpacked,
            crc,
            at,
        });
    }
    if !cursor.is_at_end() || !rest.is_empty() {
        return Err(malformed(
            cursor.at,
            "the end of the directory and of the last section",
        ));
    }
    Ok(sections)
}

fn line(cursor: &mut Cursor<'_>) -> Option<(usize, usize, u32)> {
    let unpacked = usize::try_from(cursor.varint()?).ok()?;
    let stored = usize::try_from(cursor.varint()?).ok()?;
    let crc = u32::from_be_bytes(cursor.take(4)?.try_into().ok()?);
    Some((unpacked, stored, crc))
}
