//! The feed of a table's changes: live, resumable, in order.
//!
//! Changes of one actor come in the order in which they were made: those of one partition with
//! [`Rows::ByPartition`](crate::projection::Rows), all of them with `Global`. Between actors there is no order.
//! A feed holds one page of changes and no read of the store; it costs the projection nothing but that it stores sooner
//! while somebody waits.

mod page;

use std::collections::VecDeque;

use millstream_engine::codec::StandaloneReader;
use millstream_engine::event::Token;

use super::format::Stamp;
use super::{ChangeCursor, ChangesError, Head, VersionIds};
use crate::projection::{Row, TableKey, TableReader};

/// Where a feed begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangesFrom {
    /// With the oldest change that is kept: all of them, if the table keeps them for ever.
    Oldest,
    /// With what is stored from now on. A change that is shown at this moment and not stored comes as well.
    Now,
    /// Behind a place: that of an earlier feed, or of a snapshot.
    Behind(ChangeCursor),
}

impl From<ChangeCursor> for ChangesFrom {
    fn from(cursor: ChangeCursor) -> Self {
        Self::Behind(cursor)
    }
}

impl From<&ChangeCursor> for ChangesFrom {
    fn from(cursor: &ChangeCursor) -> Self {
        Self::Behind(cursor.clone())
    }
}

/// What one event made of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange<K, R> {
    /// The row's key.
    pub key: K,
    /// The row; `None`: it was removed.
    pub row: Option<R>,
    /// What it was before, in a feed that was asked for it; `None` as well if it was not there.
    pub before: Option<R>,
    /// The event. One that changes several rows comes with several changes, right behind each other.
    pub stamp: Stamp,
}

/// A change on its way to the consumer.
#[derive(Debug)]
struct Ready<K, R> {
    actor: u16,
    head: Head,
    change: RowChange<K, R>,
}

/// A feed of the changes of one table.
///
/// Each change comes once and all of them come, over restarts and crashes, to whoever goes on from the cursor that he had
/// stored with what he did about the change.
#[derive(Debug)]
pub struct Changes<K: TableKey, R: Row> {
    reader: TableReader<K, R>,
    ids: VersionIds,
    seed: u64,
    /// Where it is, by actor.
    at: Vec<At>,
    ready: VecDeque<Ready<K, R>>,
    /// The actor that is read first next time.
    turn: usize,
    with_before: bool,
    /// What was durable when it began: by then the projection must have come to where it goes on from.
    durable: Option<Token>,
    decoder: StandaloneReader,
}

/// Where the changes and versions of a table are.
pub(super) fn versioned<K: TableKey, R: Row>(
    reader: &TableReader<K, R>,
) -> Result<VersionIds, ChangesError> {
    let table = reader.table().name();
    let ids = reader.version_ids();
    ids.ok_or(ChangesError::NotVersioned { table })
}

/// What is told when the changes behind a place are gone.
pub(super) fn expired<K: TableKey, R: Row>(
    reader: &TableReader<K, R>,
    ids: VersionIds,
    seed: u64,
) -> Result<ChangesError, ChangesError> {
    let oldest = reader.oldest_heads(ids, reader.actors())?;
    let table = reader.table().name();
    Ok(ChangesError::Expired {
        table,
        oldest: Box::new(ChangeCursor::new(seed, oldest)),
    })
}

/// Where a feed is among the changes of one actor.
#[derive(Clone, Copy, Debug)]
struct At {
    actor: u16,
    /// Behind the change that was given last.
    given: Head,
    /// Behind the one that was read last.
    read: Head,
    /// It begins with whatever is the oldest, and has read nothing.
    is_oldest: bool,
}

impl<K: TableKey, R: Row> Changes<K, R> {
    pub(super) fn new(
        reader: &TableReader<K, R>,
        from: &ChangesFrom,
    ) -> Result<Self, ChangesError> {
        let (ids, table) = (versioned(reader)?, reader.table().name());
        let seed = ids.seed(reader.store())?;
        let actors = reader.actors();
        let is_oldest = *from == ChangesFrom::Oldest;
        let begin = match from {
            ChangesFrom::Oldest => {
                let oldest = reader.oldest_heads(ids, actors.iter().copied())?;
                ChangeCursor::new(seed, oldest)
            }
            ChangesFrom::Now => reader.cursor()?,
            ChangesFrom::Behind(cursor) => cursor.clone(),
        };
        let mut own = begin.heads.iter();
        if begin.seed != seed || !own.all(|(actor, _)| actors.contains(actor)) {
            return Err(ChangesError::Foreign { table });
        }
        let at = actors.into_iter().map(|actor| At {
            actor,
            given: begin.head(actor),
            read: begin.head(actor),
            is_oldest,
        });
        let at = at.collect();
        Ok(Self {
            reader: reader.clone(),
            ids,
            seed,
            at,
            ready: VecDeque::new(),
            turn: 0,
            with_before: false,
            durable: reader.board().durable(),
            decoder: StandaloneReader::new(),
        })
    }

    /// Gives each row as it was before as well. Cost: one more read of the store per change.
    #[must_use]
    pub fn with_before(self) -> Self {
        Self {
            with_before: true,
            ..self
        }
    }

    /// The place behind the change that was given last. Stored together with what was done about it, it is where to go on.
    #[must_use]
    pub fn cursor(&self) -> ChangeCursor {
        let heads = self.at.iter().map(|at| (at.actor, at.given));
        ChangeCursor::new(self.seed, heads)
    }

    /// The next change; waits for one. `None` when the engine has shut down and all was given.
    ///
    /// Nothing is lost if the future is dropped while it waits.
    ///
    /// # Errors
    /// [`ChangesError`]; [`QueryError::Stopped`](crate::projection::QueryError::Stopped) when the projection was given up, once all that it has stored was given.
    pub async fn next(&mut self) -> Result<Option<RowChange<K, R>>, ChangesError> {
        loop {
            // Before the look, so that what is stored in between is not missed.
            let board = std::sync::Arc::clone(self.reader.board());
            let mut stored = std::pin::pin!(board.stored_more());
            stored.as_mut().enable();
            let end = board.end();
            if let Some(change) = self.try_next()? {
                return Ok(Some(change));
            }
            match end {
                None => {}
                Some(Ok(())) => return Ok(None),
                Some(Err(cause)) => return Err(cause.into()),
            }
            let waiting = board.store_sooner();
            stored.await;
            drop(waiting);
        }
    }

    /// The next change, if one is stored; does not wait.
    ///
    /// # Errors
    /// [`ChangesError`].
    pub fn try_next(&mut self) -> Result<Option<RowChange<K, R>>, ChangesError> {
        if self.ready.is_empty() {
            self.fill()?;
        }
        let Some(Ready {
            actor,
            head,
            change,
        }) = self.ready.pop_front()
        else {
            return Ok(None);
        };
        if let Some(at) = self.at.iter_mut().find(|at| at.actor == actor) {
            at.given = head;
        }
        Ok(Some(change))
    }
}
