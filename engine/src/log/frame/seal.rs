//! Building a frame: events in, sealed bytes out.

use std::sync::Arc;

use uuid::Uuid;

use super::bytes::{put_bytes, put_varint};
use super::record::Stored;
use super::{
    BODY_BYTES_MAX, CRC_AT, FORMAT_VERSION, Frame, FrameHash, FrameHeader, HASH_AT, HEADER_BYTES,
    Kind, crc_of, hash_of,
};
use crate::event::{EventId, Metadata, Offset, PartitionId};
use crate::index::IndexEntry;
use crate::time::Timestamp;

/// Below this a body is stored as it is: there is nothing to gain.
const COMPRESS_BYTES_MIN: usize = 128;
/// Most that events may take of a body: the rest is for attachments, so that what was taken can be sealed.
const RECORDS_BYTES_MAX: usize = BODY_BYTES_MAX - (8 << 20);

/// An event on its way into a frame.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// Number of its kind, from [`FrameBuilder::kind`].
    pub kind: u32,
    /// The stream's id without its category.
    pub stream: &'a str,
    /// Hash of the stream's whole id, see [`stream_hash`](crate::event::stream_hash).
    pub hash: u64,
    /// Its number in the stream.
    pub version: u64,
    /// When it happened, where its source says so.
    pub event_time: Option<Timestamp>,
    /// Its identity, where the appender brings its own.
    pub id: Option<EventId>,
    /// Where it came from.
    pub metadata: Metadata,
    /// What happened.
    pub payload: &'a [u8],
}

/// Why an event was not taken into a frame. The frame is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// The body would pass [`BODY_BYTES_MAX`], of which 8 MiB are kept for attachments: seal this frame, start another; split the event if it is alone.
    #[error("frame would have {bytes} bytes, more than {BODY_BYTES_MAX}")]
    TooLarge {
        /// Length that the body would have.
        bytes: usize,
    },
    /// The frame has no such kind.
    #[error("frame has no kind {kind}")]
    UnknownKind {
        /// The number asked for.
        kind: u32,
    },
}

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

        let mut bytes = Vec::with_capacity(HEADER_BYTES + stored.len());
        bytes.extend_from_slice(&[FORMAT_VERSION, u8::from(is_packed)]);
        bytes.extend_from_slice(&partition.0.to_be_bytes());
        bytes.extend_from_slice(&first.0.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(
            &u32::try_from(body.len())
                .expect("at most 64 MiB, checked above")
                .to_be_bytes(),
        );
        bytes.extend_from_slice(&self.first_at.0.to_be_bytes());
        bytes.extend_from_slice(&self.last_at.0.to_be_bytes());
        bytes.extend_from_slice(&ids.as_u128().to_be_bytes());
        bytes.extend_from_slice(&previous.0);
        debug_assert_eq!(bytes.len(), HASH_AT);
        let hash = hash_of(&bytes, stored);
        bytes.extend_from_slice(&hash.0);
        debug_assert_eq!(bytes.len(), CRC_AT);
        let crc = crc_of(&bytes, stored);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes.extend_from_slice(stored);

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
        let sealed = SealedFrame {
            partition,
            first,
            count: self.count,
            hash,
            bytes,
            frame: Arc::new(frame),
            entries: self.entries(first),
        };
        self.clear();
        Ok(sealed)
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
        self.count = 0;
    }

    fn body(&self, attachments: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.records.len() + self.kinds_bytes + 16);
        put_varint(&mut body, self.kinds.len() as u64);
        for kind in &self.kinds {
            put_bytes(&mut body, kind.category.as_bytes());
            put_bytes(&mut body, kind.event_type.as_bytes());
            put_varint(&mut body, u64::from(kind.schema_version));
            body.push(kind.encoding as u8);
        }
        put_varint(&mut body, attachments.len() as u64);
        for (tag, bytes) in attachments {
            body.push(*tag);
            put_bytes(&mut body, bytes);
        }
        body.extend_from_slice(&self.records);
        body
    }
}
