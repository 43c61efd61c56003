//! What callers hold to append events of their own, without an aggregate.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;

use super::append::{AppendRequest, Appended};
use super::{AppendError, Expected, TryAppendError};
use crate::codec::{EncodeError, Event, EventEncoder};
use crate::event::{EventId, Metadata, StreamId};
use crate::log::frame::Encoding;
use crate::mailbox::LaneSender;
use crate::time::Timestamp;

/// Writes a payload with the shapes of the frame it goes into, and names its type.
pub type EncodeFn =
    Box<dyn Fn(&mut EventEncoder, &mut Vec<u8>) -> Result<&'static str, EncodeError> + Send>;

/// What is stored of an event.
pub enum Payload {
    /// Bytes that are stored as they are: JSON, or what only the caller knows.
    Bytes {
        /// JSON or opaque.
        encoding: Encoding,
        /// Name of the event type.
        event_type: CompactString,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A typed event, encoded by the partition.
    Typed {
        /// Encoding of the type.
        encoding: Encoding,
        /// Writes it.
        encode: EncodeFn,
        /// About how many bytes it takes, for the mailbox's bound.
        bytes: usize,
    },
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes {
                event_type, bytes, ..
            } => write!(f, "{event_type} of {} bytes", bytes.len()),
            Self::Typed { .. } => f.write_str("typed event"),
        }
    }
}

/// An event to be appended.
#[derive(Debug)]
pub struct NewEvent {
    /// Its identity, where the caller has one: makes the append repeatable.
    pub id: Option<EventId>,
    /// Version of its schema, from 1.
    pub schema_version: u32,
    /// What happened.
    pub payload: Payload,
    /// Where it came from.
    pub metadata: Metadata,
    /// When it happened, if not when it is recorded.
    pub event_time: Option<Timestamp>,
}

impl NewEvent {
    /// A typed event.
    pub fn typed<E: Event>(event: E) -> Self {
        Self {
            id: None,
            schema_version: E::VERSION,
            payload: Payload::Typed {
                encoding: E::ENCODING,
                bytes: size_of::<E>(),
                encode: Box::new({
                    // Shared between threads in turn, never at once: only moved.
                    move |encoder, out| encoder.encode(&event, out)
                }),
            },
            metadata: Metadata::default(),
            event_time: None,
        }
    }

    /// An event whose payload is JSON text.
    pub fn json(event_type: &str, text: impl Into<Vec<u8>>) -> Self {
        Self::bytes(event_type, Encoding::Json, text.into())
    }

    /// An event whose payload only the caller can read.
    pub fn opaque(event_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::bytes(event_type, Encoding::Opaque, bytes.into())
    }

    fn bytes(event_type: &str, encoding: Encoding, bytes: Vec<u8>) -> Self {
        Self {
            id: None,
            schema_version: 1,
            payload: Payload::Bytes {
                encoding,
                event_type: event_type.into(),
                bytes,
            },
            metadata: Metadata::default(),
            event_time: None,
        }
    }

    /// The same event with an identity.
    #[must_use]
    pub fn with_id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// About the memory it takes, for the mailbox's bound.
    pub(super) fn size(&self) -> usize {
        let payload = match &self.payload {
            Payload::Bytes { bytes, .. } => bytes.len(),
            Payload::Typed { bytes, .. } => *bytes,
        };
        size_of::<Self>() + payload
    }
}

/// Appends to any stream of a category that no aggregate owns. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Appender {
    /// One lane per partition.
    lanes: Arc<[LaneSender<AppendRequest>]>,
    /// Categories that are not for those who have it.
    refused: &'static [&'static str],
}

impl Appender {
    /// An appender with the lane of each partition, in order.
    #[must_use]
    pub fn new(lanes: Vec<LaneSender<AppendRequest>>) -> Self {
        Self {
            lanes: lanes.into(),
            refused: &[],
        }
    }

    /// The same one, but for streams of these categories.
    #[must_use]
    pub fn refusing(self, categories: &'static [&'static str]) -> Self {
        Self {
            refused: categories,
            ..self
        }
    }

    /// Appends `events` to `stream`, all or none; resolves once they are durable. Waits while the
    /// partition is busy.
    ///
    /// Dropping the future after the partition took the events does not undo it.
    ///
    /// # Errors
    /// [`AppendError`] says what is left and what to do.
    pub async fn append(
        &self,
        stream: StreamId,
        expected: Expected,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        self.check(&stream, &events)?;
        let (request, answer, bytes, partition) = self.request(stream, expected, events);
        let sent = self.lanes[partition].send(request, bytes).await;
        sent.map_err(|_| AppendError::Closed)?;
        finish(answer).await
    }

    /// Like [`append`](Self::append), but answers [`AppendError::Overloaded`] where that would wait, and hands the events back.
    ///
    /// # Errors
    /// [`TryAppendError`] with the [`AppendError`].
    pub async fn try_append(
        &self,
        stream: StreamId,
        expected: Expected,
        events: Vec<NewEvent>,
    ) -> Result<Appended, TryAppendError> {
        if let Err(error) = self.check(&stream, &events) {
            let events = Some(events);
            return Err(TryAppendError { error, events });
        }
        let (request, answer, bytes, partition) = self.request(stream, expected, events);
        if let Err(refused) = self.lanes[partition].try_send(request, bytes) {
            let error = match refused.is_retryable() {
                true => AppendError::Overloaded,
                false => AppendError::Closed,
            };
            let events = Some(refused.into_item().events);
            return Err(TryAppendError { error, events });
        }
        finish(answer).await.map_err(|error| TryAppendError {
            error,
            events: None,
        })
    }

    /// Whether these may be appended by those who have this.
    fn check(&self, stream: &StreamId, events: &[NewEvent]) -> Result<(), AppendError> {
        if events.is_empty() {
            return Err(AppendError::Empty);
        }
        if self.refused.contains(&stream.category()) {
            let category = stream.category().to_owned();
            return Err(AppendError::OwnedCategory { category });
        }
        Ok(())
    }

    fn request(
        &self,
        stream: StreamId,
        expected: Expected,
        events: Vec<NewEvent>,
    ) -> (AppendRequest, Answer, usize, usize) {
        let partitions = u16::try_from(self.lanes.len()).expect("made from a u16 of partitions");
        let partition = usize::from(stream.partition(partitions).0);
        let bytes = events.iter().map(NewEvent::size).sum();
        let (reply, answer) = tokio::sync::oneshot::channel();
        let request = AppendRequest {
            stream,
            expected,
            events,
            reply,
        };
        (request, answer, bytes, partition)
    }
}

type Answer = tokio::sync::oneshot::Receiver<Result<Appended, AppendError>>;

async fn finish(answer: Answer) -> Result<Appended, AppendError> {
    answer.await.unwrap_or_else(|_| {
        Err(AppendError::OutcomeUnknown {
            cause: "the partition was restarted".to_owned(),
        })
    })
}
