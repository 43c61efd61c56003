//! Durable commands: how many, and how long each takes.
//!
//! Every case runs with and without the `Balances` projection beside it, on a store of its own with all
//! accounts open. The load is two deposits to one withdrawal, on accounts drawn evenly, all accepted; at the
//! end the log must hold an event for each, and the balances their sum.

use std::sync::Arc;

use anyhow::Result;

use crate::bank::{Bank, Pace, ReadSide, Teller};
use crate::load::{Arrivals, Caller as _, Loaded, OpenLoop, closed_loop};
use crate::{Case, DataFolder, Harness, Machine};

const SUITE: &str = "commands";

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Accounts.
    pub keys: u64,
    /// Callers with one command in flight each.
    pub callers: usize,
    /// Commands per bulk.
    pub bulk: usize,
    /// Bulks in flight.
    pub bulks: usize,
    /// Commands per second of the open loop.
    pub rate: f64,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    keys: 100_000,
    callers: 1_024,
    bulk: 512,
    bulks: 64,
    rate: 10_000.0,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    keys: 100,
    callers: 8,
    bulk: 16,
    bulks: 4,
    rate: 500.0,
};

/// One way of sending.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Callers, each with one call in flight.
    Closed { callers: usize, pace: Pace },
    /// A fixed rate.
    Open { rate: f64 },
}

/// Runs all cases that are wanted.
///
/// # Errors
/// When a command is not accepted or the results are wrong.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let closed = |callers, pace| Load::Closed { callers, pace };
    let cases = [
        ("callers", closed(sizes.callers, Pace::One)),
        ("bulks", closed(sizes.bulks, Pace::Bulk(sizes.bulk))),
        ("one-caller", closed(1, Pace::One)),
        ("callers-named", closed(sizes.callers, Pace::Named)),
        ("open-loop", Load::Open { rate: sizes.rate }),
    ];
    for (name, load) in cases {
        for (suffix, reads) in [("", ReadSide::None), ("+balances", ReadSide::Balances)] {
            let name = format!("{name}{suffix}");
            if harness.wants(&name) {
                case(harness, sizes, &name, load, reads).await?;
            }
        }
    }
    Ok(())
}

async fn case(
    harness: &Harness,
    sizes: Sizes,
    name: &str,
    load: Load,
    reads: ReadSide,
) -> Result<()> {
    let folder = harness.folder()?;
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let bank = Bank::open(harness, &folder, keys, reads).await?;
    bank.open_accounts().await?;
    bank.settle().await?;
    let before = harness.machine(&folder)?;
    let (loaded, paid) = match load {
        Load::Closed { callers, pace } => closed(harness, &bank, callers, pace).await?,
        Load::Open { rate } => open(harness, &bank, rate).await?,
    };
    let machine = before.between(harness.machine(&folder)?);
    bank.check(keys + loaded.items_all, paid).await?;
    let case = Case::new(SUITE, name, machine)
        .with("keys", keys)
        .with("partitions", bank.engine().partitions());
    harness.report(figures(case, load, &loaded, machine))?;
    finish(bank, folder).await
}

/// The figures of a load.
fn figures(case: Case, load: Load, loaded: &Loaded, machine: Machine) -> Case {
    let case = match load {
        Load::Closed {
            callers,
            pace: Pace::Bulk(bulk),
        } => case.with("bulks_in_flight", callers).with("bulk", bulk),
        Load::Closed { callers, .. } => case.with("callers", callers).with("bulk", 1),
        Load::Open { rate } => case.with("rate_per_second", rate).with("bulk", 1),
    };
    let case = case
        .with("calls", loaded.latencies.len())
        .figure("commands_per_second", loaded.per_second())
        .figure("p50_us", loaded.quantile_us(0.5))
        .figure("p99_us", loaded.quantile_us(0.99))
        .figure("p9999_us", loaded.quantile_us(0.9999))
        .figure("cpu_us_per_command", loaded.cpu_us_per_item());
    match load {
        Load::Closed { callers: 1, .. } => {
            let p50_us = loaded.quantile_us(0.5);
            case.figure("p50_per_fdatasync", p50_us / machine.fdatasync_us)
                .figure("p50_per_commit", p50_us / machine.commit_us)
                .figure("commit_us", machine.commit_us)
        }
        _ => case,
    }
}

async fn closed(
    harness: &Harness,
    bank: &Bank,
    callers: usize,
    pace: Pace,
) -> Result<(Loaded, i64)> {
    let tellers = bank.tellers();
    let tellers: Vec<_> = (0..callers)
        .map(|number| tellers.teller(number as u64, pace))
        .collect();
    let (loaded, tellers) = closed_loop(&harness.clock(), tellers, harness.seconds()).await?;
    Ok((loaded, tellers.iter().map(Teller::paid).sum()))
}

async fn open(harness: &Harness, bank: &Bank, rate: f64) -> Result<(Loaded, i64)> {
    let load = OpenLoop {
        rate,
        seconds: harness.seconds(),
        arrivals: Arrivals::Even,
    };
    let paid = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let total = Arc::clone(&paid);
    let tellers = bank.tellers();
    let loaded = load
        .run(&harness.clock(), move |number| {
            let (mut teller, paid) = (tellers.teller(number, Pace::One), Arc::clone(&paid));
            async move {
                teller.call().await?;
                paid.fetch_add(teller.paid(), std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
        })
        .await?;
    Ok((loaded, total.load(std::sync::atomic::Ordering::Relaxed)))
}

/// Closes the bank, then lets its folder go.
async fn finish(bank: Bank, folder: DataFolder) -> Result<()> {
    bank.close().await?;
    drop(folder);
    Ok(())
}
