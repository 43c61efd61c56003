//! The log as a table: a row per event.
//!
//! Place: a reader of the log -> **`EventsTable`** -> DataFusion. Invariants: (1) all of a session's queries see the log as
//! it ended when the session began, so that a query that reads it twice reads the same; (2) what filters say of the
//! columns in [`kind_of`] is not read and looked at afterwards, but sought: partitions, offsets and recorded times by
//! where they lie, streams by the index, types and categories by the heads of frames; (3) a payload is decoded only when
//! its column is asked for. Partitions of the log are read at the same time. Cost otherwise: reading the frames.

mod columns;
mod scan;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{EmbeddedReader, LogError, LogReader};

use super::constraint::{Bounded, ColumnKind, Constraint, bounded};
use super::plan::ScanExec;
use scan::EventsScan;

pub(super) use columns::time;

/// A log, as it was when a session began.
#[derive(Debug)]
pub(super) struct Log {
    reader: EmbeddedReader,
    /// Where each partition ends for this session.
    ends: Vec<Offset>,
    /// The same log with its stream index, once that was asked for.
    streams: OnceLock<EmbeddedReader>,
    /// Held by the one who opens it.
    opening: Mutex<()>,
}

impl Log {
    /// The log of a reader. One of a running engine has its streams; for another the index is opened at the first use.
    pub(super) fn of(reader: EmbeddedReader, has_streams: bool) -> Result<Self, LogError> {
        let partitions = (0..reader.partitions()).map(PartitionId);
        let ends = partitions.map(|partition| Ok(reader.head(partition)?.next));
        let ends = ends.collect::<Result<_, LogError>>()?;
        let streams = OnceLock::new();
        if has_streams {
            let _ = streams.set(reader.clone());
        }
        Ok(Self {
            reader,
            ends,
            streams,
            opening: Mutex::default(),
        })
    }

    fn streams(&self) -> Result<&EmbeddedReader, LogError> {
        if let Some(opened) = self.streams.get() {
            return Ok(opened);
        }
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = self.streams.get() {
            return Ok(opened);
        }
        // A failure is not kept: the next query may find no more of it.
        let opened = self.reader.clone().with_streams()?;
        Ok(self.streams.get_or_init(|| opened))
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct EventsTable {
    log: Arc<Log>,
    schema: SchemaRef,
}

impl EventsTable {
    pub(super) fn new(log: Arc<Log>) -> Self {
        Self {
            log,
            schema: columns::schema(),
        }
    }
}

/// The columns that are sought by.
fn kind_of(column: &str) -> Option<ColumnKind> {
    Some(match column {
        "partition" | "offset" | "version" => ColumnKind::Number,
        "recorded_at" | "event_time" => ColumnKind::Time,
        "stream" | "category" | "id" | "type" => ColumnKind::Text,
        _ => return None,
    })
}

#[async_trait]
impl TableProvider for EventsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let constraint = Constraint::of(filters, &kind_of);
        let scan = EventsScan::new(&self.log, Arc::clone(&schema), constraint);
        Ok(ScanExec::plan(Arc::new(scan), schema, limit))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let all = filters.iter().map(|filter| bounded(filter, &kind_of));
        let all: Vec<_> = all.collect();
        // Each may be one that nobody has to look at again, and all together too much to be kept.
        let is_whole = Constraint::keeps_all(all.iter().flatten());
        let how = |bounded: &Option<Bounded>| match bounded {
            Some(bounded) if bounded.is_exact && is_whole => TableProviderFilterPushDown::Exact,
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(all.iter().map(how).collect())
    }
}

#[cfg(test)]
mod tests {
    use millstream_engine::log::EmbeddedLog;
    use millstream_engine::store::EnvironmentOptions;

    use super::*;

    /// Story: a session whose first look for streams failed failed at each later one.
    #[test]
    fn streams_that_could_not_be_opened_are_opened_by_the_next_query() {
        let folder = tempfile::tempdir().unwrap();
        let options = EnvironmentOptions {
            map_bytes_max: 64 << 20,
            preallocate_step_bytes: 0,
            ..EnvironmentOptions::default()
        };
        let EmbeddedLog { store, reader } = EmbeddedLog::open(folder.path(), 1, options).unwrap();
        drop(store);
        let environment = reader.environment().clone();
        let table = environment.table("index").unwrap();
        let mut writer = environment.writer().unwrap();
        // The manifest of partition 0.
        let manifest = [0; 15];
        let mut txn = writer.begin().unwrap();
        txn.put(table, &manifest, b"of nobody").unwrap();
        txn.commit().unwrap();
        let log = Log::of(reader, false).unwrap();
        assert!(matches!(log.streams(), Err(LogError::Index { .. })));
        let mut txn = writer.begin().unwrap();
        txn.delete(table, &manifest).unwrap();
        txn.commit().unwrap();
        log.streams().unwrap();
    }
}
