//! What an event costs in a sliding count as windows overlap more.
//!
//! Windows are of one size, and one begins ever more often. Each event gives about as many results whatever that
//! is, a tenth of one (`results_per_event`): keys are as many as a tenth of the events between the beginnings of two
//! windows, so the state has about as many accumulators too, a tenth of the events of a window. `-fast` has ten
//! times the events per second of event time and the same keys: what is done per key and slice is shared by ten
//! times the events, and a result too.

use std::time::Duration;

use anyhow::Result;
use millstream::dataflow::Dataflow;
use millstream_operators::function::count;
use millstream_operators::window::Sliding;

use super::load::Load;
use super::{Bench, SUITE, Sizes};
use crate::Case;
use crate::flows::{Run, Totals, options};

/// Size by slide.
const OVERLAPS: [u64; 4] = [1, 10, 100, 1_000];
/// Size of all windows.
const SIZE: Duration = Duration::from_secs(10);
/// Events per second of event time, and how many times that in a second row.
const PER_SECOND: u64 = 100_000;
const RATES: [(u64, &str); 2] = [(1, ""), (10, "-fast")];
/// Events per key between the beginnings of two windows, at the lower rate.
const EVENTS_PER_KEY: u64 = 10;

pub(super) async fn run(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    for (times, suffix) in RATES {
        for overlap in OVERLAPS {
            let name = format!("sliding-{overlap}{suffix}");
            if bench.harness.wants(&name) {
                let events = bench.events(sizes.sliding);
                sliding(bench, name, overlap, PER_SECOND * times, events).await?;
            }
        }
    }
    Ok(())
}

async fn sliding(
    bench: Bench<'_>,
    name: String,
    overlap: u64,
    per_second: u64,
    events: u64,
) -> Result<()> {
    let slide = SIZE / u32::try_from(overlap)?;
    let keys = PER_SECOND * SIZE.as_secs() / overlap / EVENTS_PER_KEY;
    let totals = Totals::default();
    let flow_options = options(bench.harness);
    let partitions = flow_options.partitions;
    let flow = Dataflow::build_with("sliding", flow_options, |flow| {
        flow.source("events", Load::steady(events, keys, per_second))
            .stream()
            .key_by(|key| *key)
            .window(Sliding::of(SIZE).every(slide))
            .aggregate(count())
            .map(|counted| counted.value)
            .end(totals.sink());
    })?;
    let run = Run::of(&*bench.harness.clock(), flow).await?;
    totals.check(events, overlap)?;
    let case = Case::new(SUITE, name, bench.machine)
        .with("events", events)
        .with("partitions", partitions)
        .with("size_by_slide", overlap)
        .with("slide_ms", slide.as_millis() as u64)
        .with("event_time_per_second", per_second)
        .with("keys", keys)
        .figure("results_per_event", totals.rows() as f64 / events as f64)
        .figure("core_ns_per_event", run.core_seconds * 1e9 / events as f64);
    bench.harness.report(run.figures(case, events))
}
