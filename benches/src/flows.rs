//! What benchmarks of dataflows share: options from the command line, a sink that adds counts up, one whole run.
//!
//! Invariant: each event is in exactly one count that a sink sees, so that the sum shows whether any went missing.
//! Cost: the sink adds two numbers per result and touches shared memory once per turn.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use millstream::dataflow::{Dataflow, FlowOptions};
use millstream_engine::flow::{BatchSize, Emit, Fault, Operator, StageLoad, stateless};
use millstream_engine::time::{Clock, Timestamp};

use crate::{Case, Harness};

/// Partitions and batches as asked for on the command line.
#[must_use]
pub fn options(harness: &Harness) -> FlowOptions {
    let mut options = FlowOptions::default();
    if let Some(partitions) = harness.options().partitions {
        options.partitions = usize::from(partitions);
    }
    if let Some(items) = harness.options().batch.and_then(NonZeroUsize::new) {
        options.edges.batch = BatchSize::Fixed(items);
    }
    options
}

/// Adds the share of time at work of each stage: of its busiest partition.
#[must_use]
pub fn with_loads(mut case: Case, loads: &[StageLoad]) -> Case {
    let mut stages: Vec<&str> = loads.iter().map(|load| load.stage.as_str()).collect();
    stages.dedup();
    for stage in stages {
        let shares = loads.iter().filter(|load| load.stage == stage);
        let busiest = shares.map(StageLoad::busy_share).fold(0.0, f64::max);
        let name = stage.rsplit('/').next().unwrap_or(stage);
        case = case.figure(&format!("busy_{name}"), busiest);
    }
    case
}

/// What all sinks of a run have seen.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    rows: Arc<AtomicU64>,
    counted: Arc<AtomicU64>,
}

impl Totals {
    /// Results so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Sum of their counts so far.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// A sink that adds to these.
    #[must_use]
    pub fn sink(&self) -> CountSink {
        CountSink {
            totals: self.clone(),
            rows: 0,
            counted: 0,
        }
    }

    /// Fails unless each of `events` was counted `times` times.
    ///
    /// # Errors
    /// When there are more or fewer.
    pub fn check(&self, events: u64, times: u64) -> Result<()> {
        let counted = self.counted();
        ensure!(
            counted == events * times,
            "{counted} were counted of {events} events, {times} times each"
        );
        Ok(())
    }
}

/// Adds counts up, so that none can be missing.
#[derive(Clone, Debug)]
pub struct CountSink {
    totals: Totals,
    rows: u64,
    counted: u64,
}

impl Operator<u64> for CountSink {
    type Out = Infallible;

    #[inline(always)]
    fn item<E: Emit<Infallible>>(&mut self, _time: Timestamp, count: u64, _out: &mut E) {
        self.rows += 1;
        self.counted += count;
    }

    fn flush(&mut self, _idle: bool) -> Result<(), Fault> {
        let totals = &self.totals;
        totals
            .rows
            .fetch_add(std::mem::take(&mut self.rows), Ordering::Relaxed);
        totals
            .counted
            .fetch_add(std::mem::take(&mut self.counted), Ordering::Relaxed);
        Ok(())
    }

    stateless!();
}

/// The beginning of a run.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    at: Duration,
    cpu: Duration,
}

impl Started {
    /// A run begins here.
    #[must_use]
    pub fn now(clock: &dyn Clock) -> Self {
        Self {
            at: clock.monotonic(),
            cpu: crate::cpu_time(),
        }
    }

    /// And ends here, by the same clock.
    #[must_use]
    pub fn ended(self, clock: &dyn Clock, loads: Vec<StageLoad>) -> Run {
        Run {
            seconds: (clock.monotonic() - self.at).as_secs_f64(),
            core_seconds: (crate::cpu_time() - self.cpu).as_secs_f64(),
            loads,
        }
    }
}

/// What a whole run took.
#[derive(Clone, Debug)]
pub struct Run {
    /// From the start of the stages to their end.
    pub seconds: f64,
    /// Time of all cores meanwhile.
    pub core_seconds: f64,
    /// What each partition did with its time.
    pub loads: Vec<StageLoad>,
}

impl Run {
    /// Runs a dataflow whose input is finite.
    ///
    /// # Errors
    /// When it fails.
    pub async fn of(clock: &dyn Clock, flow: Dataflow) -> Result<Self> {
        let started = Started::now(clock);
        let handle = flow.run().await?;
        Ok(started.ended(clock, handle.loads()))
    }

    /// Adds rates over `events`, the time and the loads to a case.
    #[must_use]
    pub fn figures(&self, case: Case, events: u64) -> Case {
        let case = case
            .figure("events_per_second", events as f64 / self.seconds)
            .figure("events_per_core_second", events as f64 / self.core_seconds)
            .figure("seconds", self.seconds);
        with_loads(case, &self.loads)
    }
}
