//! Formulas of the field beside what is measured.
//!
//! A formula that holds says that the engine does what its design says, and lets a figure be computed for
//! a machine or a load that was not measured. Every case prints what is expected, what was measured and the
//! relative error. Where no formula can be exact, the case says what it leaves out.

mod amplification;
mod batching;
mod bloom;
mod conflicts;
mod reading;
mod reload;
mod waiting;

use anyhow::Result;

use crate::Harness;

const SUITE: &str = "models";

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Turns of each batch size that are timed.
    pub turns: usize,
    /// Largest batch.
    pub batch_max: usize,
    /// Hashes in the largest Bloom filter.
    pub hashes: u64,
    /// Look-ups of hashes that are not there.
    pub probes: u64,
    /// Frames written to the log.
    pub frames: usize,
    /// Entries of the index before one flush.
    pub tail: usize,
    /// Flushes of the index.
    pub flushes: usize,
    /// Optimistic writers, each on a stream of its own.
    pub writers: usize,
    /// Accounts of the queueing cases.
    pub keys: u64,
    /// Commands that come all at once, each with a task of its own.
    pub crowd: u64,
    /// Accounts that are reloaded, per length.
    pub reloaded: u64,
    /// What their lengths are divided by.
    pub shorter: u64,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    turns: 60,
    batch_max: 2_048,
    hashes: 100_000,
    probes: 2_000_000,
    frames: 2_000,
    tail: 4_096,
    flushes: 200,
    writers: 64,
    keys: 100_000,
    crowd: 300_000,
    reloaded: 16,
    shorter: 1,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    turns: 4,
    batch_max: 64,
    hashes: 2_000,
    probes: 20_000,
    frames: 20,
    tail: 64,
    flushes: 20,
    writers: 4,
    keys: 100,
    crowd: 2_000,
    reloaded: 2,
    shorter: 20,
};

/// Runs all cases that are wanted.
///
/// # Errors
/// What kept one from being measured.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    // Before any engine is opened, so that what engines tell about themselves is heard.
    crate::figures::recorded();
    if harness.wants("batch") {
        // It steps a partition by hand, with a runtime of its own.
        tokio::task::block_in_place(|| batching::run(harness, sizes))?;
    }
    if harness.wants("bloom") {
        bloom::run(harness, sizes)?;
    }
    if harness.wants("amplification") {
        amplification::run(harness, sizes)?;
    }
    if harness.wants("reading") {
        reading::run(harness, sizes)?;
    }
    if harness.wants("conflicts") {
        conflicts::run(harness, sizes).await?;
    }
    if harness.wants("waiting") {
        waiting::run(harness, sizes).await?;
    }
    if harness.wants("reload") {
        reload::run(harness, sizes).await?;
    }
    Ok(())
}
