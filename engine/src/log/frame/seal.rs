//! Building a frame: events in, sealed bytes out.

use std::sync::Arc;

use uuid::Uuid;

use super::bytes::{put_bytes, put_varint};
use super::draft::{Draft, DraftError};
use super::record::Stored;
use super::sections::{Apart, COMPRESS_BYTES_MIN, are_apart};
use super::{
    APART, BODY_BYTES_MAX, CRC_AT, FORMAT_VERSION, Frame, FrameHash, FrameHeader, HASH_AT,
    HEADER_BYTES, Kind, crc_of, hash_of,
};
use crate::event::{Offset, PartitionId};
use crate::index::IndexEntry;
use crate::time::Timestamp;

/// Most that events may take of a body: the rest is for attachments, so that what was taken can be sealed.
const RECORDS_BYTES_MAX: usize = BODY_BYTES_MAX - (8 << 20);

/// A frame ready to be stored.
#[derive(Clone, Debug)]
pub struct SealedFrame {
    /// Its partition.
    pub partition: PartitionId,
    /// Offset of its first event.
    pub first: Offset,
    /// Number of its events, at least 1.
    pub count: u32,
    /// Its hash, which the next frame names.
    pub hash: FrameHash,
    /// What is stored.
    pub bytes: Vec<u8>,
    /// The same, readable: what live subscribers are handed, so that nobody unpacks it again.
    pub frame: Arc<Frame>,
    /// What the stream index learns of the frame's events.
    pub entries: Vec<IndexEntry>,
}

/// A frame under construction. Its buffers are kept from one frame to the next.
#[derive(Debug, Default)]
pub struct FrameBuilder {
    kinds: Vec<Kind>,
    /// Bound of what the kinds take in the body.
    kinds_bytes: usize,
    records: Vec<u8>,
    /// Hash of the stream and version, per event.
    streams: Vec<(u64, u64)>,
    /// Where each event begins in `records`.
    starts: Vec<u32>,
    /// Kind of each event, as long as a byte holds them.
    kind_of: Vec<u8>,
    count: u32,
    first_at: Timestamp,
    last_at: Timestamp,
}

/// How far a frame had got, see [`FrameBuilder::mark`].
#[derive(Clone, Copy, Debug)]
pub struct FrameMark {
    kinds: usize,
    records: usize,
    count: u32,
    first_at: Timestamp,
    last_at: Timestamp,
}

/// Where a frame lies, and behind which one.
struct Place {
    partition: PartitionId,
    first: Offset,
    ids: Uuid,
    previous: FrameHash,
}

/// More than a kind takes in a body.
fn kind_bytes(kind: &Kind) -> usize {
    kind.category.len() + kind.event_type.len() + 32
}

impl FrameBuilder {
    /// An empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of events so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether there is nothing to seal.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of kinds so far.
    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// Bytes of the events so far.
    pub fn record_bytes(&self) -> usize {
        self.records.len()
    }

    /// Where the frame stands now, for [`rewind`](Self::rewind).
    pub fn mark(&self) -> FrameMark {
        FrameMark {
            kinds: self.kinds.len(),
            records: self.records.len(),
            count: self.count,
            first_at: self.first_at,
            last_at: self.last_at,
        }
    }

    /// Takes back every event pushed since `mark`: all of a command's events are stored, or none.
    pub fn rewind(&mut self, mark: FrameMark) {
        let undone = self.kinds.drain(mark.kinds..);
        self.kinds_bytes -= undone.map(|kind| kind_bytes(&kind)).sum::<usize>();
        self.records.truncate(mark.records);
        self.streams.truncate(mark.count as usize);
        self.starts.truncate(mark.count as usize);
        self.kind_of.truncate(mark.count as usize);
        (self.count, self.first_at, self.last_at) = (mark.count, mark.first_at, mark.last_at);
    }

    /// Number of a kind in this frame, given out at its first use. A frame has few kinds, so they are
    /// looked through from the last, which is mostly the one wanted.
    ///
    /// # Panics
    /// Past 2^32 kinds, which no memory holds.
    pub fn kind(&mut self, kind: &Kind) -> u32 {
        let at = self
            .kinds
            .iter()
            .rposition(|known| known == kind)
            .unwrap_or_else(|| {
                self.kinds.push(kind.clone());
                self.kinds_bytes += kind_bytes(kind);
                self.kinds.len() - 1
            });
        u32::try_from(at).expect("fewer than 2^32 kinds fit into memory")
    }

    /// Takes one event. A `now` before that of the last event counts as the last event's: recorded
    /// time does not decrease.
    ///
    /// # Errors
    /// [`DraftError`]; the frame is then as it was.
    pub fn push(&mut self, now: Timestamp, draft: &Draft<'_>) -> Result<(), DraftError> {
        if draft.kind as usize >= self.kinds.len() {
            return Err(DraftError::UnknownKind { kind: draft.kind });
        }
        // 128 covers the varints, ids and flags of any record; text and payload are counted exactly.
        let user = draft.metadata.user.as_ref().map_or(0, |user| user.len());
        let bytes = self.records.len()
            + self.kinds_bytes
            + draft.stream.len()
            + draft.payload.len()
            + user
            + 128;
        if bytes > RECORDS_BYTES_MAX {
            return Err(DraftError::TooLarge { bytes });
        }
        let first_at = if self.count == 0 { now } else { self.first_at };
        let now = if self.count == 0 {
            now
        } else {
            now.max(self.last_at)
        };
        let stored = Stored {
            kind: draft.kind,
            stream: draft.stream,
            version: draft.version,
            recorded_after: now.0.wrapping_sub(first_at.0) as u64,
            event_time: draft.event_time.map(|at| at.0.wrapping_sub(now.0)),
            id: draft.id.map(|id| id.0),
            metadata: draft.metadata.clone(),
            payload: draft.payload,
        };
        self.starts.push(self.records.len() as u32); // At most 64 MiB.
        self.kind_of.push(draft.kind as u8);
        stored.write(&mut self.records);
        self.streams.push((draft.hash, draft.version));
        (self.first_at, self.last_at) = (first_at, now);
        self.count += 1;
        Ok(())
    }

    /// Seals what was pushed into a frame that follows `previous`, and starts the next one.
    ///
    /// # Errors
    /// [`DraftError::TooLarge`] when the attachments do not fit beside the events; nothing is lost, seal again
    /// with less.
    ///
    /// # Panics
    /// When the frame is empty: it would have no offset of its own.
    pub fn seal(
        &mut self,
        partition: PartitionId,
        first: Offset,
        ids: Uuid,
        previous: FrameHash,
        attachments: &[(u8, &[u8])],
    ) -> Result<SealedFrame, DraftError> {
        assert!(self.count > 0, "an empty frame is not sealed");
        let place = Place {
            partition,
            first,
            ids,
            previous,
        };
        let apart =
            are_apart(self.kinds.len(), self.records.len()).then(|| self.apart(attachments));
        // What says which event is of which kind may make the largest bodies too large.
        let apart = apart.filter(|apart| apart.body.len() <= BODY_BYTES_MAX);
        let (bytes, frame) = match apart {
            Some(apart) => self.seal_apart(&place, attachments, apart),
            None => self.seal_whole(&place, attachments)?,
        };
        let sealed = SealedFrame {
            partition: place.partition,
            first: place.first,
            count: self.count,
            hash: frame.header().hash,
            bytes,
            frame: Arc::new(frame),
            entries: self.entries(place.first),
        };
        self.clear();
        Ok(sealed)
    }

    /// The first format: the events as they came.
    fn seal_whole(
        &self,
        place: &Place,
        attachments: &[(u8, &[u8])],
    ) -> Result<(Vec<u8>, Frame), DraftError> {
        let body = self.body(attachments);
        if body.len() > BODY_BYTES_MAX {
            return Err(DraftError::TooLarge { bytes: body.len() });
        }
        let packed = if body.len() >= COMPRESS_BYTES_MIN {
            lz4_flex::block::compress(&body)
        } else {
            Vec::new()
        };
        let is_packed = !packed.is_empty() && packed.len() < body.len();
        let stored = if is_packed { &packed } else { &body };
        let format = [FORMAT_VERSION, u8::from(is_packed)];
        let bytes = self.sealed(place, format, body.len(), stored, stored.len());
        let header = FrameHeader::parse(&bytes).expect("a header that was just written");
        let records = self.records.len();
        let frame = Frame::sealed(
            header,
            &self.kinds,
            attachments,
            body,
            records,
            &self.starts,
        );
        Ok((bytes, frame))
    }

    fn apart(&self, attachments: &[(u8, &[u8])]) -> Apart {
        let kinds = self.kinds.len();
        Apart::of(
            &self.records,
            &self.starts,
            &self.kind_of,
            kinds,
            attachments,
        )
    }

    /// The second format: the events by kind.
    fn seal_apart(
        &self,
        place: &Place,
        attachments: &[(u8, &[u8])],
        apart: Apart,
    ) -> (Vec<u8>, Frame) {
        let mut tables = Vec::with_capacity(self.kinds_bytes + 16);
        self.put_kinds(&mut tables);
        let tags: Vec<_> = attachments.iter().map(|(tag, _)| *tag).collect();
        put_bytes(&mut tables, &tags);
        let (stored, directory) = apart.stored(tables);
        let bytes = self.sealed(place, [APART, 0], directory, &stored, directory);
        let header = FrameHeader::parse(&bytes).expect("a header that was just written");
        (bytes, Frame::sealed_apart(header, &self.kinds, apart))
    }

    /// The bytes of a frame, of whose `stored` body the first `covered` bytes count for the header's checksum.
    fn sealed(
        &self,
        place: &Place,
        format: [u8; 2],
        body_bytes: usize,
        stored: &[u8],
        covered: usize,
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + stored.len());
        bytes.extend_from_slice(&format);
        bytes.extend_from_slice(&place.partition.0.to_be_bytes());
        bytes.extend_from_slice(&place.first.0.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(
            &u32::try_from(body_bytes)
                .expect("at most 64 MiB, which was checked")
                .to_be_bytes(),
        );
        bytes.extend_from_slice(&self.first_at.0.to_be_bytes());
        bytes.extend_from_slice(&self.last_at.0.to_be_bytes());
        bytes.extend_from_slice(&place.ids.as_u128().to_be_bytes());
        bytes.extend_from_slice(&place.previous.0);
        debug_assert_eq!(bytes.len(), HASH_AT);
        let hash = hash_of(&bytes, stored);
        bytes.extend_from_slice(&hash.0);
        debug_assert_eq!(bytes.len(), CRC_AT);
        let crc = crc_of(&bytes, &stored[..covered]);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes.extend_from_slice(stored);
        bytes
    }

    fn entries(&self, first: Offset) -> Vec<IndexEntry> {
        (first.0..)
            .zip(&self.streams)
            .map(|(offset, &(hash, version))| IndexEntry {
                hash,
                version,
                offset,
            })
            .collect()
    }

    /// Drops what was pushed.
    pub fn clear(&mut self) {
        self.kinds.clear();
        self.kinds_bytes = 0;
        self.records.clear();
        self.streams.clear();
        self.starts.clear();
        self.kind_of.clear();
        self.count = 0;
    }

    fn body(&self, attachments: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.records.len() + self.kinds_bytes + 16);
        self.put_kinds(&mut body);
        put_varint(&mut body, attachments.len() as u64);
        for (tag, bytes) in attachments {
            body.push(*tag);
            put_bytes(&mut body, bytes);
        }
        body.extend_from_slice(&self.records);
        body
    }

    fn put_kinds(&self, out: &mut Vec<u8>) {
        put_varint(out, self.kinds.len() as u64);
        for kind in &self.kinds {
            put_bytes(out, kind.category.as_bytes());
            put_bytes(out, kind.event_type.as_bytes());
            put_varint(out, u64::from(kind.schema_version));
            out.push(kind.encoding as u8);
        }
    }
}
