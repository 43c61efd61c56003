//! What checkpoints cost, and what they save: dataflows of an engine, with their state on the disk.
//!
//! `nexmark` runs queries with a checkpoint every second and without, in turn. `large` fills a keyed state, changes a
//! little of it, and begins again from it. State is written to the data folder's disk, whose figures are in each line.

mod large;
mod nexmark;

use anyhow::Result;
use millstream::dataflow::FlowOptions;
use millstream_engine::checkpoint::CheckpointOptions;

use crate::Harness;

const SUITE: &str = "checkpoints";

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Events of a query.
    pub events: u64,
    /// Runs of a query with checkpoints, and as many without.
    pub rounds: usize,
    /// Time from one checkpoint to the next, milliseconds.
    pub interval_ms: u64,
    /// Keys of the large state; each has about 130 bytes.
    pub keys: u64,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    events: 100_000_000,
    rounds: 3,
    interval_ms: 1_000,
    keys: 8_000_000,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    events: 200_000,
    rounds: 1,
    interval_ms: 5,
    keys: 20_000,
};

/// Runs all cases that are wanted.
///
/// # Errors
/// When a run fails, or its results are not those that they should be.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    nexmark::run(harness, sizes).await?;
    large::run(harness, sizes).await
}

/// Options with a checkpoint every `interval_ms`.
fn with_checkpoints(options: FlowOptions, interval_ms: u64) -> FlowOptions {
    FlowOptions {
        checkpoints: Some(CheckpointOptions {
            interval_ms,
            pause_ms_min: 1,
            ..CheckpointOptions::default()
        }),
        ..options
    }
}
