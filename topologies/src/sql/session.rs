//! A session: tables by name, limits, and queries.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::dataframe::DataFrame;
use datafusion::datasource::ViewTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use millstream_engine::log::EmbeddedReader;
use millstream_operators::projection::KeyPart;

use super::SqlError;
use super::at_rest;
use super::catalog::{Catalog, PUBLIC, Tables};
use super::events::{EventsTable, Log};
use super::functions;

const CATALOG: &str = "millstream";

/// What a stream is, told by its events. Filters on its columns come to the events below: one on `stream` to the index.
const STREAMS_VIEW: &str = r#"select stream, category, id, "partition", count(*) as events,
    min(version) as first_version, max(version) as last_version,
    min("offset") as first_offset, max("offset") as last_offset,
    min(recorded_at) as first_recorded_at, max(recorded_at) as last_recorded_at
from events group by stream, category, id, "partition""#;

/// Limits of a session.
#[derive(Clone, Debug)]
pub struct SqlOptions {
    /// Rows that the columns of a table are learnt from. Rows, at least 1, default 10,000. More: a table is opened later;
    /// less: rows that have other fields fail the query.
    pub sample_rows: usize,
    /// What sorts, groups and joins of a query may hold in memory, together. Bytes, default 512 MiB. Beyond it they go
    /// through temporary files, or the query fails.
    pub memory_bytes: usize,
    /// Rows of each table of a running engine that may change while the session is open, each of which is kept. Default
    /// 1,000,000. When more do, queries of the session fail.
    pub kept_rows_max: usize,
    /// What keys of tables at rest are made of, by the table's name, where it cannot be told from them. Default none.
    pub keys: BTreeMap<String, Vec<KeyPart>>,
}

impl Default for SqlOptions {
    fn default() -> Self {
        Self {
            sample_rows: 10_000,
            memory_bytes: 512 << 20,
            kept_rows_max: 1_000_000,
            keys: BTreeMap::new(),
        }
    }
}

/// Answers queries on one engine or folder; see the module's head for what it sees. Rows of a running engine that change
/// while it is there are kept as they were: let it go.
#[derive(Clone)]
pub struct SqlSession {
    context: SessionContext,
}

impl std::fmt::Debug for SqlSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlSession").finish_non_exhaustive()
    }
}

impl SqlSession {
    /// A session on a data folder, at rest or beside the engine that runs on it. Tables are as they were last stored, which
    /// may be some time behind the log, and are read page by page: a table that is being written shows rows of several
    /// moments. Nothing is created or changed. A process opens a folder once: where its own engine runs on it, ask that
    /// ([`Engine::sql`](crate::Engine::sql)).
    ///
    /// # Errors
    /// [`SqlError::NoLog`]; [`SqlError::Log`] or [`SqlError::State`] when one cannot be read.
    pub async fn open(
        folder: impl AsRef<Path> + Send,
        options: SqlOptions,
    ) -> Result<Self, SqlError> {
        let folder = folder.as_ref().to_path_buf();
        let keys = options.keys.clone();
        let opened = blocking(move || at_rest::open(&folder, keys)).await;
        let (reader, tables) = opened?;
        Self::over(reader, false, Arc::new(tables), options).await
    }

    /// A session on a log and tables.
    pub(crate) async fn over(
        reader: EmbeddedReader,
        has_streams: bool,
        tables: Arc<dyn Tables>,
        options: SqlOptions,
    ) -> Result<Self, SqlError> {
        let log = blocking(move || Log::of(reader, has_streams)).await?;
        let events = Arc::new(EventsTable::new(Arc::new(log)));
        let sample_rows = options.sample_rows.max(1);
        let catalog = Arc::new(Catalog::new(events, tables, sample_rows));
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, PUBLIC);
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(options.memory_bytes, 1.0);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime.build_arc()?)
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        for function in functions::all() {
            context.register_udf(function);
        }
        context.register_catalog(CATALOG, Arc::<Catalog>::clone(&catalog));
        let view = context.sql(STREAMS_VIEW).await?;
        let view = ViewTable::new(view.logical_plan().clone(), Some(STREAMS_VIEW.to_owned()));
        catalog.set_streams(Arc::new(view));
        Ok(Self { context })
    }

    /// Plans a query. The frame runs when it is asked for its batches: `frame.collect().await`.
    ///
    /// # Errors
    /// [`SqlError::Query`]: the query is wrong, or would write.
    pub async fn sql(&self, query: &str) -> Result<DataFrame, SqlError> {
        let only_reading = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        Ok(self.context.sql_with_options(query, only_reading).await?)
    }
}

/// Runs work that blocks; a panic in it goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
