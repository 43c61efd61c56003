//! An event as it stands in the log, decoded.

use super::{EventId, Metadata, Position, StreamId};
use crate::time::Timestamp;

/// An event with all that the log knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<E> {
    /// Its identity.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// Its number in the stream, from 0.
    pub version: u64,
    /// Its place in the log.
    pub position: Position,
    /// When the log took it. Never decreases within a partition.
    pub recorded_at: Timestamp,
    /// When it happened, as its source says; `recorded_at` where nothing was said.
    pub event_time: Timestamp,
    /// Where it came from.
    pub metadata: Metadata,
    /// What happened.
    pub payload: E,
}
