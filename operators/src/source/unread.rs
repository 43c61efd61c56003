//! Events of the log that a source could not read, as items: with their bytes and their position, to be read again later.

use std::error::Error;
use std::marker::PhantomData;

use compact_str::CompactString;
use millstream_engine::codec::{DecodeError, Event, EventReader};
use millstream_engine::event::{EventId, Metadata, Offset, PartitionId};
use millstream_engine::flow::Fault;
use millstream_engine::log::frame::{Encoding, Kind, Record};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::log::{PayloadOnly, RecordShape};
use crate::failing::Classed;
use crate::stateless::Again;

/// An event that could not be read as `E`: it is of a version that the program does not know, or damaged.
///
/// It has all that the log holds of the event, so that a program which can read it makes of it what the source would have
/// made; `R` says what that is. Saved with its bytes as they are; as JSON, as letters show it, with the text of what is
/// JSON and hexadecimal digits of what is not.
#[derive(Debug)]
pub struct UnreadEvent<E, R = PayloadOnly> {
    /// Partition of the log.
    pub partition: PartitionId,
    /// Its number there.
    pub offset: Offset,
    /// Its identity.
    pub id: EventId,
    /// Category, type, schema version and encoding.
    pub kind: Kind,
    /// The stream's id without its category.
    pub stream: String,
    /// Its number in the stream.
    pub version: u64,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// When it happened.
    pub event_time: Timestamp,
    /// Where it came from.
    pub metadata: Metadata,
    /// What the payload refers to: shapes that stand once per frame.
    pub dictionary: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// Why it could not be read.
    pub reason: String,
    types: PhantomData<fn() -> (E, R)>,
}

impl<E, R> UnreadEvent<E, R> {
    pub(super) fn of(
        partition: PartitionId,
        record: &Record<'_>,
        dictionary: &[u8],
        error: &DecodeError,
    ) -> Self {
        Self {
            partition,
            offset: record.offset,
            id: record.id,
            kind: record.kind.clone(),
            stream: record.stream.to_owned(),
            version: record.version,
            recorded_at: record.recorded_at,
            event_time: record.event_time,
            metadata: record.metadata.clone(),
            dictionary: dictionary.to_vec(),
            payload: record.payload.to_vec(),
            reason: error.to_string(),
            types: PhantomData,
        }
    }

    /// As the log holds it.
    fn record(&self) -> Record<'_> {
        Record {
            id: self.id,
            kind: &self.kind,
            stream: &self.stream,
            version: self.version,
            offset: self.offset,
            recorded_at: self.recorded_at,
            event_time: self.event_time,
            metadata: self.metadata.clone(),
            payload: &self.payload,
        }
    }
}

/// Why an event could still not be read.
#[derive(Debug, thiserror::Error)]
#[error("event {partition}:{offset}, {event_type} of {category}-{stream}, cannot be read")]
struct StillUnread {
    partition: PartitionId,
    offset: Offset,
    event_type: CompactString,
    category: CompactString,
    stream: String,
    #[source]
    cause: DecodeError,
}

impl<E: Event, R: RecordShape<E>> Again<R::Item> for UnreadEvent<E, R> {
    fn again(&self) -> Result<R::Item, Box<dyn Error + Send + Sync>> {
        let mut reader = EventReader::<E>::new();
        let read = reader
            .begin_frame(&self.dictionary)
            .and_then(|()| reader.decode(&self.kind, &self.payload));
        match read {
            Ok(payload) => Ok(R::make(self.partition, &self.record(), payload)?),
            Err(cause) => {
                let error = StillUnread {
                    partition: self.partition,
                    offset: self.offset,
                    event_type: self.kind.event_type.clone(),
                    category: self.kind.category.clone(),
                    stream: self.stream.clone(),
                    cause,
                };
                Err(Classed::new("unreadable", error).into())
            }
        }
    }
}

/// What `R` makes of an event, or the event unread.
#[derive(Clone, Copy, Debug)]
pub struct KeepUnread<R>(PhantomData<fn() -> R>);

impl<E: Event, R: RecordShape<E>> RecordShape<E> for KeepUnread<R> {
    type Item = Result<R::Item, UnreadEvent<E, R>>;

    #[inline(always)]
    fn make(partition: PartitionId, record: &Record<'_>, payload: E) -> Result<Self::Item, Fault> {
        R::make(partition, record, payload).map(Ok)
    }

    fn unread(
        partition: PartitionId,
        record: &Record<'_>,
        dictionary: &[u8],
        error: &DecodeError,
    ) -> Option<Self::Item> {
        Some(Err(UnreadEvent::of(partition, record, dictionary, error)))
    }
}

impl<E, R> Clone for UnreadEvent<E, R> {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            stream: self.stream.clone(),
            metadata: self.metadata.clone(),
            dictionary: self.dictionary.clone(),
            payload: self.payload.clone(),
            reason: self.reason.clone(),
            ..*self
        }
    }
}

/// As it is written. Bytes are `serde`'s bytes where nobody reads them.
#[derive(Serialize, Deserialize)]
#[serde(rename = "UnreadEvent")]
struct Written {
    partition: u16,
    offset: u64,
    id: EventId,
    category: String,
    event_type: String,
    schema_version: u32,
    encoding: u8,
    stream: String,
    version: u64,
    recorded_at: Timestamp,
    event_time: Timestamp,
    metadata: Metadata,
    #[serde(with = "bytes")]
    dictionary: Vec<u8>,
    #[serde(with = "bytes")]
    payload: Vec<u8>,
    reason: String,
}

/// Bytes: as they are, or where people read them the text they are, or `0x` and hexadecimal digits.
mod bytes {
    use std::fmt::Write;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(bytes);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.starts_with("0x") => serializer.serialize_str(text),
            _ => {
                let mut digits = String::from("0x");
                for byte in bytes {
                    let _ = write!(digits, "{byte:02x}");
                }
                serializer.serialize_str(&digits)
            }
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        if !from.is_human_readable() {
            return from.deserialize_byte_buf(Owned);
        }
        let text = String::deserialize(from)?;
        let Some(digits) = text.strip_prefix("0x") else {
            return Ok(text.into_bytes());
        };
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let all: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        all.filter(|_| rest.is_empty())
            .ok_or_else(|| D::Error::custom("no hexadecimal digits"))
    }

    struct Owned;

    impl<'de> serde::de::Visitor<'de> for Owned {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }
}

impl<E, R> Serialize for UnreadEvent<E, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            partition: self.partition.0,
            offset: self.offset.0,
            id: self.id,
            category: self.kind.category.to_string(),
            event_type: self.kind.event_type.to_string(),
            schema_version: self.kind.schema_version,
            encoding: self.kind.encoding as u8,
            stream: self.stream.clone(),
            version: self.version,
            recorded_at: self.recorded_at,
            event_time: self.event_time,
            metadata: self.metadata.clone(),
            dictionary: self.dictionary.clone(),
            payload: self.payload.clone(),
            reason: self.reason.clone(),
        };
        written.serialize(serializer)
    }
}

impl<'de, E, R> Deserialize<'de> for UnreadEvent<E, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let encoding = [Encoding::Binary, Encoding::Json, Encoding::Opaque]
            .into_iter()
            .find(|encoding| *encoding as u8 == written.encoding)
            .ok_or_else(|| serde::de::Error::custom("no encoding of payloads"))?;
        Ok(Self {
            partition: PartitionId(written.partition),
            offset: Offset(written.offset),
            id: written.id,
            kind: Kind {
                category: written.category.into(),
                event_type: written.event_type.into(),
                schema_version: written.schema_version,
                encoding,
            },
            stream: written.stream,
            version: written.version,
            recorded_at: written.recorded_at,
            event_time: written.event_time,
            metadata: written.metadata,
            dictionary: written.dictionary,
            payload: written.payload,
            reason: written.reason,
            types: PhantomData,
        })
    }
}
