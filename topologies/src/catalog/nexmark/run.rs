//! Runs a query over the generator's events and says what came out.

use std::time::Duration;

use millstream_engine::time::{Clock, SystemClock};
use serde_json::{Value, json};

use super::checksum::Checksum;
use super::config::{NexmarkConfig, NexmarkConfigError};
use super::direct::Variant;
use super::queries::{Query, Tally};
use crate::dataflow::{Dataflow, FlowOptions, InvalidDataflow, RunDataflowError};
use millstream_engine::flow::StageLoad;

/// What is run.
#[derive(Clone, Debug)]
pub struct NexmarkOptions {
    /// The query.
    pub query: Query,
    /// Whose definition of it.
    pub variant: Variant,
    /// The events.
    pub config: NexmarkConfig,
    /// Partitions, batches.
    pub flow: FlowOptions,
    /// Whether rows are hashed; costs more than the query itself for those that give out all events.
    pub checksum: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct NexmarkReport {
    /// The query's name.
    pub query: String,
    /// Events read.
    pub events: u64,
    /// Whether it was stopped before it had read all: windows that were open then have given nothing.
    pub interrupted: bool,
    /// Rows that came out.
    pub results: u64,
    /// Of the rows, whatever their order.
    pub checksum: Option<Checksum>,
    /// Time of the whole run, from the start of the stages to their end.
    pub elapsed: Duration,
    /// What each stage did with its time.
    pub loads: Vec<StageLoad>,
}

/// Why a run gave no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NexmarkError {
    /// The events cannot be made.
    #[error(transparent)]
    Config(#[from] NexmarkConfigError),
    /// The dataflow cannot run, such as one without partitions.
    #[error(transparent)]
    Invalid(#[from] InvalidDataflow),
    /// It did not run to its end.
    #[error(transparent)]
    Run(#[from] RunDataflowError),
}

/// Runs a query to the end of its events, on the current tokio runtime.
///
/// # Errors
/// [`NexmarkError`].
pub async fn run(options: NexmarkOptions) -> Result<NexmarkReport, NexmarkError> {
    run_until(options, std::future::pending()).await
}

/// The same, until `stop` resolves: what was read by then is dealt with.
///
/// # Errors
/// [`NexmarkError`].
pub async fn run_until(
    options: NexmarkOptions,
    stop: impl Future<Output = ()>,
) -> Result<NexmarkReport, NexmarkError> {
    options.config.validate()?;
    let tally = Tally::new(options.checksum);
    let flow = Dataflow::build_with("nexmark", options.flow, |flow| {
        let query = options.query;
        query.declare(flow, &options.config, options.variant, &tally);
    })?;
    let clock = SystemClock::new();
    let handle = flow.start().await.map_err(RunDataflowError::from)?;
    let ended = tokio::select! {
        biased;
        ended = handle.wait() => ended,
        () = stop => handle.stop().await,
    };
    ended.map_err(RunDataflowError::from)?;
    let (events, loads) = (options.config.events, handle.loads());
    let read = read(&loads);
    Ok(NexmarkReport {
        query: options.query.name(),
        events: read,
        interrupted: read < events,
        results: tally.rows(),
        checksum: tally.checksum(),
        elapsed: clock.monotonic(),
        loads,
    })
}

/// Events that the source has given.
fn read(loads: &[StageLoad]) -> u64 {
    // Declared first.
    let source = loads.first().map(|load| &load.stage);
    let own = loads.iter().filter(|load| Some(&load.stage) == source);
    own.map(|load| load.items_total).sum()
}

impl NexmarkReport {
    /// Events per second over the whole run.
    #[must_use]
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// One JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let checksum = self.checksum.as_ref();
        json!({
            "query": self.query,
            "events": self.events,
            "interrupted": self.interrupted,
            "results": self.results,
            "checksum": checksum.map(|checksum| format!("{:016x}", checksum.sum())),
            "seconds": self.elapsed.as_secs_f64(),
            "events_per_second": self.events_per_second().round(),
        })
    }
}
