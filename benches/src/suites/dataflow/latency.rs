//! From an event's due time to the result of the window that it closes, at half of what the machine takes and nearly
//! idle.
//!
//! The maximum is that of the same dataflow, with batches of the engine's choice, when all events are due at once; it
//! is found in two runs, because the number of windows depends on the rate: the second has the rate that the cases
//! are measured at. What the source itself is late by, above all the resolution of its timer, is in the latency and is
//! given beside it.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Result, ensure};
use millstream::dataflow::Dataflow;
use millstream_engine::flow::BatchSize;
use millstream_operators::function::count;
use millstream_operators::window::Tumbling;

use super::paced::Pace;
use super::{Bench, SUITE, Sizes};
use crate::Case;
use crate::flows::{Run, options};

const KEYS: u64 = 1_000;
const WINDOW: Duration = Duration::from_millis(10);
/// Events per second of event time in the first run that looks for the maximum.
const GUESS_PER_SECOND: u64 = 4_000_000;
/// Items per batch beside what the engine chooses.
const FIXED: [usize; 2] = [256, 4_096];
/// `half-eager` is `half` with a source that never waits: an idle stage sends all that it has, a working one keeps it for
/// a full batch or the linger time, which is a matter of the source and changes the latency a good deal.
const LOADS: [&str; 3] = ["half", "half-eager", "idle"];

fn batch_sizes() -> impl Iterator<Item = (String, BatchSize)> {
    let fixed = FIXED.into_iter().filter_map(NonZeroUsize::new);
    let fixed = fixed.map(|items| (items.to_string(), BatchSize::Fixed(items)));
    std::iter::once(("dynamic".to_owned(), BatchSize::default())).chain(fixed)
}

pub(super) async fn run(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    let mut half = None;
    for load in LOADS {
        for (batches, size) in batch_sizes() {
            let name = format!("latency-{load}-{batches}");
            if !bench.harness.wants(&name) {
                continue;
            }
            let per_second = match (load, half) {
                ("idle", _) => sizes.idle_per_second,
                (_, Some(half)) => half,
                (_, None) => *half.insert(maximum(bench, sizes).await? / 2),
            };
            let pace = Pace {
                is_eager: load == "half-eager",
                ..paced(bench, per_second)?
            };
            latency(bench, name, pace, size).await?;
        }
    }
    Ok(())
}

async fn counted(bench: Bench<'_>, pace: &Pace, size: BatchSize) -> Result<Run> {
    let mut flow_options = options(bench.harness);
    flow_options.edges.batch = size;
    let sink = pace.sink()?;
    let flow = Dataflow::build_with("latency", flow_options, |flow| {
        flow.source("events", pace.clone())
            .stream()
            .key_by(|key| *key)
            .window(Tumbling::of(WINDOW))
            .aggregate(count())
            .end(sink);
    })?;
    let run = Run::of(&*bench.harness.clock(), flow).await?;
    let (counted, events) = (pace.counted(), pace.events);
    ensure!(counted == events, "{counted} of {events} were counted");
    Ok(run)
}

/// Events per second when they come as fast as they are taken.
async fn maximum(bench: Bench<'_>, sizes: Sizes) -> Result<u64> {
    let events = bench.events(sizes.maximum);
    let mut per_second = GUESS_PER_SECOND;
    let mut most = 0;
    for _ in 0..2 {
        let pace = Pace {
            waits: false,
            ..Pace::new(events, KEYS, per_second)?
        };
        let run = counted(bench, &pace, BatchSize::default()).await?;
        most = (events as f64 / run.seconds) as u64;
        per_second = most / 2;
    }
    Ok(most)
}

/// Events for as long as a case is measured, and for its warm-up before.
fn paced(bench: Bench<'_>, per_second: u64) -> Result<Pace> {
    let seconds = bench.harness.seconds();
    let warm_up = seconds / 5;
    let events = per_second as f64 * (seconds + warm_up).as_secs_f64();
    Ok(Pace {
        warm_up,
        ..Pace::new(events as u64, KEYS, per_second)?
    })
}

async fn latency(bench: Bench<'_>, name: String, pace: Pace, size: BatchSize) -> Result<()> {
    let run = counted(bench, &pace, size).await?;
    let (results, sent) = (pace.results(), pace.sent());
    ensure!(
        !results.is_empty(),
        "no result was due while it was measured"
    );
    let quantile = |quantile| results.value_at_quantile(quantile) as f64;
    let case = Case::new(SUITE, name, bench.machine)
        .with("intended_per_second", pace.per_second)
        .with("partitions", options(bench.harness).partitions)
        .with("window_ms", WINDOW.as_millis() as u64)
        .with("results", results.len())
        .figure("p50_us", quantile(0.5))
        .figure("p99_us", quantile(0.99))
        .figure("p9999_us", quantile(0.9999))
        .figure("source_p50_us", sent.value_at_quantile(0.5) as f64)
        .figure("source_p99_us", sent.value_at_quantile(0.99) as f64);
    bench.harness.report(run.figures(case, pace.events))
}
