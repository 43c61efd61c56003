//! Memory of resident aggregates.
//!
//! A million accounts are opened, one event each, and left alone. What the process has more than before,
//! per account, is `bytes_per_item`. Before, as many events were written to few accounts, so that buffers
//! have their size already; what the stream index holds in memory is known and taken out, since it
//! belongs to events and not to instances. Mapped files do not count: they are the system's cache.

use anyhow::{Context, Result};
use millstream::catalog::bank::Account;
use millstream_engine::index::IndexEntry;

use crate::bank::{Bank, ReadSide};
use crate::{Case, Harness, figures, resident_bytes};

const SUITE: &str = "memory";
/// Name of the figure in which hosts say what they think they hold.
const HOST_ESTIMATE: &str = "millstream_aggregate_resident_bytes";

/// How large the case is.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Accounts that are measured.
    pub keys: u64,
    /// Accounts that are warmed up with.
    pub warm_keys: u64,
    /// Events of the warm-up.
    pub warm_events: u64,
    /// Seconds that the engine is left alone before its memory is looked at: housekeeping comes every
    /// second.
    pub rest_seconds: f64,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    keys: 1_000_000,
    warm_keys: 1_000,
    warm_events: 2_000_000,
    rest_seconds: 2.5,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    keys: 2_000,
    warm_keys: 10,
    warm_events: 1_000,
    rest_seconds: 0.05,
};

/// Bytes that the stream index holds in memory.
fn index_bytes(bank: &Bank) -> u64 {
    let log = bank.engine().log();
    bank.partitions()
        .filter_map(|partition| log.index_stats(partition))
        .map(|stats| stats.filter_bytes + (stats.tail_entries * size_of::<IndexEntry>()) as u64)
        .sum()
}

/// Runs the case.
///
/// # Errors
/// When a command is not accepted, or the system does not tell what memory is in use.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let metrics = figures::recorded();
    let bank = Bank::open(harness, &folder, keys, ReadSide::None).await?;
    let few = bank.first(sizes.warm_keys);
    few.open_accounts().await?;
    few.fill(sizes.warm_events).await?;
    let rest_time = std::time::Duration::from_secs_f64(sizes.rest_seconds);
    tokio::time::sleep(rest_time).await;
    let unknown = "the system does not say what memory is in use";
    let (before, index_before) = (resident_bytes().context(unknown)?, index_bytes(&bank));
    let rest = bank.rest(sizes.warm_keys);
    rest.open_accounts().await?;
    tokio::time::sleep(rest_time).await;
    let (after, index_after) = (resident_bytes().context(unknown)?, index_bytes(&bank));
    let accounts = rest.ids().len();
    let items = accounts as f64;
    let grown = after as f64 - before as f64;
    let index = index_after as f64 - index_before as f64;
    let per_item = (grown - index) / items;
    let state = size_of::<Account>() as f64;
    let mut case = Case::new(SUITE, "idle-accounts", machine)
        .with("keys", accounts)
        .with("partitions", bank.engine().partitions())
        .figure("bytes_per_item", per_item)
        .figure("state_bytes", state)
        .figure("overhead_bytes", per_item - state)
        .figure("index_bytes_per_item", index / items)
        .figure("resident_mb", after as f64 / 1e6);
    if let Some(metrics) = metrics {
        let estimate = figures::sum(&metrics.render(), HOST_ESTIMATE);
        case = case.figure("host_estimate_bytes_per_item", estimate / keys as f64);
    }
    harness.report(case)?;
    bank.check(keys + sizes.warm_events, 0).await?;
    drop((few, rest));
    bank.close().await
}
