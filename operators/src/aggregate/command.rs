//! A command on its way to an aggregate, and what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use compact_str::CompactString;
use millstream_engine::codec::DecodeError;
use millstream_engine::event::{Metadata, Position, StreamIdError, Token};
use millstream_engine::log::LogError;
use millstream_engine::partition::{CommandId, Conflict, Expected, Reply, TurnError};
use millstream_engine::time::Timestamp;

use super::Aggregate;

/// When a command is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// Once it is decided. The events may still be lost by a crash: for what can be sent again. What is refused is
    /// answered once all that it may rest on is on disk.
    Accepted,
    /// Once its events are on disk.
    #[default]
    Durable,
}

/// What goes with a command.
#[derive(Clone, Debug, Default)]
pub struct CommandOptions {
    /// What the caller expects of the aggregate's stream.
    pub expected: Expected,
    /// Name of the command: sent again to the same aggregate under it, it has no second effect and gets the same answer,
    /// for as long as the partition's window remembers it. To another aggregate, of this type or another, it is another
    /// command, so one request may use its id for all that it sends, once per aggregate.
    pub id: Option<CommandId>,
    /// When it is answered.
    pub acknowledge: Acknowledge,
    /// Where it came from; stored with each of its events.
    pub metadata: Option<Box<Metadata>>,
    /// When it happened, if not when it is recorded.
    pub event_time: Option<Timestamp>,
}

/// An accepted command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Events that it gave.
    pub events: u32,
    /// Number of the stream's last event; `None` while it has none.
    pub version: Option<u64>,
    /// Position of its last event; of the last event of the partition at the time when it gave none,
    /// `None` when the partition was empty.
    pub position: Option<Position>,
    /// Whether this is the answer to an earlier command with the same id.
    pub is_repeat: bool,
}

impl Ack {
    /// What a caller who got this has seen: a query [`at_least`](crate::projection::TableReader) this
    /// token sees the command's effect.
    #[must_use]
    pub fn token(&self) -> Token {
        self.position.map_or_else(Token::default, Token::from)
    }
}

/// Why a command was not accepted. Unless a variant says otherwise, nothing was stored.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError<R> {
    /// The aggregate refused.
    #[error("rejected: {0}")]
    Rejected(R),
    /// The stream is not as the caller expected.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The id is not part of a stream id.
    #[error(transparent)]
    StreamId(#[from] StreamIdError),
    /// User code panicked on this command; the aggregate is as it was.
    #[error("the aggregate panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// An event could not be encoded, or the command's events do not fit into a frame of their own.
    #[error(transparent)]
    Event(#[from] TurnError),
    /// An event of the stream cannot be read by this program: see the error for what is missing.
    #[error("event {version} of the stream cannot be read: {cause}")]
    Unreadable {
        /// Number of the event in its stream.
        version: u64,
        /// Why.
        cause: DecodeError,
    },
    /// The log could not be read to activate the aggregate.
    #[error("the log could not be read: {0}")]
    Log(Arc<LogError>),
    /// The partition's mailbox is full: wait, or slow down.
    #[error("the partition is overloaded")]
    Overloaded,
    /// The engine is shutting down, or the partition was given up.
    #[error("the partition takes nothing any more")]
    Closed,
    /// No answer: the events may be stored. A retry under the same command id does not store them twice while
    /// the partition's window remembers it, see
    /// [`DedupLimits`](millstream_engine::partition::DedupLimits).
    #[error("no answer from the partition, outcome unknown: {cause}")]
    OutcomeUnknown {
        /// What is known of why.
        cause: String,
    },
}

impl<R> CommandError<R> {
    /// Whether the same command may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded | Self::OutcomeUnknown { .. } | Self::Log(_) => true,
            Self::Rejected(_)
            | Self::Conflict(_)
            | Self::StreamId(_)
            | Self::Panicked { .. }
            | Self::Event(_)
            | Self::Unreadable { .. }
            | Self::Closed => false,
        }
    }

    pub(super) fn unknown(cause: &LogError) -> Self {
        Self::OutcomeUnknown {
            cause: cause.to_string(),
        }
    }
}

impl<R> From<LogError> for CommandError<R> {
    fn from(error: LogError) -> Self {
        Self::Log(Arc::new(error))
    }
}

/// The answer to a command.
pub type CommandResult<A> = Result<Ack, CommandError<<A as Aggregate>::Rejection>>;

/// A command with all that the host needs of it.
pub(super) struct Envelope<A: Aggregate> {
    pub(super) id: CompactString,
    /// Hash of the whole stream id.
    pub(super) hash: u64,
    pub(super) command: A::Command,
    pub(super) options: CommandOptions,
}

impl<A: Aggregate> Envelope<A> {
    /// Of one that travels in a bulk: itself, as [`CommandItem::single`].
    pub(super) const fn single(&self) -> Option<&Self> {
        Some(self)
    }
}

/// Where one caller waits for the answers to several commands.
pub(super) type BulkReply<A> =
    Reply<Vec<CommandResult<A>>, CommandError<<A as Aggregate>::Rejection>>;

/// Commands of a bulk that wait in a lane beyond the one that its item counts for; taken off again when
/// dropped, wherever that happens.
#[derive(Debug)]
pub(super) struct Counted {
    extra: Arc<AtomicUsize>,
    count: usize,
}

impl Counted {
    pub(super) fn add(extra: &Arc<AtomicUsize>, count: usize) -> Self {
        extra.fetch_add(count, Ordering::Relaxed);
        Self {
            extra: Arc::clone(extra),
            count,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.extra.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// What lies in a lane: one command, or several that travel together and are answered together.
pub struct CommandItem<A: Aggregate>(pub(super) Item<A>);

pub(super) enum Item<A: Aggregate> {
    One(
        Envelope<A>,
        Reply<Ack, CommandError<<A as Aggregate>::Rejection>>,
    ),
    Bulk(Vec<Envelope<A>>, BulkReply<A>, Counted),
}

impl<A: Aggregate> CommandItem<A> {
    /// Its command, if it is one alone.
    pub(super) const fn single(&self) -> Option<&Envelope<A>> {
        match &self.0 {
            Item::One(envelope, _) => Some(envelope),
            Item::Bulk(..) => None,
        }
    }

    /// The same, taken out.
    pub(super) fn into_command(self) -> Option<A::Command> {
        match self.0 {
            Item::One(envelope, _) => Some(envelope.command),
            Item::Bulk(..) => None,
        }
    }
}

impl<A: Aggregate> std::fmt::Debug for CommandItem<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Item::One(envelope, _) => write!(f, "command to {}-{}", A::CATEGORY, envelope.id),
            Item::Bulk(envelopes, ..) => {
                write!(f, "{} commands to {}", envelopes.len(), A::CATEGORY)
            }
        }
    }
}
