//! An event on its way into a frame.

use super::BODY_BYTES_MAX;
use crate::event::{EventId, Metadata};
use crate::time::Timestamp;

/// An event on its way into a frame.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// Number of its kind, from [`FrameBuilder::kind`](super::FrameBuilder::kind).
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
