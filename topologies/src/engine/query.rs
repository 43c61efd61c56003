//! Asking tables.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::event::Token;
use millstream_operators::projection::{
    AnyReader, Projection, Query, QueryError, Row, Snapshot, Table, TableKey, TableReader,
};

use super::Engine;
use super::versions::{Version, Versions};

/// How long a query waits for its token unless it says otherwise.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Rows of each table that a snapshot keeps of those that change, unless it says otherwise.
pub(super) const KEPT_ROWS_MAX: usize = 1_000_000;

impl Engine {
    /// The reader of a table. Keep it where many queries are asked.
    ///
    /// Of a projection with several versions it is the one of the version that answers now, and stays with that: see
    /// [`TableReader::is_active`].
    ///
    /// # Errors
    /// [`QueryError::UnknownTable`]; [`QueryError::OtherVersion`] if only a version that does not answer has such a table.
    pub fn table<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
    ) -> Result<TableReader<K, R>, QueryError> {
        let name = table.name();
        let unknown = QueryError::UnknownTable { table: name };
        if let Some(reader) = self.inner.tables.get(name) {
            return typed(reader).ok_or(unknown);
        }
        let versions = self.inner.owner(name).ok_or(unknown.clone())?;
        let active = versions.active();
        if let Some(reader) = reader_of(&active.readers, table) {
            return Ok(reader);
        }
        let mut others = versions.all();
        let other = others.find(|other| reader_of(&other.readers, table).is_some());
        Err(other.map_or(unknown, |other| QueryError::OtherVersion {
            projection: versions.name,
            asked: name,
            version: other.version,
            active: active.version,
        }))
    }

    /// A version of a projection by itself, whether it answers queries or not: for looking at a candidate before it does,
    /// and at an old version afterwards.
    ///
    /// # Errors
    /// [`QueryError::UnknownProjection`]; [`QueryError::OtherVersion`] if this version does not run.
    pub fn version<P: Projection>(&self) -> Result<ProjectionVersion, QueryError> {
        let mut all = self.inner.versions.iter();
        let found = all.find(|versions| versions.name == P::NAME);
        let versions = found.ok_or(QueryError::UnknownProjection {
            projection: P::NAME,
        })?;
        if versions.get(P::VERSION).is_none() {
            return Err(QueryError::OtherVersion {
                projection: P::NAME,
                asked: P::NAME,
                version: P::VERSION,
                active: versions.active().version,
            });
        }
        Ok(ProjectionVersion {
            engine: self.clone(),
            versions: Arc::clone(versions),
            version: P::VERSION,
        })
    }

    /// Waits until each projection's tables show all that was durable when this was called, however long that takes: after
    /// a start with a projection that is built anew, for example.
    ///
    /// # Errors
    /// [`QueryError::Stopped`].
    pub async fn ready(&self) -> Result<(), QueryError> {
        let ever = Duration::from_secs(u64::from(u32::MAX));
        self.projected(&self.durable(), ever).await
    }

    /// Begins a query on a table.
    #[must_use]
    pub fn query<K: TableKey, R: Row>(&self, table: &Table<K, R>) -> Query<K, R> {
        let (engine, table) = (self.clone(), *table);
        Query::by_name(move || engine.table(&table))
    }

    /// Waits until every projection shows all that `token` has seen, with the version of it that answers.
    ///
    /// # Errors
    /// [`QueryError::Behind`] when `deadline` passes; [`QueryError::Stopped`].
    pub async fn projected(&self, token: &Token, deadline: Duration) -> Result<(), QueryError> {
        for versions in &self.inner.versions {
            versions.reached(token, deadline).await?;
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
            version: P::VERSION,
            any_version: false,
            token: Token::default(),
            deadline: DEADLINE,
            rows_max: KEPT_ROWS_MAX,
        }
    }
}

/// A reader by its types.
fn typed<K: TableKey, R: Row>(reader: &Arc<dyn AnyReader>) -> Option<TableReader<K, R>> {
    let reader = reader.as_any().downcast_ref::<TableReader<K, R>>();
    reader.cloned()
}

fn reader_of<K: TableKey, R: Row>(
    readers: &[(&'static str, Arc<dyn AnyReader>)],
    table: &Table<K, R>,
) -> Option<TableReader<K, R>> {
    let mut readers = readers.iter();
    let found = readers.find(|(name, _)| *name == table.name());
    found.and_then(|(_, reader)| typed(reader))
}

/// A version of a projection by itself. Clones mean the same.
#[derive(Clone)]
pub struct ProjectionVersion {
    engine: Engine,
    versions: Arc<Versions>,
    version: u32,
}

impl std::fmt::Debug for ProjectionVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProjectionVersion")
            .field("projection", &self.versions.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl ProjectionVersion {
    /// What runs, unless it was dropped.
    pub(super) fn shown(&self) -> Option<&Version> {
        self.versions.get(self.version)
    }

    /// The reader of one of its tables.
    ///
    /// # Errors
    /// [`QueryError::UnknownTable`]; [`QueryError::Dropped`].
    pub fn table<K: TableKey, R: Row>(
        &self,
        table: &Table<K, R>,
    ) -> Result<TableReader<K, R>, QueryError> {
        let found = self.shown().ok_or(QueryError::Dropped {
            projection: self.versions.name,
            version: self.version,
        })?;
        reader_of(&found.readers, table).ok_or(QueryError::UnknownTable {
            table: table.name(),
        })
    }

    /// Begins a query on one of its tables.
    #[must_use]
    pub fn query<K: TableKey, R: Row>(&self, table: &Table<K, R>) -> Query<K, R> {
        Query::on(self.table(table))
    }

    /// Begins to ask for all of its tables as they are after one batch.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotQuery {
        SnapshotQuery {
            engine: self.engine.clone(),
            projection: self.versions.name,
            version: self.version,
            any_version: true,
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
    version: u32,
    /// Also one that does not answer.
    any_version: bool,
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
    /// [`QueryError::Behind`] when the deadline passes; [`QueryError::Stopped`]; [`QueryError::UnknownProjection`];
    /// [`QueryError::OtherVersion`].
    pub async fn open(self) -> Result<Snapshot, QueryError> {
        let mut all = self.engine.inner.versions.iter();
        let versions = all.find(|versions| versions.name == self.projection);
        let versions = versions.ok_or(QueryError::UnknownProjection {
            projection: self.projection,
        })?;
        let shown = versions.get(self.version);
        let shown = shown.filter(|shown| self.any_version || shown.board.is_active());
        let shown = shown.ok_or_else(|| QueryError::OtherVersion {
            projection: self.projection,
            asked: self.projection,
            version: self.version,
            active: versions.active().version,
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
