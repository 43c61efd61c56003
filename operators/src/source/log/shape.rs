//! What items are made of the log's records: the event alone, or all that was recorded of it.
//!
//! A type, not a value: what is not asked for is not made, and costs nothing.

use millstream_engine::codec::{DecodeError, Event};
use millstream_engine::event::{PartitionId, Position, Recorded, StreamId};
use millstream_engine::flow::Fault;
use millstream_engine::log::frame::Record;

/// What is made of a record and its decoded payload.
pub trait RecordShape<E>: Send + 'static {
    /// The item.
    type Item: Send + 'static;

    /// Makes it.
    ///
    /// # Errors
    /// [`Fault`]: the log holds what it cannot hold.
    fn make(partition: PartitionId, record: &Record<'_>, payload: E) -> Result<Self::Item, Fault>;

    /// Makes an item of one whose payload cannot be read, if it does; otherwise [`Unreadable`](super::Unreadable) says what
    /// happens. `dictionary` is what the payload refers to.
    fn unread(
        partition: PartitionId,
        record: &Record<'_>,
        dictionary: &[u8],
        error: &DecodeError,
    ) -> Option<Self::Item> {
        let _ = (partition, record, dictionary, error);
        None
    }
}

/// The event alone.
#[derive(Clone, Copy, Debug)]
pub struct PayloadOnly;

impl<E: Event> RecordShape<E> for PayloadOnly {
    type Item = E;

    #[inline(always)]
    fn make(_: PartitionId, _: &Record<'_>, payload: E) -> Result<E, Fault> {
        Ok(payload)
    }
}

/// The event with its stream, position, times and metadata.
#[derive(Clone, Copy, Debug)]
pub struct WholeRecord;

impl<E: Event> RecordShape<E> for WholeRecord {
    type Item = Recorded<E>;

    fn make(partition: PartitionId, record: &Record<'_>, payload: E) -> Result<Recorded<E>, Fault> {
        let stream = StreamId::new(&record.kind.category, record.stream);
        Ok(Recorded {
            id: record.id,
            stream: stream.map_err(|error| Fault(error.to_string()))?,
            version: record.version,
            position: Position {
                partition,
                offset: record.offset,
            },
            recorded_at: record.recorded_at,
            event_time: record.event_time,
            metadata: record.metadata.clone(),
            payload,
        })
    }
}
