//! The keyed tumbling count in batches of one size, and in batches whose size the engine chooses.
//!
//! Keys, rate and window are those of [`keyed`](crate::keyed). A source is pulled by as many events as a batch has.
//! `batch-chosen` has the best fixed sizes and the chosen one in turn, in many rounds, see [`paired`](crate::paired): `of_best` is the
//! throughput of the chosen size by that of the fixed size whose median is best, `core_of_best` the same by core time;
//! `fixed_N` are the medians of the fixed sizes.

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
use crate::paired::{Paired, median};

/// Items per batch.
const SIZES: [usize; 6] = [1, 16, 256, 1_024, 4_096, 16_384];

/// Sizes that were best in one run or another.
const CONTENDERS: [usize; 4] = [256, 1_024, 4_096, 16_384];

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
    .await?;
    chosen(bench, sizes).await
}

async fn batch(bench: Bench<'_>, name: String, size: BatchSize, sizes: Sizes) -> Result<()> {
    if !bench.harness.wants(&name) {
        return Ok(());
    }
    let events = bench.events(sizes.batches);
    let run = one(bench, size, events).await?;
    let case = Case::new(SUITE, name, bench.machine)
        .with("events", events)
        .with("partitions", options(bench.harness).partitions);
    bench.harness.report(run.figures(case, events))
}

async fn one(bench: Bench<'_>, size: BatchSize, events: u64) -> Result<Run> {
    let totals = Totals::default();
    let mut flow_options = options(bench.harness);
    flow_options.edges.batch = size;
    let flow = keyed_count(flow_options, keyed_load(events), &totals)?;
    let run = Run::of(&*bench.harness.clock(), flow).await?;
    totals.check(events, 1)?;
    ensure!(totals.rows() > 0, "there were no results");
    Ok(run)
}

/// Rates of one size, a number each round.
#[derive(Default)]
struct Rates {
    per_second: Vec<f64>,
    per_core_second: Vec<f64>,
}

async fn chosen(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    const NAME: &str = "batch-chosen";
    if !bench.harness.wants(NAME) {
        return Ok(());
    }
    let events = bench.events(sizes.batches);
    let rounds = bench.harness.options().rounds.unwrap_or(sizes.rounds);
    let fixed = CONTENDERS.into_iter().filter_map(NonZeroUsize::new);
    let all: Vec<_> = fixed
        .map(BatchSize::Fixed)
        .chain([BatchSize::default()])
        .collect();
    let mut rates: Vec<_> = all.iter().map(|_| Rates::default()).collect();
    for round in 0..rounds {
        for turn in 0..all.len() {
            let at = (round + turn) % all.len();
            let run = one(bench, all[at].clone(), events).await?;
            rates[at].per_second.push(events as f64 / run.seconds);
            let per_core_second = events as f64 / run.core_seconds;
            rates[at].per_core_second.push(per_core_second);
        }
    }
    let mut case = Case::new(SUITE, NAME, bench.machine)
        .with("events", events)
        .with("partitions", options(bench.harness).partitions)
        .with("rounds", rounds);
    for (items, rates) in CONTENDERS.iter().zip(&rates) {
        let name = format!("fixed_{items}_events_per");
        case = case
            .figure(&format!("{name}_second"), median(&rates.per_second))
            .figure(
                &format!("{name}_core_second"),
                median(&rates.per_core_second),
            );
    }
    let (by_time, by_core) = (
        |rates: &Rates| rates.per_second.clone(),
        |rates: &Rates| rates.per_core_second.clone(),
    );
    let case = against_best(case, ["", "second"], &rates, by_time);
    let case = against_best(case, ["core_", "core_second"], &rates, by_core);
    bench.harness.report(case)
}

/// How the last of them, which is chosen, stands to the best of the others: `[prefix, per what]` name the figures.
fn against_best(
    case: Case,
    [prefix, per]: [&str; 2],
    all: &[Rates],
    of: impl Fn(&Rates) -> Vec<f64>,
) -> Case {
    let Some((chosen, fixed)) = all.split_last() else {
        return case;
    };
    let medians = fixed.iter().map(|rates| median(&of(rates)));
    let best = medians.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((best, _)) = best else {
        return case;
    };
    let mut pairs = Paired::default();
    for (fixed, chosen) in of(&fixed[best]).into_iter().zip(of(chosen)) {
        pairs.push([fixed, chosen]);
    }
    let case = pairs.ratio().figures(case, &format!("{prefix}of_best"));
    case.figure(&format!("{prefix}best_items"), CONTENDERS[best] as f64)
        .figure(&format!("best_events_per_{per}"), pairs.median(0))
        .figure(&format!("events_per_{per}"), pairs.median(1))
}
