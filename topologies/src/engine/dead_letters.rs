//! What a person does about dead letters: have them tried again, as they are or edited, or give them up.
//!
//! Place: a program, or a request left in the data folder by the command line -> **decisions** -> the log, in the
//! partition of each letter -> the projection, or the stage of a dataflow, which carries them out. Nothing else is written:
//! the decision lies in the log with who and why, and what a projection makes of it is stored with its rows and position,
//! what a stage makes of it with its checkpoint.
//! Failure: some decisions may be in the log when an append fails. Deciding again does no harm: a projection that
//! finds no such letter any more, or one that was tried since, does nothing.

mod late;
mod waiting;

use millstream_engine::event::{StreamIdError, Token};
use millstream_engine::fail_point;
use millstream_engine::partition::{AppendError, Appender, Expected, NewEvent};
use millstream_engine::state::{DeadLetterId, SeenLetter, StateError};
use millstream_operators::failing::ItemLetters;
use millstream_operators::projection::{EDIT_BYTES_MAX, LetterDecision, LetterOrder};

use self::late::KnownLate;
pub(super) use self::waiting::Waiting;
use super::Engine;

/// Decisions that are appended together.
const TOGETHER: usize = 256;

/// The dead letters of an engine's projections and dataflows. Made by [`Engine::dead_letters`].
#[derive(Clone, Debug)]
pub struct DeadLetters {
    engine: Engine,
}

/// Why a decision was not taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// There is no such letter: it may have been settled. That of an event which has just failed is stored, and may be decided
    /// about, as soon as rows would be ([`store_every_ms`](millstream_operators::projection::ProjectionConfig::store_every_ms)).
    #[error("there is no dead letter {id}: it may have been settled")]
    Unknown {
        /// Its id.
        id: DeadLetterId,
    },
    /// No projection or dataflow that runs waits for a decision on it.
    #[error("dead letter {id} is of nothing that runs: nobody waits for a decision on it")]
    NotParked {
        /// Its id.
        id: DeadLetterId,
    },
    /// It is tried again by itself, or somebody has decided already: it may be settled the next moment.
    #[error("dead letter {id} is being tried again: decide once it waits for somebody")]
    Retrying {
        /// Its id.
        id: DeadLetterId,
    },
    /// An item of a dataflow failed, or came too late, and no complete checkpoint knows of that: a restart could take the
    /// decision for one about another item.
    #[error("dead letter {id} is in no checkpoint yet: decide once the next one is complete")]
    Unsaved {
        /// Its id.
        id: DeadLetterId,
    },
    /// Rows of a newer version are kept, which may have gone past the event: they would not be as if made anew.
    #[error(
        "{projection} has rows of version {newer} as well: run that one, or delete the state, and decide then"
    )]
    NewerVersion {
        /// Name of the projection.
        projection: String,
        /// Its newest version.
        newer: u32,
    },
    /// Who comes to it later must be told.
    #[error("a decision about a dead letter needs {what}")]
    Missing {
        /// Who decided, or why.
        what: &'static str,
    },
    /// What is to take the place of a payload is longer than [`EDIT_BYTES_MAX`].
    #[error("the edited payload has {bytes} bytes of JSON: an edit may have {EDIT_BYTES_MAX}")]
    EditTooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// What is to take the place of a payload is no JSON.
    #[error("the edited payload is not JSON: {cause}")]
    NotJson {
        /// Where it ends being it.
        cause: String,
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
    /// One that fails again is a dead letter again, with its history. The same call twice does what one does, or is
    /// refused: the letter is tried already.
    ///
    /// Resolves once the decisions are durable; a projection that shows the token has begun with them. Stages of dataflows
    /// begin with them within a second; those of one that has ended or failed with the next start of the program.
    ///
    /// # Errors
    /// [`DecideError`]; nothing was decided then, unless it is [`DecideError::Append`].
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

    /// Gives these events up: rows of this version and of later ones lack them for ever, also when they are made anew,
    /// and whether the events would fail then or not. What waits behind each goes on. As [`redrive`](Self::redrive)
    /// otherwise. Letters of late items go at once, and the log says nothing of them: they are deleted for good, also after a
    /// power failure, once it resolves, and a dataflow that goes back to a checkpoint before one of them finds it again.
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
        let waiting = Waiting::of(&self.engine)?;
        let mut known = KnownLate::of(&self.engine);
        let (mut late, mut others) = (Vec::new(), Vec::new());
        for &id in letters {
            let letter = self.engine.state().dead_letter(id)?;
            match letter.filter(|letter| waiting.is_late(letter)) {
                Some(letter) => {
                    known.check(&waiting, &letter)?;
                    late.push(SeenLetter::from(&letter));
                }
                None => others.push(id),
            }
        }
        let orders = self.orders(&others, by, reason)?;
        let_go(&self.engine, late).await?;
        self.take(orders.into_iter().map(LetterDecision::Discarded).collect())
            .await
    }

    /// Puts another payload in the place of an event's, or of an item, and has it tried again so. The event itself stays in the
    /// log as it is; rows of this version and of later ones are made of the edited one for ever, also when they are made
    /// anew. Who edits again, or redrives, does so on top of it; of two decisions about the same try the first counts, so wait for
    /// what comes of one. As [`redrive`](Self::redrive) otherwise; what is no event of its type is a dead letter again, which
    /// says so.
    ///
    /// `payload` is JSON, as `dead-letters show --json` prints it: of an event in the shape that its type had when it was written, so
    /// that upcasters take it on. Parts that are as they were stay what they were, also where JSON cannot hold them. An item
    /// is read as JSON is, and keeps its key and its time.
    ///
    /// # Errors
    /// [`DecideError`]; a reason is needed, and JSON.
    pub async fn edit(
        &self,
        letter: DeadLetterId,
        payload: &str,
        by: &str,
        reason: &str,
    ) -> Result<Token, DecideError> {
        if reason.trim().is_empty() {
            return Err(DecideError::Missing { what: "a reason" });
        }
        if payload.len() > EDIT_BYTES_MAX {
            let bytes = payload.len();
            return Err(DecideError::EditTooLarge { bytes });
        }
        serde_json::from_str::<serde::de::IgnoredAny>(payload).map_err(|cause| {
            DecideError::NotJson {
                cause: cause.to_string(),
            }
        })?;
        let orders = self.orders(&[letter], by, reason)?;
        let edited = orders.into_iter().map(|order| LetterDecision::Edited {
            order,
            payload: payload.to_owned(),
        });
        self.take(edited.collect()).await
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
        let waiting = Waiting::of(&self.engine)?;
        let order = |&id| {
            let letter = self.engine.state().dead_letter(id)?;
            let letter = letter.ok_or(DecideError::Unknown { id })?;
            waiting.check(&letter)?;
            let order = waiting.order(&letter, by, reason);
            order.ok_or(DecideError::NotParked { id })
        };
        letters.iter().map(order).collect()
    }

    async fn take(&self, decisions: Vec<LetterDecision>) -> Result<Token, DecideError> {
        append(&self.engine, decisions).await
    }
}

/// Deletes those of these letters of late items that are as they were seen. Safe from a power failure once it resolves.
pub(super) async fn let_go(engine: &Engine, late: Vec<SeenLetter>) -> Result<(), DecideError> {
    if late.is_empty() {
        return Ok(());
    }
    let writer = engine.inner.state.clone();
    // Waits for room, and for the disk.
    let letting_go = engine
        .inner
        .runtime
        .spawn_blocking(move || writer.let_go(late));
    match letting_go.await {
        Ok(outcome) => Ok(outcome.map(|_gone| ())?),
        Err(_) => Err(AppendError::Closed.into()),
    }
}

/// Says that decisions were appended, whatever has come of the others.
struct Announcing(ItemLetters);

impl Drop for Announcing {
    fn drop(&mut self) {
        self.0.announce();
    }
}

/// Appends decisions, those of one partition in their order. In a task of its own: who does not wait for it any more has
/// them appended and announced all the same.
pub(super) async fn append(
    engine: &Engine,
    decisions: Vec<LetterDecision>,
) -> Result<Token, DecideError> {
    let (appender, partitions) = (engine.inner.appender.clone(), engine.partitions());
    // Some may be about items of dataflows.
    let announcing = Announcing(engine.inner.inputs.letters.clone());
    let appending = engine.inner.runtime.spawn(async move {
        let _announcing = announcing;
        append_all(&appender, partitions, decisions).await
    });
    match appending.await {
        Ok(appended) => appended,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being dropped.
            Err(_) => Err(AppendError::Closed.into()),
        },
    }
}

async fn append_all(
    appender: &Appender,
    partitions: u16,
    decisions: Vec<LetterDecision>,
) -> Result<Token, DecideError> {
    let partition_of = |decision: &LetterDecision| decision.order().log_partition(partitions);
    let mut sorted = decisions;
    // Stable.
    sorted.sort_by_key(partition_of);
    let mut token = Token::default();
    for of_partition in sorted.chunk_by(|a, b| partition_of(a) == partition_of(b)) {
        let Some(first) = of_partition.first() else {
            continue;
        };
        let partition = partition_of(first);
        let stream = LetterDecision::stream(partition, partitions)?;
        for chunk in of_partition.chunks(TOGETHER) {
            let events = chunk.iter().cloned().map(NewEvent::typed).collect();
            fail_point!(LETTER_BEFORE_DECISION);
            let appended = appender
                .append(stream.clone(), Expected::Any, events)
                .await?;
            fail_point!(LETTER_DECIDED);
            token.merge(&appended.token());
        }
    }
    Ok(token)
}
