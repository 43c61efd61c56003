//! Asking tables.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::event::Token;
use millstream_operators::projection::{
    AnyReader, ProgressBoard, Projection, Query, QueryError, Row, Snapshot, Table, TableKey,
    TableReader,
};

use super::Engine;
use super::table_at::Told;

/// How long a query waits for its token unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// Rows of each table that a snapshot keeps of those that change, unless it says otherwise.
const KEPT_ROWS_MAX: usize = 1_000_000;

/// A projection that runs, and the readers of its tables.
pub(super) struct Shown {
    pub(super) board: Arc<ProgressBoard>,
    pub(super) readers: Vec<(&'static str, Arc<dyn AnyReader>)>,
    pub(super) told: Told,
}

impl Engine {
    /// The reader of a table. Keep it where many queries are asked.
    ///
    /// # Errors
    /// [`QueryError::UnknownTable`].
    pub fn table<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
    ) -> Result<TableReader<K, R>, QueryError> {
        let found = self.inner.tables.get(table.name());
        let reader = found.and_then(|reader| reader.as_any().downcast_ref::<TableReader<K, R>>());
        reader.cloned().ok_or(QueryError::UnknownTable {
            table: table.name(),
        })
    }

    /// Begins a query on a table.
    #[must_use]
    pub fn query<K: TableKey, R: Row>(&self, table: &Table<K, R>) -> Query<K, R> {
        Query::on(self.table(table))
    }

    /// Waits until every projection shows all that `token` has seen.
    ///
    /// # Errors
    /// [`QueryError::Behind`] when `deadline` passes; [`QueryError::Stopped`].
    pub async fn projected(&self, token: &Token, deadline: Duration) -> Result<(), QueryError> {
        for shown in &self.inner.shown {
            shown.board.reached(token, deadline).await?;
        }
        Ok(())
    }

    /// Begins to ask for all tables of projection `P` as they are after one batch: nothing of a batch that has been begun
    /// is seen, and nothing that happens later.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::catalog::bank::{Account, AccountCommand, BALANCES, Balances, Cents, Channel};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let topology = Topology::named("bank").aggregate::<Account>().projection(Balances).build()?;
    /// # let engine = Engine::open(folder.path()).run(topology).await?;
    /// let open = AccountCommand::Open { overdraft_limit: Cents::ZERO };
    /// let ack = engine.send::<Account>("42", open).await?;
    ///
    /// let before = engine.snapshot::<Balances>().at_least(&ack.token()).open().await?;
    /// let deposit = AccountCommand::Deposit { amount: Cents::new(100), channel: Channel::Cash, reference: 1 };
    /// engine.send_projected::<Account, _, _>("42", deposit, &BALANCES).await?;
    ///
    /// assert_eq!(before.table(&BALANCES)?.get(&"42".into())?, Some(Cents::ZERO));
    /// # engine.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn snapshot<P: Projection>(&self) -> SnapshotQuery {
        SnapshotQuery {
            engine: self.clone(),
            projection: P::NAME,
            token: Token::default(),
            deadline: DEADLINE,
            rows_max: KEPT_ROWS_MAX,
        }
    }
}

/// A question for all tables of a projection at one moment.
#[derive(Clone, Debug)]
pub struct SnapshotQuery {
    engine: Engine,
    projection: &'static str,
    token: Token,
    deadline: Duration,
    rows_max: usize,
}

impl SnapshotQuery {
    /// Asks that all that `token` has seen is in it. Tokens add up.
    #[must_use]
    pub fn at_least(mut self, token: &Token) -> Self {
        self.token.merge(token);
        self
    }

    /// Waits at most so long; 10 seconds unless said otherwise.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Rows of each table that may change while it is open, each of which takes memory; 1,000,000 unless said otherwise.
    /// When more do, it has no answers any more.
    #[must_use]
    pub fn rows_max(self, rows_max: usize) -> Self {
        Self { rows_max, ..self }
    }

    /// Opens it, once the projection has come far enough. Let it go when it is not needed any more: until then each row
    /// that changes is kept as it was.
    ///
    /// # Errors
    /// [`QueryError::Behind`] when the deadline passes; [`QueryError::Stopped`]; [`QueryError::UnknownProjection`].
    pub async fn open(self) -> Result<Snapshot, QueryError> {
        let mut all = self.engine.inner.shown.iter();
        let shown = all.find(|shown| shown.board.projection() == self.projection);
        let shown = shown.ok_or(QueryError::UnknownProjection {
            projection: self.projection,
        })?;
        loop {
            shown.board.reached(&self.token, self.deadline).await?;
            let snapshot = Snapshot::of(&shown.board, &shown.readers, self.rows_max);
            let mut both = snapshot.token().clone();
            both.merge(&self.token);
            // An actor that has begun again in between has gone back behind the token.
            if both == *snapshot.token() {
                return Ok(snapshot);
            }
        }
    }
}
