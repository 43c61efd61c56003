//! The Nexmark queries, and the keyed tumbling count, as dataflows of the engine.
//!
//! The source makes its events inside the stages that read it, as `benches/peers` does for other engines. Timed is a
//! whole run, from the start of the stages to their end; rows are counted and not hashed. `busy` is the share of the
//! time that the busiest partition of a stage was at work.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use millstream::catalog::nexmark::direct::Variant;
use millstream::catalog::nexmark::{NexmarkConfig, NexmarkOptions, Query, run as run_query};
use millstream::dataflow::{Dataflow, SourcePlan};
use millstream_engine::flow::{Emit, Fault, Pulled, SeekError, Source, Wiring};
use millstream_engine::time::Timestamp;
use millstream_operators::function::count;
use millstream_operators::window::Tumbling;

use crate::flows::{Run, Totals, options, with_loads};
use crate::keyed::{KeyCount, KeyedSource, SOURCES, WINDOW_MILLIS};
use crate::{Case, Harness};

const SUITE: &str = "nexmark";

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Events of a query.
    pub events: u64,
    /// Events of the keyed count.
    pub keyed_events: u64,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    events: 20_000_000,
    keyed_events: 100_000_000,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    events: 20_000,
    keyed_events: 50_000,
};

/// Runs all cases that are wanted.
///
/// # Errors
/// When a run fails or gives nothing.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    for query in Query::value_variants() {
        if harness.wants(&query.name()) {
            let events = harness.options().events.unwrap_or(sizes.events);
            nexmark(harness, *query, events).await?;
        }
    }
    if harness.wants("keyed") {
        let events = harness.options().events.unwrap_or(sizes.keyed_events);
        keyed(harness, events).await?;
    }
    Ok(())
}

async fn nexmark(harness: &Harness, query: Query, events: u64) -> Result<()> {
    let machine = harness.machine(&harness.folder()?)?;
    let flow = options(harness);
    let partitions = flow.partitions;
    let cpu = crate::cpu_time();
    let report = run_query(NexmarkOptions {
        query,
        variant: Variant::Beam,
        config: NexmarkConfig::of(events),
        flow,
        checksum: false,
    })
    .await?;
    let cpu = (crate::cpu_time() - cpu).as_secs_f64();
    ensure!(report.results > 0, "{} gave nothing", report.query);
    let case = Case::new(SUITE, report.query.clone(), machine)
        .with("events", events)
        .with("partitions", partitions)
        .with("results", report.results)
        .figure("events_per_second", report.events_per_second())
        .figure("events_per_core_second", events as f64 / cpu)
        .figure("seconds", report.elapsed.as_secs_f64());
    harness.report(with_loads(case, &report.loads))
}

/// The source of the keyed count as the engine reads it.
struct KeyedPlan {
    events: u64,
}

struct KeyedSplit {
    events: KeyedSource,
    watermark: Timestamp,
}

impl Source for KeyedSplit {
    type Item = u64;

    fn watermark(&self) -> Option<Timestamp> {
        Some(self.watermark)
    }

    #[inline]
    fn pull<E: Emit<u64>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        for _ in 0..items_max {
            let Some(event) = self.events.next() else {
                return Ok(Pulled::End);
            };
            out.emit(event.time, event.key);
        }
        self.watermark = self.events.watermark();
        Ok(Pulled::More)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    fn seek(&mut self, _position: &[u8]) -> Result<(), SeekError> {
        Ok(())
    }
}

impl SourcePlan for KeyedPlan {
    type Source = KeyedSplit;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(SOURCES as usize)
    }

    fn split(&self, split: usize, _wiring: &Wiring) -> Result<KeyedSplit, Fault> {
        let events = KeyedSource::share(split as u32, self.events);
        let watermark = events.watermark();
        Ok(KeyedSplit { events, watermark })
    }
}

async fn keyed(harness: &Harness, events: u64) -> Result<()> {
    let machine = harness.machine(&harness.folder()?)?;
    let totals = Totals::default();
    let flow_options = options(harness);
    let partitions = flow_options.partitions;
    let flow = Dataflow::build_with("keyed", flow_options, |flow| {
        flow.source("events", KeyedPlan { events })
            .partitions(SOURCES as usize)
            .stream()
            .key_by(|key| *key)
            .window(Tumbling::of(Duration::from_millis(
                WINDOW_MILLIS.cast_unsigned(),
            )))
            .aggregate(count())
            .map(|counted| KeyCount {
                window: counted.window.start,
                key: counted.key,
                count: counted.value,
            })
            // The whole row is made, as other engines are asked to.
            .map(|row| std::hint::black_box(row).count)
            .end(totals.sink());
    })?;
    let run = Run::of(&*harness.clock(), flow).await?;
    totals.check(events, 1)?;
    let case = Case::new(SUITE, "keyed", machine)
        .with("events", events)
        .with("partitions", partitions)
        .with("results", totals.rows());
    harness.report(run.figures(case, events))
}
