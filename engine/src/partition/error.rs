//! Why a raw append gave no positions.

use std::fmt;
use std::sync::Arc;

use super::{Conflict, NewEvent, TurnError};
use crate::event::StreamIdError;
use crate::log::LogError;

/// Why an append was not answered with positions. Unless a variant says otherwise, nothing was stored.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The stream is not as expected: read what happened, decide again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Events of this category come from its aggregate, or the engine, alone: send a command.
    #[error(
        "category {category:?} belongs to an aggregate or the engine: send a command instead of an append"
    )]
    OwnedCategory {
        /// The category.
        category: String,
    },
    /// There was no event to append.
    #[error("an append needs at least one event")]
    Empty,
    /// Bytes in the binary encoding are only written by the engine, which knows their shapes.
    #[error("payload bytes can be JSON or opaque; for the binary encoding append a typed event")]
    BinaryBytes,
    /// The text is not a stream id.
    #[error(transparent)]
    StreamId(#[from] StreamIdError),
    /// An event could not be encoded, or the events do not fit into a frame of their own.
    #[error(transparent)]
    Event(#[from] TurnError),
    /// Writing an event panicked: its `Serialize` is the program's own.
    #[error("writing the event panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// The partition's mailbox is full: wait, or slow down.
    #[error("the partition is overloaded")]
    Overloaded,
    /// The engine is shutting down, or the partition was given up.
    #[error("the partition takes nothing any more")]
    Closed,
    /// The log could not be read to see what the stream holds.
    #[error("the log could not be read: {0}")]
    Log(Arc<LogError>),
    /// No answer: the events may be stored. Repeat it with the same event ids and expected version.
    #[error("no answer from the partition, outcome unknown: {cause}")]
    OutcomeUnknown {
        /// What is known of why.
        cause: String,
    },
}

impl AppendError {
    /// Whether the same append may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded | Self::OutcomeUnknown { .. } | Self::Log(_) => true,
            Self::Conflict(_)
            | Self::OwnedCategory { .. }
            | Self::Empty
            | Self::BinaryBytes
            | Self::StreamId(_)
            | Self::Event(_)
            | Self::Panicked { .. }
            | Self::Closed => false,
        }
    }

    pub(super) fn unknown(cause: &LogError) -> Self {
        Self::OutcomeUnknown {
            cause: cause.to_string(),
        }
    }
}

impl From<LogError> for AppendError {
    fn from(error: LogError) -> Self {
        Self::Log(Arc::new(error))
    }
}

/// Why an append that was sent without waiting for room was not answered with positions, with the events if the partition did not
/// take them.
#[derive(Debug)]
pub struct TryAppendError {
    /// Why.
    pub error: AppendError,
    /// The events, exactly if the partition did not take them: its mailbox is full or closed, or nobody may append these.
    /// `None` once they were taken, whatever came of it: also where the partition then found that too much waits in it for events
    /// of one stream to become durable, which is [`AppendError::Overloaded`] as well.
    pub events: Option<Vec<NewEvent>>,
}

impl fmt::Display for TryAppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for TryAppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<TryAppendError> for AppendError {
    fn from(refused: TryAppendError) -> Self {
        refused.error
    }
}
