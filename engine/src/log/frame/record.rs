//! One event inside a frame.

use compact_str::CompactString;
use uuid::Uuid;

use super::bytes::{Cursor, put_bytes, put_signed, put_varint};
use crate::event::{EventId, Metadata, Offset};
use crate::time::Timestamp;

const HAS_EVENT_TIME: u8 = 1;
const HAS_ID: u8 = 2;
const HAS_CORRELATION: u8 = 4;
const HAS_CAUSATION: u8 = 8;
const HAS_USER: u8 = 16;
const KNOWN: u8 = 31;
/// Least that a record takes: kind, flags, a stream id of one byte, version, recorded time, an empty payload.
pub(super) const RECORD_BYTES_MIN: usize = 7;

/// How a payload is written. The numbers are part of the on-disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Encoding {
    /// The evolvable binary encoding.
    Binary = 0,
    /// JSON text.
    Json = 1,
    /// Bytes that only their writer knows.
    Opaque = 2,
}

impl Encoding {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Binary),
            1 => Some(Self::Json),
            2 => Some(Self::Opaque),
            _ => None,
        }
    }
}

/// What events of one type share. A frame writes it once, its records refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Category of the streams.
    pub category: CompactString,
    /// Name of the event type.
    pub event_type: CompactString,
    /// Version of the payload's schema, from 1.
    pub schema_version: u32,
    /// How the payload is written.
    pub encoding: Encoding,
}

/// An event as the log holds it: everything but the payload is read, the payload is bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    /// Its identity.
    pub id: EventId,
    /// Its type and category.
    pub kind: &'a Kind,
    /// The stream's id without its category.
    pub stream: &'a str,
    /// Its number in the stream, from 0.
    pub version: u64,
    /// Its number in the partition.
    pub offset: Offset,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// When it happened, as its source says; `recorded_at` where nothing was said.
    pub event_time: Timestamp,
    /// Where it came from.
    pub metadata: Metadata,
    /// What happened.
    pub payload: &'a [u8],
}

/// The parts of a record that stand in the body, as they stand there.
pub(super) struct Stored<'a> {
    pub(super) kind: u32,
    pub(super) stream: &'a str,
    pub(super) version: u64,
    pub(super) recorded_after: u64,
    pub(super) event_time: Option<i64>,
    pub(super) id: Option<Uuid>,
    pub(super) metadata: Metadata,
    pub(super) payload: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Appends the record. `event_time` is a distance from `recorded`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let metadata = &self.metadata;
        let flag = |present: bool, bit: u8| if present { bit } else { 0 };
        let flags = flag(self.event_time.is_some(), HAS_EVENT_TIME)
            | flag(self.id.is_some(), HAS_ID)
            | flag(metadata.correlation.is_some(), HAS_CORRELATION)
            | flag(metadata.causation.is_some(), HAS_CAUSATION)
            | flag(metadata.user.is_some(), HAS_USER);
        put_varint(out, u64::from(self.kind));
        out.push(flags);
        put_bytes(out, self.stream.as_bytes());
        put_varint(out, self.version);
        put_varint(out, self.recorded_after);
        if let Some(distance) = self.event_time {
            put_signed(out, distance);
        }
        for id in [self.id, metadata.correlation, metadata.causation]
            .into_iter()
            .flatten()
        {
            out.extend_from_slice(&id.as_u128().to_be_bytes());
        }
        if let Some(user) = &metadata.user {
            put_bytes(out, user.as_bytes());
        }
        put_bytes(out, self.payload);
    }

    /// Passes over a record as [`read`](Self::read) does, with the same outcome; gives its kind and the length of its
    /// stream id.
    #[inline]
    pub(super) fn pass(cursor: &mut Cursor<'_>) -> Option<(u32, usize)> {
        let kind = u32::try_from(cursor.varint()?).ok()?;
        let flags = cursor.byte()?;
        if flags & !KNOWN != 0 {
            return None;
        }
        let stream = cursor.pass_text()?;
        cursor.varint()?; // version
        cursor.varint()?; // recorded after
        if flags & HAS_EVENT_TIME != 0 {
            cursor.signed()?;
        }
        let ids = flags & (HAS_ID | HAS_CORRELATION | HAS_CAUSATION);
        cursor.take(16 * ids.count_ones() as usize)?;
        if flags & HAS_USER != 0 {
            cursor.pass_text()?;
        }
        cursor.sized()?; // payload
        Some((kind, stream))
    }

    pub(super) fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let kind = u32::try_from(cursor.varint()?).ok()?;
        let flags = cursor.byte()?;
        if flags & !KNOWN != 0 {
            return None;
        }
        let stream = cursor.text()?;
        let version = cursor.varint()?;
        let recorded_after = cursor.varint()?;
        let event_time = if flags & HAS_EVENT_TIME != 0 {
            Some(cursor.signed()?)
        } else {
            None
        };
        let mut uuid = |bit: u8| -> Option<Option<Uuid>> {
            if flags & bit == 0 {
                Some(None)
            } else {
                cursor.sixteen().map(|bits| Some(Uuid::from_u128(bits)))
            }
        };
        let (id, correlation, causation) =
            (uuid(HAS_ID)?, uuid(HAS_CORRELATION)?, uuid(HAS_CAUSATION)?);
        let user = if flags & HAS_USER != 0 {
            Some(CompactString::from(cursor.text()?))
        } else {
            None
        };
        let payload = cursor.sized()?;
        let metadata = Metadata {
            correlation,
            causation,
            user,
        };
        Some(Self {
            kind,
            stream,
            version,
            recorded_after,
            event_time,
            id,
            metadata,
            payload,
        })
    }
}
