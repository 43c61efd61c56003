//! Names: which tables there are, opened when a query first names them.
//!
//! Schema `public` has the log's `events` and `streams`, and each read model table by its name where only one has it;
//! each projection is a schema of its own, so that `"projection"."table"` is always a table. Opening learns a table's
//! columns and so reads rows; a session does it once per table.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::TableType;
use millstream_operators::projection::KeyPart;

use super::plan::external;
use super::rows::{RowsOf, RowsTable};

/// Schema of tables that are named without one.
pub(super) const PUBLIC: &str = "public";
/// The log.
pub(super) const EVENTS: &str = "events";
/// Its streams.
pub(super) const STREAMS: &str = "streams";

/// A read model table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableName {
    /// Its projection or dataflow; `None` where that is not known.
    pub(crate) owner: Option<String>,
    pub(crate) name: String,
}

/// Rows, and what their keys are made of if that is known.
pub(crate) type Opened = (RowsOf, Option<Vec<KeyPart>>);

/// The read model tables of an engine or a folder.
pub(crate) trait Tables: fmt::Debug + Send + Sync {
    /// All of them.
    fn names(&self) -> Vec<TableName>;

    /// One of them. May block.
    fn open(&self, table: &TableName) -> Result<Opened, DataFusionError>;
}

/// What the schemas of a session share.
#[derive(Debug)]
struct Shared {
    tables: Arc<dyn Tables>,
    sample_rows: usize,
    opened: Mutex<HashMap<TableName, Arc<RowsTable>>>,
}

impl Shared {
    fn open(&self, table: &TableName) -> Result<Arc<RowsTable>> {
        // Held while it is opened, which queries of one session may wait for: so that it is done once.
        let mut all = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(table) {
            return Ok(Arc::clone(found));
        }
        let (rows, keys) = self.tables.open(table)?;
        let opened = RowsTable::open(&table.name, rows, keys, self.sample_rows)?;
        let opened = Arc::new(opened);
        all.insert(table.clone(), Arc::clone(&opened));
        Ok(opened)
    }
}

/// The only catalog of a session.
#[derive(Debug)]
pub(super) struct Catalog {
    schemas: BTreeMap<String, Arc<Schema>>,
    public: Arc<Schema>,
}

/// Tables by name.
#[derive(Debug)]
pub(super) struct Schema {
    shared: Arc<Shared>,
    rows: BTreeMap<String, TableName>,
    events: Option<Arc<dyn TableProvider>>,
    /// A view of `events`, made once that can be asked.
    streams: OnceLock<Arc<dyn TableProvider>>,
}

impl Catalog {
    pub(super) fn new(
        events: Arc<dyn TableProvider>,
        tables: Arc<dyn Tables>,
        sample_rows: usize,
    ) -> Self {
        let names = tables.names();
        let shared = Arc::new(Shared {
            tables,
            sample_rows,
            opened: Mutex::default(),
        });
        let mut by_schema: BTreeMap<String, BTreeMap<String, TableName>> = BTreeMap::new();
        let mut public: BTreeMap<String, Option<TableName>> = BTreeMap::new();
        for table in names {
            // A name that two have is nobody's.
            let entry = public.entry(table.name.clone());
            entry
                .and_modify(|taken| *taken = None)
                .or_insert_with(|| Some(table.clone()));
            if let Some(owner) = table.owner.clone().filter(|owner| owner != PUBLIC) {
                by_schema
                    .entry(owner)
                    .or_default()
                    .insert(table.name.clone(), table);
            }
        }
        let public = public.into_iter();
        let public = public.filter(|(name, _)| name != EVENTS && name != STREAMS);
        let public = public.filter_map(|(name, table)| Some((name, table?)));
        let schema = |rows, events| {
            Arc::new(Schema {
                shared: Arc::clone(&shared),
                rows,
                events,
                streams: OnceLock::new(),
            })
        };
        let public = schema(public.collect(), Some(events));
        let mut schemas: BTreeMap<String, Arc<Schema>> = by_schema
            .into_iter()
            .map(|(name, rows)| (name, schema(rows, None)))
            .collect();
        schemas.insert(PUBLIC.to_owned(), Arc::clone(&public));
        Self { schemas, public }
    }

    /// Adds the view of streams.
    pub(super) fn set_streams(&self, streams: Arc<dyn TableProvider>) {
        // Set once, where the session is made.
        let _ = self.public.streams.set(streams);
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let schema = Arc::clone(self.schemas.get(name)?);
        Some(schema)
    }
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        let own = self.events.iter().map(|_| EVENTS.to_owned());
        let streams = self.streams.get().map(|_| STREAMS.to_owned());
        let rows = self.rows.keys().cloned();
        own.chain(streams).chain(rows).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match (name, &self.events, self.streams.get()) {
            (EVENTS, Some(events), _) => return Ok(Some(Arc::clone(events))),
            (STREAMS, _, Some(streams)) => return Ok(Some(Arc::clone(streams))),
            _ => {}
        }
        let Some(table) = self.rows.get(name).cloned() else {
            return Ok(None);
        };
        let shared = Arc::clone(&self.shared);
        let opened = tokio::task::spawn_blocking(move || shared.open(&table)).await;
        let opened = opened.map_err(external)??;
        Ok(Some(opened))
    }

    /// Without opening it, which reads rows.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(match name {
            STREAMS if self.streams.get().is_some() => Some(TableType::View),
            _ => self.table_exist(name).then_some(TableType::Base),
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}
