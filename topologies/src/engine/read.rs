//! Reading events: one stream, either way; a partition; everything, see [`merge`](super::merge).

use millstream_engine::codec::{DecodeError, Event, EventReader, payload_to_json};
use millstream_engine::event::{
    EventId, Metadata, Offset, PartitionId, Position, Recorded, StreamId, Token,
};
use millstream_engine::log::frame::{Encoding, Frame, Record, SHAPES};
use millstream_engine::log::{
    Direction, LogError, LogReader, StreamReader, StreamRef, for_each_event,
};
use millstream_engine::time::Timestamp;

use super::Engine;
use super::merge::read_all;

/// Memory that frames of one read of a partition take, in bytes.
pub(super) const READ_BYTES: usize = 1 << 20;

/// An event as it is stored, readable without the program that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its identity.
    pub id: EventId,
    /// Its stream's whole id.
    pub stream: String,
    /// Its number in the stream.
    pub version: u64,
    /// Its place in the log.
    pub position: Position,
    /// Name of its type.
    pub event_type: String,
    /// Version of its schema.
    pub schema_version: u32,
    /// How its payload is written.
    pub encoding: Encoding,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// When it happened.
    pub event_time: Timestamp,
    /// Where it came from.
    pub metadata: Metadata,
    /// Shapes that a binary payload refers to.
    pub dictionary: Vec<u8>,
    /// What happened.
    pub payload: Vec<u8>,
}

impl StoredEvent {
    /// The event behind a record of a frame.
    #[must_use]
    pub fn of(partition: PartitionId, frame: &Frame, record: &Record<'_>) -> Self {
        Self {
            id: record.id,
            stream: format!("{}-{}", record.kind.category, record.stream),
            version: record.version,
            position: Position {
                partition,
                offset: record.offset,
            },
            event_type: record.kind.event_type.to_string(),
            schema_version: record.kind.schema_version,
            encoding: record.kind.encoding,
            recorded_at: record.recorded_at,
            event_time: record.event_time,
            metadata: record.metadata.clone(),
            dictionary: frame.attachment(SHAPES).unwrap_or_default().to_vec(),
            payload: record.payload.to_vec(),
        }
    }

    /// Its payload with fields by name; `None` for an opaque one.
    ///
    /// # Errors
    /// [`DecodeError`]: the payload is damaged.
    pub fn to_json(&self) -> Result<Option<serde_json::Value>, DecodeError> {
        if self.encoding == Encoding::Opaque {
            return Ok(None);
        }
        payload_to_json(self.encoding, &self.dictionary, &self.payload).map(Some)
    }
}

/// Events of one stream, from `from_version` (inclusive) on, at most `limit`.
///
/// # Errors
/// As [`LogReader::read`], and [`LogError::Index`].
pub fn read_stream(
    streams: &(impl StreamReader + ?Sized),
    stream: &StreamId,
    from_version: u64,
    limit: usize,
    direction: Direction,
) -> Result<Vec<StoredEvent>, LogError> {
    let stream = StreamRef::new(stream, streams.partitions());
    let mut found = Vec::new();
    for_each_event::<_, LogError>(
        streams,
        stream,
        from_version,
        limit,
        direction,
        |frame, record| {
            found.push(StoredEvent::of(stream.partition, frame, record));
            Ok(())
        },
    )?;
    Ok(found)
}

/// Events of one partition, from `from` (inclusive) on, at most `limit`, of one category if it is given.
///
/// # Errors
/// As [`LogReader::read`].
pub fn read_partition(
    reader: &(impl LogReader + ?Sized),
    partition: PartitionId,
    from: Offset,
    limit: usize,
    category: Option<&str>,
) -> Result<Vec<StoredEvent>, LogError> {
    let (mut found, mut next) = (Vec::new(), from);
    while found.len() < limit {
        let frames = reader.read(partition, next, READ_BYTES)?;
        let Some(last) = frames.last() else { break };
        let after = last.header().end();
        for frame in frames.iter().filter(|frame| may_hold(frame, category)) {
            let wanted = frame
                .records()
                .filter(|record| record.offset >= next)
                .filter(|record| category.is_none_or(|name| record.kind.category == name))
                .take(limit - found.len());
            found.extend(wanted.map(|record| StoredEvent::of(partition, frame, &record)));
        }
        next = after;
    }
    Ok(found)
}

/// Whether events of `category` are in a frame. Looks at its kinds, not at its records.
pub(super) fn may_hold(frame: &Frame, category: Option<&str>) -> bool {
    let of = |name: &str| frame.kinds().iter().any(|kind| kind.category == name);
    category.is_none_or(of)
}

impl Engine {
    /// Events of all partitions behind `after`, as [`read_all`].
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn read_all(
        &self,
        after: &Token,
        limit: usize,
        category: Option<&str>,
    ) -> Result<(Vec<StoredEvent>, Token), LogError> {
        read_all(self.log(), after, limit, category)
    }

    /// Events of one stream as they are stored, from `from_version` (inclusive) on, at most `limit`.
    ///
    /// Cost: one read of the index and one unpacked frame per frame that holds an event.
    ///
    /// # Errors
    /// As [`LogReader::read`], and [`LogError::Index`].
    pub fn read_stream(
        &self,
        stream: &StreamId,
        from_version: u64,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<StoredEvent>, LogError> {
        read_stream(self.streams(), stream, from_version, limit, direction)
    }

    /// Events of one partition, of one category if it is given, from `from` (inclusive) on, at most `limit`.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn read_partition(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: usize,
        category: Option<&str>,
    ) -> Result<Vec<StoredEvent>, LogError> {
        read_partition(self.log(), partition, from, limit, category)
    }

    /// Typed events of one stream, oldest first, from `from_version` (inclusive) on, at most `limit`.
    ///
    /// # Errors
    /// [`ReadEventsError`].
    pub fn events<E: Event>(
        &self,
        stream: &StreamId,
        from_version: u64,
        limit: usize,
    ) -> Result<Vec<Recorded<E>>, ReadEventsError> {
        let reference = StreamRef::new(stream, self.partitions());
        let (mut found, mut reader) = (Vec::new(), EventReader::<E>::new());
        for_each_event::<_, ReadEventsError>(
            self.streams(),
            reference,
            from_version,
            limit,
            Direction::Forwards,
            |frame, record| {
                reader.begin_frame(frame.attachment(SHAPES).unwrap_or_default())?;
                found.push(Recorded {
                    id: record.id,
                    stream: stream.clone(),
                    version: record.version,
                    position: Position {
                        partition: reference.partition,
                        offset: record.offset,
                    },
                    recorded_at: record.recorded_at,
                    event_time: record.event_time,
                    metadata: record.metadata.clone(),
                    payload: reader.decode(record.kind, record.payload)?,
                });
                Ok(())
            },
        )?;
        Ok(found)
    }
}

/// Why typed events could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadEventsError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An event is not of this type.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}
