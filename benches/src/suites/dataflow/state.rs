//! Whether keyed state stays bounded over many events whose keys change.
//!
//! Sessions are counted. A key is used for `KEYS` × `ROTATE_EVERY` events and never again, so that over the run
//! there are far more keys than at any moment; state that outlived its sessions would show as a line that rises.
//! Looked at every so many events: entries of keyed state, which stages count every 100 ms, and the memory of the
//! process. Both are given over time for a plot, with the events at which they were taken.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream::dataflow::{Dataflow, DataflowHandle};
use millstream_engine::flow::StageLoad;
use millstream_operators::function::count;
use millstream_operators::window::Session;

use super::load::{Load, Progress};
use super::{Bench, SUITE, Sizes};
use crate::flows::{Started, Totals, options};
use crate::{Case, resident_bytes};

const NAME: &str = "state-50m";
/// Keys in use at a time.
const KEYS: u64 = 100_000;
/// Events after which one key is given up and another taken up.
const ROTATE_EVERY: u64 = 16;
/// Events per second of event time.
const PER_SECOND: u64 = 1_000_000;
/// What ends a session: ten times what passes between two events of a key in the mean.
const GAP: Duration = Duration::from_secs(1);

/// One look.
struct Sample {
    events: u64,
    state_items: usize,
    resident_bytes: u64,
}

fn state_items(loads: &[StageLoad]) -> usize {
    loads.iter().map(|load| load.state_items).sum()
}

fn resident() -> Result<u64> {
    resident_bytes().context("the system does not say what memory is in use")
}

pub(super) async fn run(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    if !bench.harness.wants(NAME) {
        return Ok(());
    }
    let events = bench.events(sizes.state);
    let progress = Progress::new(sizes.state_every);
    let totals = Totals::default();
    let flow_options = options(bench.harness);
    let partitions = flow_options.partitions;
    let load = Load {
        rotate_every: ROTATE_EVERY,
        progress: Some(progress.clone()),
        ..Load::steady(events, KEYS, PER_SECOND)
    };
    let flow = Dataflow::build_with("state", flow_options, |flow| {
        flow.source("events", load)
            .stream()
            .key_by(|key| *key)
            .window(Session::gap(GAP))
            .aggregate(count())
            .map(|counted| counted.value)
            .end(totals.sink());
    })?;
    let before = resident()?;
    let clock = bench.harness.clock();
    let started = Started::now(&*clock);
    let handle = flow.start().await?;
    let samples = watch(&handle, &progress).await?;
    let run = started.ended(&*clock, handle.loads());
    totals.check(events, 1)?;
    let left = state_items(&handle.loads());
    ensure!(left == 0, "{left} entries of state outlived the input");
    let items = |sample: &Sample| sample.state_items as f64;
    let megabytes = |sample: &Sample| sample.resident_bytes as f64 / 1e6;
    let case = Case::new(SUITE, NAME, bench.machine)
        .with("events", events)
        .with("partitions", partitions)
        .with("keys", KEYS)
        .with("keys_in_all", KEYS + events / ROTATE_EVERY)
        .with("sessions", totals.rows())
        .with("resident_mb_before", before as f64 / 1e6)
        .figure(
            "state_items_max",
            samples.iter().map(items).fold(0.0, f64::max),
        )
        .figure(
            "resident_mb_max",
            samples.iter().map(megabytes).fold(0.0, f64::max),
        )
        .series(
            "at_events",
            samples.iter().map(|sample| sample.events as f64),
        )
        .series("state_items", samples.iter().map(items))
        .series("resident_mb", samples.iter().map(megabytes));
    bench.harness.report(run.figures(case, events))
}

/// Looks whenever the source tells, until the dataflow has ended, and then once more.
async fn watch(handle: &DataflowHandle, progress: &Progress) -> Result<Vec<Sample>> {
    let look = || -> Result<Sample> {
        Ok(Sample {
            events: progress.given(),
            state_items: state_items(&handle.loads()),
            resident_bytes: resident()?,
        })
    };
    let mut samples = Vec::new();
    let ended = handle.wait();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            ended = &mut ended => {
                ended?;
                samples.push(look()?);
                return Ok(samples);
            }
            () = progress.called() => samples.push(look()?),
        }
    }
}
