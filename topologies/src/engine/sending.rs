//! Commands to the aggregates of a topology.

use std::any::TypeId;
use std::time::Duration;

use millstream_engine::event::Position;
use millstream_operators::aggregate::{
    Ack, Aggregate, AggregateHandle, CommandError, CommandOptions, CommandResult, TrySendError,
};
use millstream_operators::projection::{ParkedStream, QueryError, Row, Table, TableKey};

use super::Engine;
use super::query::DEADLINE;

/// Why a command's effect was not seen in a table.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectedError<R> {
    /// The command was not accepted.
    #[error(transparent)]
    Command(#[from] CommandError<R>),
    /// The command may be accepted, but its effect was not seen.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The command was accepted, but the table does not have its effect: the projection failed on one of its events, or on an
    /// earlier one of its stream. The effect comes once the event can be applied, or somebody has decided about its letter.
    #[error(
        "the command was accepted, but its stream is parked since the event at {} failed",
        parked.letter.offset
    )]
    Parked {
        /// The answer to the command.
        ack: Ack,
        /// What its stream waits for.
        parked: ParkedStream,
    },
}

impl Engine {
    /// The way to the aggregates of type `A`. Keep it where many commands are sent.
    ///
    /// # Panics
    /// When the topology has no such aggregate: a mistake in the program, not in its input.
    #[must_use]
    pub fn aggregate<A: Aggregate>(&self) -> AggregateHandle<A> {
        let found = self.inner.handles.get(&TypeId::of::<A>());
        let handle = found.and_then(|handle| handle.downcast_ref::<AggregateHandle<A>>());
        match handle {
            Some(handle) => handle.clone(),
            None => panic!(
                "topology {:?} has no aggregate of category {:?}: add it with .aggregate::<…>()",
                self.inner.name,
                A::CATEGORY
            ),
        }
    }

    /// Sends a command to the aggregate `id` and resolves once its events are durable.
    ///
    /// # Errors
    /// [`CommandError`].
    ///
    /// # Panics
    /// As [`aggregate`](Self::aggregate).
    pub async fn send<A: Aggregate>(&self, id: &str, command: A::Command) -> CommandResult<A> {
        self.aggregate::<A>().send(id, command).await
    }

    /// Sends a command with expectations, a command id, metadata or another acknowledgement.
    ///
    /// # Errors
    /// [`CommandError`].
    ///
    /// # Panics
    /// As [`aggregate`](Self::aggregate).
    pub async fn send_with<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
    ) -> CommandResult<A> {
        self.aggregate::<A>().send_with(id, command, options).await
    }

    /// Like [`send_with`](Self::send_with), but where that would wait for a partition that is busy it answers
    /// [`CommandError::Overloaded`] and hands the command back.
    ///
    /// # Errors
    /// [`TrySendError`] with the [`CommandError`].
    ///
    /// # Panics
    /// As [`aggregate`](Self::aggregate).
    pub async fn try_send_with<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
    ) -> Result<Ack, TrySendError<A>> {
        let handle = self.aggregate::<A>();
        handle.try_send_with(id, command, options).await
    }

    /// Sends a command and resolves once its effect is in `table` as well, for which it waits 10 seconds at most.
    ///
    /// # Errors
    /// As [`send_projected_with`](Self::send_projected_with).
    ///
    /// # Panics
    /// As [`aggregate`](Self::aggregate).
    pub async fn send_projected<A: Aggregate, K: TableKey, R: Row>(
        &self,
        id: &str,
        command: A::Command,
        table: &Table<K, R>,
    ) -> Result<Ack, ProjectedError<A::Rejection>> {
        let options = CommandOptions::default();
        self.send_projected_with::<A, K, R>(id, command, options, table, DEADLINE)
            .await
    }

    /// Sends a command with expectations, a command id or metadata, and resolves once its effect is in `table` as well. Once the
    /// command is accepted it waits for that as long as `deadline`. A table shows what is durable, so
    /// [`Acknowledge::Accepted`](millstream_operators::aggregate::Acknowledge::Accepted) loses nothing and gains little here.
    ///
    /// Whoever got an error from the table and sends the command again under the same id waits for the effect of the first.
    ///
    /// # Errors
    /// The command's error, else the query's or [`ProjectedError::Parked`]: the command was accepted then. An event that is
    /// being freed at this moment may be told to be parked although its effect is in the table just now, and so may one of a
    /// stream whose events are routed to several keys, behind one that failed under another key; never the other way round. A
    /// command that gave no event is told so if what it was decided on is parked. An event that somebody has discarded has no
    /// effect to wait for.
    ///
    /// # Panics
    /// As [`aggregate`](Self::aggregate).
    pub async fn send_projected_with<A: Aggregate, K: TableKey, R: Row>(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
        table: &Table<K, R>,
        deadline: Duration,
    ) -> Result<Ack, ProjectedError<A::Rejection>> {
        // Nothing is sent if there is no such table.
        self.table(table)?;
        let ack = self.send_with::<A>(id, command, options).await?;
        let query = self.query(table).at_least(&ack.token());
        match (query.deadline(deadline).parked(id).await?, ack.position) {
            (Some(parked), Some(position))
                if self.waits_behind::<A>(table.name(), &parked, position) =>
            {
                Err(ProjectedError::Parked { ack, parked })
            }
            _ => Ok(ack),
        }
    }

    /// Whether what an aggregate of type `A` did at `position` waits behind a parked event of its id. What the id's stream is
    /// parked for later keeps nothing of it back, and a projection may read streams of another category with the same ids.
    fn waits_behind<A: Aggregate>(
        &self,
        table: &str,
        parked: &ParkedStream,
        position: Position,
    ) -> bool {
        let versions = self.inner.owner(table).map(|owner| owner.started());
        let mut versions = versions.into_iter().flatten();
        let letter = &parked.letter;
        let parking = versions.find(|version| version.registered.id == letter.projection);
        parking.is_some_and(|version| version.category == A::CATEGORY)
            && letter.partition == position.partition
            && letter.offset <= position.offset
    }
}
