//! Dataflows as one thing about them grows: windows per event, batches, partitions, load, keys, a sink's slowness.
//!
//! Each file varies one thing and keeps the others; the load of all but one of them is that of `load`, which is like the
//! keyed count of `nexmark`: events of a key and a time, nearly nothing to do for the source. Every case checks
//! that each event is in as many results as it should be. The disk's figures are of the beginning of the suite: no
//! case uses the disk.

mod batches;
mod failing;
mod latency;
mod load;
mod paced;
mod partitions;
mod sliding;
mod slow_sink;
mod state;

use anyhow::Result;

use crate::{Harness, Machine};

const SUITE: &str = "dataflow";

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Events of a case of sliding windows.
    pub sliding: u64,
    /// Events of a case of batch sizes.
    pub batches: u64,
    /// Events of a case of what may fail.
    pub failing: u64,
    /// How often two dataflows are compared, one of which may fail.
    pub rounds: usize,
    /// Events of a case of partitions.
    pub partitions: u64,
    /// Events by which the maximum is found that latency is measured at half of.
    pub maximum: u64,
    /// Events per second of the nearly idle source.
    pub idle_per_second: u64,
    /// Events of the case of state.
    pub state: u64,
    /// Events between two looks at the state.
    pub state_every: u64,
    /// Events that go into the slow sink.
    pub slow_sink: u64,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    sliding: 50_000_000,
    batches: 100_000_000,
    failing: 5_000_000,
    rounds: 25,
    partitions: 50_000_000,
    maximum: 20_000_000,
    idle_per_second: 1_000,
    state: 50_000_000,
    state_every: 1_000_000,
    slow_sink: 20_000_000,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    sliding: 20_000,
    batches: 5_000,
    failing: 20_000,
    rounds: 1,
    partitions: 20_000,
    maximum: 20_000,
    idle_per_second: 2_000,
    state: 50_000,
    state_every: 1_000,
    slow_sink: 5_000,
};

/// What each case is given.
#[derive(Clone, Copy)]
struct Bench<'a> {
    harness: &'a Harness,
    machine: Machine,
}

impl Bench<'_> {
    /// The number of events asked for on the command line, or `events`.
    fn events(&self, events: u64) -> u64 {
        self.harness.options().events.unwrap_or(events)
    }
}

/// Runs all cases that are wanted.
///
/// # Errors
/// When a run fails or an event is missing from its results.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let machine = harness.machine(&harness.folder()?)?;
    let bench = Bench { harness, machine };
    // First: its memory is told from what others leave behind.
    state::run(bench, sizes).await?;
    sliding::run(bench, sizes).await?;
    batches::run(bench, sizes).await?;
    failing::run(bench, sizes).await?;
    partitions::run(bench, sizes).await?;
    latency::run(bench, sizes).await?;
    slow_sink::run(bench, sizes).await
}
