//! The suites. Each has a `run`, which takes how large its cases are: full for figures, tiny for tests.

pub mod append;
pub mod checkpoints;
pub mod commands;
pub mod dataflow;
pub mod memory;
pub mod models;
pub mod nexmark;
pub mod projection;
pub mod query;
pub mod rebuild;
pub mod recovery;
pub mod replay;
pub mod timetravel;
pub mod versions;

use anyhow::Result;

use crate::{Harness, Suite};

/// Runs one suite in full size. [`Suite::All`] is the caller's business: each wants a process of its own.
///
/// # Errors
/// What kept it from being measured, or what was wrong with its results.
pub async fn run(harness: &Harness, suite: Suite) -> Result<()> {
    match suite {
        Suite::Commands => commands::run(harness, commands::FULL).await,
        Suite::Append => append::run(harness, append::FULL).await,
        Suite::Replay => replay::run(harness, replay::FULL).await,
        Suite::Rebuild => rebuild::run(harness, rebuild::FULL).await,
        Suite::Recovery => recovery::run(harness, &recovery::full()).await,
        Suite::RecoveryChild => recovery::child(harness).await,
        Suite::Memory => memory::run(harness, memory::FULL).await,
        Suite::Models => models::run(harness, models::FULL).await,
        Suite::Nexmark => nexmark::run(harness, nexmark::FULL).await,
        Suite::Dataflow => dataflow::run(harness, dataflow::FULL).await,
        Suite::Checkpoints => checkpoints::run(harness, checkpoints::FULL).await,
        Suite::Projection => projection::run(harness, projection::FULL).await,
        Suite::Query => {
            query::run(harness, &query::FULL)?;
            versions::run(harness, versions::FULL)
        }
        Suite::Timetravel => timetravel::run(harness, timetravel::FULL).await,
        Suite::All => Ok(()),
    }
}
