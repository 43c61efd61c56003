//! Queries in SQL on a running engine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_operators::projection::{AnyReader, ProgressBoard, RawTable, Snapshot};

use super::Engine;
use crate::sql::datafusion::common::DataFusionError;
use crate::sql::datafusion::dataframe::DataFrame;
use crate::sql::{Opened, RowsOf, SqlError, SqlOptions, SqlSession, TableName, Tables};

impl Engine {
    /// Plans a query in SQL in a session of its own: the log as it is durable now, and all tables of a projection as they
    /// are after one batch. To see what a token has seen, wait with [`projected`](Self::projected) before. The frame runs
    /// when it is asked for its batches.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::catalog::bank::{Account, AccountCommand, Balances, Cents};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let topology = Topology::named("bank").aggregate::<Account>().projection(Balances).build()?;
    /// # let engine = Engine::open(folder.path()).run(topology).await?;
    /// let open = AccountCommand::Open { overdraft_limit: Cents::ZERO };
    /// engine.send::<Account>("42", open).await?;
    ///
    /// let opened = engine.sql("select * from events where stream = 'account-42'").await?;
    /// assert_eq!(opened.count().await?, 1);
    /// # engine.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SqlError::Query`]: the query is wrong, or would write; [`SqlError::Log`].
    pub async fn sql(&self, query: &str) -> Result<DataFrame, SqlError> {
        let session = self.sql_session(SqlOptions::default()).await?;
        session.sql(query).await
    }

    /// Begins a session, for several queries that see the same.
    ///
    /// # Errors
    /// [`SqlError::Log`].
    pub async fn sql_session(&self, options: SqlOptions) -> Result<SqlSession, SqlError> {
        let tables = Running::new(self, options.kept_rows_max);
        let reader = self.log().clone();
        SqlSession::over(reader, true, Arc::new(tables), options).await
    }
}

/// Readers of tables that have a moment in common.
struct Together {
    board: Arc<ProgressBoard>,
    readers: Vec<(&'static str, Arc<dyn AnyReader>)>,
    /// That moment, once one of them was asked for.
    snapshot: Mutex<Option<Snapshot>>,
}

/// The tables of an engine.
struct Running {
    groups: Vec<Together>,
    /// The group of each.
    tables: BTreeMap<TableName, usize>,
    rows_max: usize,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

impl Running {
    fn new(engine: &Engine, rows_max: usize) -> Self {
        let mut running = Self {
            groups: Vec::new(),
            tables: BTreeMap::new(),
            rows_max,
        };
        for (name, reader) in &engine.inner.tables {
            running.add(None, reader.shown_by(), &[(*name, Arc::clone(reader))]);
        }
        // Of each projection the version that answers now.
        for versions in &engine.inner.versions {
            let active = versions.active();
            running.add(Some(versions.name), &active.board, &active.readers);
        }
        running
    }

    /// Adds tables that have a moment in common.
    fn add(
        &mut self,
        owner: Option<&str>,
        board: &Arc<ProgressBoard>,
        readers: &[(&'static str, Arc<dyn AnyReader>)],
    ) {
        for (name, _) in readers {
            let table = TableName {
                owner: owner.map(str::to_owned),
                name: (*name).to_owned(),
            };
            self.tables.insert(table, self.groups.len());
        }
        self.groups.push(Together {
            board: Arc::clone(board),
            readers: readers.to_vec(),
            snapshot: Mutex::default(),
        });
    }

    fn kept(&self, table: &TableName) -> Option<Arc<dyn RawTable>> {
        let group = &self.groups[*self.tables.get(table)?];
        let snapshot = group.snapshot.lock();
        let mut snapshot = snapshot.unwrap_or_else(PoisonError::into_inner);
        let snapshot = snapshot
            .get_or_insert_with(|| Snapshot::of(&group.board, &group.readers, self.rows_max));
        snapshot.raw(&table.name)
    }
}

impl Tables for Running {
    fn names(&self) -> Vec<TableName> {
        self.tables.keys().cloned().collect()
    }

    fn open(&self, table: &TableName) -> Result<Opened, DataFusionError> {
        let kept = self
            .kept(table)
            .ok_or_else(|| DataFusionError::Plan(format!("there is no table {:?}", table.name)))?;
        let keys = kept.key_parts();
        Ok((RowsOf::Kept(kept), Some(keys)))
    }
}
