//! Nexmark queries with a checkpoint every second and without.

use std::sync::Arc;

use anyhow::{Result, ensure};
use millstream::catalog::nexmark::direct::Variant;
use millstream::catalog::nexmark::{NexmarkConfig, Query, Tally};
use millstream::prelude::*;

use super::{SUITE, Sizes, with_checkpoints};
use crate::flows::{Run, Started, options};
use crate::paired::median;
use crate::{Case, Harness};

/// One whose windows hold much, one that joins, and the one whose keyed state is largest.
const QUERIES: [Query; 3] = [Query::Q5, Query::Q8, Query::Q4];

pub(super) async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    for query in QUERIES {
        if harness.wants(&query.name()) {
            let events = harness.options().events.unwrap_or(sizes.events);
            compare(harness, query, events, sizes).await?;
        }
    }
    Ok(())
}

/// One run, and what its checkpoints were.
struct Outcome {
    run: Run,
    rows: u64,
    checkpoints: u64,
    state_bytes: u64,
    last_ms: f64,
}

async fn compare(harness: &Harness, query: Query, events: u64, sizes: Sizes) -> Result<()> {
    let machine = harness.machine(&harness.folder()?)?;
    let (mut without, mut with, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..sizes.rounds {
        let plain = one(harness, query, events, None).await?;
        let taken = one(harness, query, events, Some(sizes.interval_ms)).await?;
        ensure!(
            plain.rows == taken.rows,
            "{} gave {} rows with checkpoints and {} without",
            query.name(),
            taken.rows,
            plain.rows
        );
        without.push(events as f64 / plain.run.seconds);
        with.push(events as f64 / taken.run.seconds);
        shares.push(plain.run.seconds / taken.run.seconds);
        last = Some(taken);
    }
    let Some(last) = last else {
        return Ok(());
    };
    let case = Case::new(SUITE, query.name(), machine)
        .with("events", events)
        .with("interval_ms", sizes.interval_ms)
        .with("rounds", sizes.rounds)
        .with("results", last.rows)
        .figure("events_per_second_without", median(&without))
        .figure("events_per_second_with", median(&with))
        .figure("of_without", median(&shares))
        .figure("checkpoints", last.checkpoints as f64)
        .figure("last_checkpoint_ms", last.last_ms)
        .figure("stored_bytes", last.state_bytes as f64);
    harness.report(case)
}

async fn one(
    harness: &Harness,
    query: Query,
    events: u64,
    interval_ms: Option<u64>,
) -> Result<Outcome> {
    let folder = harness.folder()?;
    let tally = Tally::new(false);
    let mut flow_options = options(harness);
    if let Some(interval_ms) = interval_ms {
        flow_options = with_checkpoints(flow_options, interval_ms);
    }
    let config = NexmarkConfig::of(events);
    let rows = Arc::clone(&tally);
    let topology = Topology::named("nexmark").dataflow_with("query", flow_options, move |flow| {
        query.declare(flow, &config, Variant::Beam, &tally);
    });
    let clock = harness.clock();
    let started = Started::now(&*clock);
    let engine = Engine::open(folder.path()).run(topology.build()?).await?;
    let flow = engine.dataflow("query");
    flow.wait().await?;
    let run = started.ended(&*clock, flow.loads());
    let status = flow.checkpoints();
    let figures = status.as_ref().and_then(|status| status.figures);
    let outcome = Outcome {
        run,
        rows: rows.rows(),
        checkpoints: status
            .and_then(|status| status.completed)
            .map_or(0, |epoch| epoch.0),
        state_bytes: figures.map_or(0, |figures| figures.bytes),
        last_ms: figures.map_or(0.0, |figures| figures.duration.as_secs_f64() * 1e3),
    };
    engine.shutdown().await?;
    Ok(outcome)
}
