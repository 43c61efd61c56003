//! A projection beside the same one with poison: one account in a hundred whose events it fails on, by an error or a panic,
//! or with another projection beside it that hangs.
//!
//! `of_plain` is the throughput with poison by that without, see [`paired`](crate::paired), in events of accounts that do not fail. Both build their rows from the log anew; those that
//! fail are tried five times and are dead letters then, which are stored with what waits behind them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use compact_str::CompactString;
use millstream::catalog::bank::{Account, AccountEvent, BALANCES, Balances, Cents};
use millstream::{Engine, EngineConfig, Topology};
use millstream_operators::aggregate::Aggregate;
use millstream_operators::projection::{
    FailurePolicy, ProjectedEvent, Projection, ProjectionConfig, Rows, Table, TableMut,
};

use super::SUITE;
use crate::gate::Gate;
use crate::history::History;
use crate::paired::Paired;
use crate::{Case, Harness};

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Share of the accounts that fail.
const ONE_IN: f64 = 100.0;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    Fails,
    Panics,
    Hangs,
}

#[derive(Debug)]
struct Poison;

impl std::fmt::Display for Poison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is poison")
    }
}

impl std::error::Error for Poison {}

/// [`Balances`], in which one account in a hundred is poison.
struct Poisoned(Wrong);

impl Projection for Poisoned {
    const NAME: &'static str = Balances::NAME;
    const VERSION: u32 = Balances::VERSION;
    const ROWS: Rows = Balances::ROWS;
    const CATEGORY: &'static str = Account::CATEGORY;
    type Event = AccountEvent;
    type Tables = (Table<CompactString, Cents>,);
    type Error = Poison;

    fn tables(&self) -> Self::Tables {
        (BALANCES,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, AccountEvent>,
        tables: &mut (TableMut<CompactString, Cents>,),
    ) -> Result<(), Poison> {
        let Ok(()) = Balances.project(event, tables);
        if event.id.len() > 2 && event.id.ends_with("07") {
            match self.0 {
                Wrong::Fails => return Err(Poison),
                Wrong::Panics => std::panic::panic_any("it is poison"),
                Wrong::Nothing | Wrong::Hangs => {}
            }
        }
        Ok(())
    }
}

/// Hangs at its first event.
struct Hanging(Gate);

impl Projection for Hanging {
    const NAME: &'static str = "hanging";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = Account::CATEGORY;
    type Event = AccountEvent;
    type Tables = (Table<CompactString, u64>,);
    type Error = Poison;

    fn tables(&self) -> Self::Tables {
        (Table::named("hanging"),)
    }

    fn project(
        &self,
        _event: &ProjectedEvent<'_, AccountEvent>,
        _tables: &mut (TableMut<CompactString, u64>,),
    ) -> Result<(), Poison> {
        self.0.wait();
        Ok(())
    }
}

pub(super) async fn run(harness: &Harness, history: &History, rounds: usize) -> Result<()> {
    millstream_operators::failing::limit_panic_messages();
    let cases = [
        ("poison-1pct", Wrong::Fails),
        ("poison-1pct-panics", Wrong::Panics),
        ("poison-hung-beside", Wrong::Hangs),
    ];
    for (name, wrong) in cases {
        if harness.wants(name) {
            compare(harness, history, name, wrong, rounds).await?;
        }
    }
    Ok(())
}

async fn compare(
    harness: &Harness,
    history: &History,
    name: &str,
    wrong: Wrong,
    rounds: usize,
) -> Result<()> {
    let machine = harness.machine(history.folder())?;
    let mut seconds = Paired::default();
    let mut letters = 0;
    for round in 0..rounds {
        let mut both = [0.0; 2];
        for turn in 0..2 {
            let at = (round + turn) % 2;
            let wrong = [Wrong::Nothing, wrong][at];
            (both[at], letters) = match one(harness, history, wrong).await? {
                (took, of) if at == 1 => (took, of),
                (took, _) => (took, letters),
            };
        }
        seconds.push(both);
    }
    let events = history.contents().events as f64;
    let healthy = if wrong == Wrong::Hangs {
        events
    } else {
        events * (1.0 - 1.0 / ONE_IN)
    };
    let case = Case::new(SUITE, name, machine)
        .with("events", history.contents().events)
        .with("keys", history.contents().keys)
        .with("rounds", rounds)
        .with("letters", letters);
    let ratio = seconds.ratio().inverse();
    let case = ratio
        .figures(case, "of_plain")
        .figure("events_per_second_plain", events / seconds.median(0))
        .figure("events_per_second", healthy / seconds.median(1));
    harness.report(case)
}

/// Seconds from opening until the balances have seen all, and how many letters there are then.
async fn one(harness: &Harness, history: &History, wrong: Wrong) -> Result<(f64, u64)> {
    history.forget_state()?;
    let config = EngineConfig {
        partitions: harness.options().partitions,
        ..EngineConfig::default()
    };
    let projection = ProjectionConfig {
        failures: FailurePolicy {
            backoff_first: Duration::from_millis(1),
            ..FailurePolicy::default()
        },
        ..ProjectionConfig::default()
    };
    let gate = Gate::default();
    let mut topology = Topology::named("bank")
        .aggregate::<Account>()
        .projection_with(Poisoned(wrong), projection);
    if wrong == Wrong::Hangs {
        topology = topology.projection(Hanging(gate.clone()));
    }
    let topology = topology.build()?;
    let start = harness.now();
    let engine = Engine::open(history.folder().path())
        .config(config)
        .run(topology)
        .await?;
    let board = Arc::clone(engine.table(&BALANCES)?.board());
    board.reached(&engine.durable(), PATIENCE).await?;
    let took = (harness.now() - start).as_secs_f64();
    let letters = engine.state().dead_letter_count(None)? as u64;
    gate.open();
    engine.shutdown().await?;
    Ok((took, letters))
}
