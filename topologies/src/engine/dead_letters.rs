//! What a person does about dead letters: have them tried again, or give them up.
//!
//! Place: a program, or a request left in the data folder by the command line -> **decisions** -> the log, in the
//! partition of each letter -> the projection, which carries them out. Nothing else is written: the decision lies in
//! the log with who and why, and what a projection makes of it is stored with its rows and position.
//! Failure: some decisions may be in the log when an append fails. Deciding again does no harm: a projection that
//! finds no such letter any more, or one that was tried since, does nothing.

use millstream_engine::event::{PartitionId, StreamIdError, Token};
use millstream_engine::partition::{AppendError, Appender, Expected, NewEvent};
use millstream_engine::state::{DeadLetterId, StateError};
use millstream_operators::projection::{LetterDecision, LetterOrder};

use super::Engine;

/// Decisions that are appended together.
const TOGETHER: usize = 256;

/// The dead letters of an engine's projections. Made by [`Engine::dead_letters`].
#[derive(Clone, Debug)]
pub struct DeadLetters {
    engine: Engine,
}

/// Why a decision was not taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// There is no such letter: it may have been settled.
    #[error("there is no dead letter {id}: it may have been settled")]
    Unknown {
        /// Its id.
        id: DeadLetterId,
    },
    /// No projection waits for a decision on it.
    #[error("dead letter {id} is not a projection's: nothing waits for a decision on it")]
    NotParked {
        /// Its id.
        id: DeadLetterId,
    },
    /// Who comes to it later must be told.
    #[error("a decision about a dead letter needs {what}")]
    Missing {
        /// Who decided, or why.
        what: &'static str,
    },
    /// It could not be appended. Some of the decisions may be; decide again.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The letter could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A partition that the store does not have.
    #[error("the stream of decisions: {0}")]
    Stream(#[from] StreamIdError),
}

impl Engine {
    /// What somebody can do about its dead letters. They are read from [`state`](Self::state).
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters {
            engine: self.clone(),
        }
    }
}

impl DeadLetters {
    /// Has these events tried again, in this order, each with what waits behind it; many of them at most at the
    /// rate of [`redrives_per_second`](millstream_operators::projection::ProjectionConfig::redrives_per_second).
    /// One that fails again is a dead letter again, with its history. Letters that are tried again anyhow stay as they
    /// are, and the same call twice does what one does.
    ///
    /// Resolves once the decisions are durable; a projection that shows the token has begun with them.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn redrive(
        &self,
        letters: &[DeadLetterId],
        by: &str,
        reason: &str,
    ) -> Result<Token, DecideError> {
        let orders = self.orders(letters, by, reason)?;
        self.take(orders.into_iter().map(LetterDecision::Redriven).collect())
            .await
    }

    /// Gives these events up: rows will lack them for ever, also when they are rebuilt and the event fails again.
    /// What waits behind each goes on. As [`redrive`](Self::redrive) otherwise.
    ///
    /// # Errors
    /// [`DecideError`]; a reason is needed.
    pub async fn discard(
        &self,
        letters: &[DeadLetterId],
        by: &str,
        reason: &str,
    ) -> Result<Token, DecideError> {
        if reason.trim().is_empty() {
            return Err(DecideError::Missing { what: "a reason" });
        }
        let orders = self.orders(letters, by, reason)?;
        self.take(orders.into_iter().map(LetterDecision::Discarded).collect())
            .await
    }

    fn orders(
        &self,
        letters: &[DeadLetterId],
        by: &str,
        reason: &str,
    ) -> Result<Vec<LetterOrder>, DecideError> {
        if by.trim().is_empty() {
            return Err(DecideError::Missing {
                what: "the name of who decided",
            });
        }
        let store = self.engine.state();
        let order = |&id| {
            let letter = store.dead_letter(id)?.ok_or(DecideError::Unknown { id })?;
            LetterOrder::of(&letter, by, reason).ok_or(DecideError::NotParked { id })
        };
        letters.iter().map(order).collect()
    }

    async fn take(&self, decisions: Vec<LetterDecision>) -> Result<Token, DecideError> {
        let partitions = self.engine.partitions();
        append(&self.engine.inner.appender, partitions, decisions).await
    }
}

/// Appends decisions, those of one partition in their order.
pub(super) async fn append(
    appender: &Appender,
    partitions: u16,
    decisions: Vec<LetterDecision>,
) -> Result<Token, DecideError> {
    let mut sorted = decisions;
    // Stable.
    sorted.sort_by_key(|decision| decision.order().partition);
    let mut token = Token::default();
    for of_partition in sorted.chunk_by(|a, b| a.order().partition == b.order().partition) {
        let Some(first) = of_partition.first() else {
            continue;
        };
        let partition = PartitionId(first.order().partition);
        let stream = LetterDecision::stream(partition, partitions)?;
        for chunk in of_partition.chunks(TOGETHER) {
            let events = chunk.iter().cloned().map(NewEvent::typed).collect();
            let appended = appender
                .append(stream.clone(), Expected::Any, events)
                .await?;
            token.merge(&appended.token());
        }
    }
    Ok(token)
}
