//! A step of a plan that reads on threads for work that blocks.
//!
//! Place: [`Scan`] (the log, or rows of a table) -> **`ScanExec`** -> DataFusion's operators. Threads: one for blocking
//! work per partition while it is read. Bounds: [`BATCHES_AHEAD`] batches of about [`BATCH_ROWS`] rows wait per
//! partition; a reader whose batches nobody wants any more stops at the next one, or at the next look at
//! [`Output::is_wanted`].

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use tokio::sync::mpsc::Sender;

/// Rows of a batch.
pub(super) const BATCH_ROWS: usize = 4_096;
/// Bytes of texts and values at which a batch ends earlier.
pub(super) const BATCH_BYTES: usize = 4 << 20;
/// Batches that wait to be taken, per partition.
const BATCHES_AHEAD: usize = 2;

/// Something to be read, whole and on a thread for work that blocks.
pub(super) trait Scan: Send + Sync + 'static {
    /// Its name in plans.
    fn name(&self) -> &'static str;

    /// Parts that are read apart from each other.
    fn parts(&self) -> usize;

    /// What is read, for plans.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Reads a part.
    fn read(&self, part: usize, output: &mut Output) -> Result<()>;
}

/// Where what is read goes, and what is counted.
pub(super) struct Output {
    sender: Sender<Result<RecordBatch>>,
    given: Count,
    /// Rows or events that were looked at.
    pub(super) rows_read: Count,
    /// Frames of the log, or pages of a table.
    pub(super) reads: Count,
    left: usize,
}

impl Output {
    /// How many more rows are wanted.
    pub(super) const fn left(&self) -> usize {
        self.left
    }

    /// Whether anybody waits for more.
    pub(super) fn is_wanted(&self) -> bool {
        self.left > 0 && !self.sender.is_closed()
    }

    /// Gives a batch on, waiting for a place; of more rows than are wanted the first ones.
    pub(super) fn give(&mut self, batch: RecordBatch) {
        let rows = batch.num_rows().min(self.left);
        if rows == 0 {
            return;
        }
        self.left -= rows;
        self.given.add(rows);
        // Nobody is there any more: the query ended, and `is_wanted` says so.
        let _ = self.sender.blocking_send(Ok(batch.slice(0, rows)));
    }
}

/// The step. See the module's head.
pub(super) struct ScanExec {
    scan: Arc<dyn Scan>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ScanExec {
    /// A step that gives rows of `schema`, at most `limit`.
    pub(super) fn plan(
        scan: Arc<dyn Scan>,
        schema: SchemaRef,
        limit: Option<usize>,
    ) -> Arc<dyn ExecutionPlan> {
        if scan.parts() == 0 {
            return Arc::new(EmptyExec::new(schema));
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(scan.parts()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Arc::new(Self {
            scan,
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl fmt::Debug for ScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.scan.name())?;
        self.scan.describe(f)?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        self.scan.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut stream = RecordBatchReceiverStreamBuilder::new(self.schema(), BATCHES_AHEAD);
        let metric = || MetricBuilder::new(&self.metrics);
        let mut output = Output {
            sender: stream.tx(),
            given: metric().output_rows(partition),
            rows_read: metric().counter("rows_read", partition),
            reads: metric().counter("reads", partition),
            left: self.limit.unwrap_or(usize::MAX),
        };
        let scan = Arc::clone(&self.scan);
        stream.spawn_blocking(move || scan.read(partition, &mut output));
        Ok(stream.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// An error of ours as DataFusion's.
pub(super) fn external(
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> DataFusionError {
    DataFusionError::External(error.into())
}
