//! The keyed tumbling count in batches of one size, and in batches whose size the engine chooses.
//!
//! Keys, rate and window are those of [`keyed`](crate::keyed). A source is pulled by as many events as a batch has.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Result, ensure};
use millstream::dataflow::{Dataflow, FlowOptions, InvalidDataflow};
use millstream_engine::flow::BatchSize;
use millstream_operators::function::count;
use millstream_operators::window::Tumbling;

use super::load::Load;
use super::{Bench, SUITE, Sizes};
use crate::Case;
use crate::flows::{Run, Totals, options};
use crate::keyed::{EVENTS_PER_MILLI, KEYS, SOURCES, WINDOW_MILLIS};

/// Items per batch.
const SIZES: [usize; 6] = [1, 16, 256, 1_024, 4_096, 16_384];

/// The load of the keyed count.
pub(super) const fn keyed_load(events: u64) -> Load {
    Load::steady(events, KEYS, EVENTS_PER_MILLI * SOURCES as u64 * 1_000)
}

/// A keyed tumbling count of a load.
pub(super) fn keyed_count(
    options: FlowOptions,
    load: Load,
    totals: &Totals,
) -> Result<Dataflow, InvalidDataflow> {
    let window = Duration::from_millis(WINDOW_MILLIS.cast_unsigned());
    Dataflow::build_with("keyed", options, |flow| {
        flow.source("events", load)
            .stream()
            .key_by(|key| *key)
            .window(Tumbling::of(window))
            .aggregate(count())
            .map(|counted| counted.value)
            .end(totals.sink());
    })
}

pub(super) async fn run(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    for items in SIZES {
        if let Some(fixed) = NonZeroUsize::new(items) {
            let name = format!("batch-{items}");
            batch(bench, name, BatchSize::Fixed(fixed), sizes).await?;
        }
    }
    batch(
        bench,
        "batch-dynamic".to_owned(),
        BatchSize::default(),
        sizes,
    )
    .await
}

async fn batch(bench: Bench<'_>, name: String, size: BatchSize, sizes: Sizes) -> Result<()> {
    if !bench.harness.wants(&name) {
        return Ok(());
    }
    let events = bench.events(sizes.batches);
    let totals = Totals::default();
    let mut flow_options = options(bench.harness);
    flow_options.edges.batch = size;
    let partitions = flow_options.partitions;
    let flow = keyed_count(flow_options, keyed_load(events), &totals)?;
    let run = Run::of(&*bench.harness.clock(), flow).await?;
    totals.check(events, 1)?;
    ensure!(totals.rows() > 0, "there were no results");
    let case = Case::new(SUITE, name, bench.machine)
        .with("events", events)
        .with("partitions", partitions);
    bench.harness.report(run.figures(case, events))
}
