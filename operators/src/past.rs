//! Moments of the past, asked for by name.
//!
//! Place: a question about the past -> **[`At`]** -> which events of a partition count -> a replay of just those.
//! The log knows two times of an event: when it was recorded, which orders a partition, and when it happened, which
//! may be any. Which one is meant is part of the question and never guessed: there is no `At::Time`.
//! Invariant: the events of a moment other than [`At::EventTime`] are a beginning of each partition, so the same question
//! has the same answer for ever once later events are durable.
//! Not here: replays, see [`aggregate::past`](crate::aggregate) and [`projection::past`](crate::projection).

use millstream_engine::codec::{DecodeError, EncodeError};
use millstream_engine::event::{Offset, PartitionId, Position, StreamIdError, Token};
use millstream_engine::log::frame::Record;
use millstream_engine::log::{LogError, LogReader};
use millstream_engine::time::Timestamp;

/// A moment of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum At {
    /// After all that is durable when the question is asked.
    Latest,
    /// After the event with this number of the stream, which counts from 0. For one stream alone.
    Version(u64),
    /// After all that the token has seen, and nothing else: of a partition that it does not know nothing.
    Position(Token),
    /// What the log held at this time: events recorded at it or earlier. What was known then.
    RecordedTime(Timestamp),
    /// Events that happened at this time or earlier as far as is known today, in the order of the log, whenever they
    /// were recorded. What was the case then. An event of which nobody said when it happened did when it was recorded.
    EventTime(Timestamp),
}

impl From<Token> for At {
    fn from(token: Token) -> Self {
        Self::Position(token)
    }
}

impl From<&Token> for At {
    fn from(token: &Token) -> Self {
        Self::Position(token.clone())
    }
}

impl From<Position> for At {
    fn from(position: Position) -> Self {
        Self::Position(position.into())
    }
}

/// Why there is no answer about the past. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PastError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The id is not part of a stream id.
    #[error(transparent)]
    StreamId(#[from] StreamIdError),
    /// The stream has fewer events at that moment, or the event is not among them.
    #[error("there is no event {version} of {stream} at that moment, it has {events} events")]
    NoSuchVersion {
        /// The stream.
        stream: String,
        /// The version that was asked for.
        version: u64,
        /// How many events the stream has at that moment.
        events: u64,
    },
    /// The moment lies behind the end of the log: a token of another log, or of one before a backup was restored.
    #[error("position {position} is ahead of the log, which ends before {partition}:{next}", partition = position.partition)]
    Ahead {
        /// The position that was asked for.
        position: Position,
        /// The offset that the next event of its partition gets.
        next: Offset,
    },
    /// Versions count within one stream, and more than one was asked about.
    #[error("a version is a moment of one stream: ask for a position or a time")]
    NotOneStream,
    /// One stream alone was asked for, of a projection that looks into the tables of others: their events are in other streams.
    #[error(
        "{projection} looks into the tables of other projections: one of its streams cannot be replayed alone, replay all"
    )]
    LooksIntoOthers {
        /// Name of the projection.
        projection: &'static str,
    },
    /// An event cannot be read by this program: see the error for what is missing.
    #[error("event {version} of {stream} cannot be read: {cause}")]
    Unreadable {
        /// Its stream.
        stream: String,
        /// Its number there.
        version: u64,
        /// Why.
        cause: DecodeError,
    },
    /// A row that a replay came to cannot be written.
    #[error("a row of {projection} cannot be written: {cause}")]
    Unwritable {
        /// Name of the projection.
        projection: &'static str,
        /// Why.
        cause: EncodeError,
    },
    /// The aggregate's code panicked on an event.
    #[error("event {version} of {stream} made the aggregate panic: {message}")]
    Panicked {
        /// The stream.
        stream: String,
        /// The event's number there.
        version: u64,
        /// What it said.
        message: String,
    },
}

impl At {
    /// Which events of a partition count at this moment.
    ///
    /// Cost: for a recorded time a search of the partition by halves, else at most a look at its end.
    ///
    /// # Errors
    /// [`PastError::Ahead`] for a position that the log does not hold; [`PastError::Log`].
    pub fn cut(
        &self,
        reader: &(impl LogReader + ?Sized),
        partition: PartitionId,
    ) -> Result<Cut, PastError> {
        let end = reader.head(partition)?.next;
        let cut = |end| Cut {
            end,
            rule: Rule::All,
        };
        Ok(match self {
            Self::Latest => cut(end),
            Self::Version(version) => Cut {
                end,
                rule: Rule::Version(*version),
            },
            Self::Position(token) => cut(seen(token, partition, end)?),
            Self::RecordedTime(Timestamp::MAX) => cut(end),
            Self::RecordedTime(time) => {
                let behind = Timestamp(time.0 + 1);
                cut(reader.first_recorded_at(partition, behind)?)
            }
            Self::EventTime(time) => Cut {
                end,
                rule: Rule::EventTime(*time),
            },
        })
    }

    /// The token of all events that count at this moment, where they are a beginning of each partition: for a version or
    /// an event time that of all that is durable.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    pub fn token(&self, reader: &(impl LogReader + ?Sized)) -> Result<Token, PastError> {
        let mut token = Token::default();
        for partition in (0..reader.partitions()).map(PartitionId) {
            let end = self.cut(reader, partition)?.end;
            if let Some(offset) = end.0.checked_sub(1).map(Offset) {
                token.observe(Position { partition, offset });
            }
        }
        Ok(token)
    }
}

/// The first offset of a partition that a token has not seen.
fn seen(token: &Token, partition: PartitionId, end: Offset) -> Result<Offset, PastError> {
    let mut positions = token.positions().iter();
    match positions.find(|position| position.partition == partition) {
        None => Ok(Offset(0)),
        Some(position) if position.offset < end => Ok(position.offset.plus(1)),
        Some(position) => Err(PastError::Ahead {
            position: *position,
            next: end,
        }),
    }
}

/// The events of one partition that count at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// None from this offset on does.
    end: Offset,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    All,
    Version(u64),
    EventTime(Timestamp),
}

impl Cut {
    /// No event from this offset on counts.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Whether an event counts.
    #[must_use]
    pub fn holds(&self, record: &Record<'_>) -> bool {
        self.counts(record.offset, record.version, record.event_time)
    }

    pub(crate) fn counts(&self, offset: Offset, version: u64, event_time: Timestamp) -> bool {
        offset < self.end
            && match self.rule {
                Rule::All => true,
                Rule::Version(last) => version <= last,
                Rule::EventTime(last) => event_time <= last,
            }
    }

    /// Whether no event of its stream behind this one counts.
    pub(crate) fn ends_with(&self, offset: Offset, version: u64) -> bool {
        offset.plus(1) >= self.end || matches!(self.rule, Rule::Version(last) if last <= version)
    }

    /// The same without the versions behind `last`, of a cut that [is a beginning](Self::is_beginning).
    pub(crate) fn up_to_version(&self, last: u64) -> Self {
        let last = self.version().map_or(last, |own| own.min(last));
        Self {
            end: self.end,
            rule: Rule::Version(last),
        }
    }

    /// The version that must be there.
    pub(crate) fn version(&self) -> Option<u64> {
        match self.rule {
            Rule::Version(version) => Some(version),
            Rule::All | Rule::EventTime(_) => None,
        }
    }

    /// Whether the events of a stream that count are its first ones.
    pub(crate) fn is_beginning(&self) -> bool {
        !matches!(self.rule, Rule::EventTime(_))
    }
}
