//! Commands to the aggregates of a topology.

use std::any::TypeId;
use std::time::Duration;

use millstream_operators::aggregate::{
    Ack, Aggregate, AggregateHandle, CommandError, CommandOptions, CommandResult,
};
use millstream_operators::projection::{QueryError, Row, Table, TableKey};

use super::Engine;

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

    /// Sends a command and resolves once its effect is in `table` as well.
    ///
    /// # Errors
    /// The command's error, else the query's: the command was accepted then.
    ///
    /// # Panics
    /// As [`aggregate`](Self::aggregate).
    pub async fn send_projected<A: Aggregate, K: TableKey, R: Row>(
        &self,
        id: &str,
        command: A::Command,
        table: &Table<K, R>,
    ) -> Result<Ack, ProjectedError<A::Rejection>> {
        let mut reader = self.table(table)?;
        let ack = self.send::<A>(id, command).await?;
        let deadline = Duration::from_secs(10);
        loop {
            let board = reader.board();
            let reached = board.reached(&ack.token(), deadline).await;
            if !board.is_dropped() {
                return Ok(reached.map(|()| ack)?);
            }
            // By another version meanwhile: that one answers.
            reader = self.table(table)?;
        }
    }
}
