//! What it costs that functions and processes may fail: beside the same ones that may not.
//!
//! A function that does next to nothing, and a process that counts per key, once as they are, once as ones that may fail
//! and do not, and once with one event in a hundred that fails. Such an event is tried once and skipped, so that what is
//! measured is the failure itself: catching it, putting the state back, passing it over. `waits` has one event in
//! 10,000 that is tried again a millisecond later, and so is nearly always one that waits, which shows what the others pay
//! for it.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use millstream::dataflow::{Dataflow, Flow};
use millstream_engine::time::Timestamp;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::keyed::{Context, KeyedProcess, TryKeyedProcess};

use super::load::Load;
use super::{Bench, SUITE, Sizes};
use crate::Case;
use crate::flows::{Run, Totals, options};

/// Keys of the load.
const KEYS: u64 = 100_000;
/// Events per second of event time.
const PER_SECOND: u64 = 1_000_000;

/// Which events fail.
#[derive(Clone, Debug)]
struct Poison {
    /// One key in so many.
    one_in: u64,
    seen: Arc<AtomicU64>,
}

impl Poison {
    fn one_in(one_in: u64) -> Self {
        Self {
            one_in,
            seen: Arc::default(),
        }
    }

    #[inline(always)]
    fn touch(&self, key: u64) -> Result<(), &'static str> {
        if key.is_multiple_of(self.one_in) {
            self.seen.fetch_add(1, Ordering::Relaxed);
            return Err("it is poison");
        }
        Ok(())
    }

    /// Failures so far.
    fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

/// Counts a key's events, and looks at each as the one that fails does.
#[derive(Clone)]
struct Count(Poison);

impl KeyedProcess<u64, u64> for Count {
    type State = (u64, ());
    type Out = u64;
    type Side = Infallible;

    fn item(
        &mut self,
        key: &u64,
        (count, ()): &mut (u64, ()),
        _time: Timestamp,
        _event: u64,
        ctx: &mut Context<'_, u64>,
    ) {
        *count += 1;
        ctx.emit(black_box(1));
        // None does.
        let _ = self.0.touch(*key);
    }
}

/// The same, and fails for some.
#[derive(Clone)]
struct TryCount(Poison);

impl TryKeyedProcess<u64, u64> for TryCount {
    type State = (u64, ());
    type Out = u64;
    type Side = Infallible;
    type Error = &'static str;

    fn item(
        &mut self,
        key: &u64,
        (count, ()): &mut (u64, ()),
        _time: Timestamp,
        _event: &u64,
        ctx: &mut Context<'_, u64>,
    ) -> Result<(), &'static str> {
        *count += 1;
        ctx.emit(black_box(1));
        self.0.touch(*key)
    }
}

/// One in so many keys, which are fewer: none fails.
const NEVER: u64 = u64::MAX;

/// What the stage does with its events.
#[derive(Clone, Copy)]
enum Work {
    Map,
    TryMap,
    Process,
    TryProcess,
}

/// Name, work, how often an event is tried, and one in how many keys fails.
const CASES: [(&str, Work, u32, u64); 8] = [
    ("failing-map", Work::Map, 1, NEVER),
    ("failing-try-map", Work::TryMap, 1, NEVER),
    ("failing-try-map-1pct", Work::TryMap, 1, 100),
    ("failing-try-map-waits", Work::TryMap, 2, 10_000),
    ("failing-process", Work::Process, 1, NEVER),
    ("failing-try-process", Work::TryProcess, 1, NEVER),
    ("failing-try-process-1pct", Work::TryProcess, 1, 100),
    ("failing-try-process-waits", Work::TryProcess, 2, 10_000),
];

pub(super) async fn run(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    let events = bench.events(sizes.failing);
    for (name, work, tries, one_in) in CASES {
        if !bench.harness.wants(name) {
            continue;
        }
        let (totals, poison) = (Totals::default(), Poison::one_in(one_in));
        let policy = ItemPolicy::skip().attempts(tries, Duration::from_millis(1));
        let flow_options = options(bench.harness);
        let partitions = flow_options.partitions;
        let flow = Dataflow::build_with("failing", flow_options, |flow| {
            declare(flow, work, events, policy, &poison, &totals);
        })?;
        let run = Run::of(&*bench.harness.clock(), flow).await?;
        let (counted, failed) = (totals.counted(), poison.seen() / u64::from(tries));
        ensure!(
            counted + failed == events,
            "{counted} of {events} events came out, {failed} failed"
        );
        let case = Case::new(SUITE, name, bench.machine)
            .with("events", events)
            .with("partitions", partitions)
            .with("keys", KEYS)
            .with("failed", failed)
            .figure("core_ns_per_event", run.core_seconds * 1e9 / events as f64);
        bench.harness.report(run.figures(case, events))?;
    }
    Ok(())
}

fn declare(
    flow: &Flow,
    work: Work,
    events: u64,
    policy: ItemPolicy,
    poison: &Poison,
    totals: &Totals,
) {
    let source = flow.source("events", Load::steady(events, KEYS, PER_SECOND));
    let (load, sink, poison) = (source.stream(), totals.sink(), poison.clone());
    // Key 0 would fail whatever is asked for.
    let load = load.map(|key: u64| key + 1);
    match work {
        Work::Map => {
            let function = move |key| match poison.touch(key) {
                Ok(()) => black_box(key).min(1),
                Err(_) => 0,
            };
            load.map(function).end(sink);
        }
        Work::TryMap => {
            let function = move |key: &u64| poison.touch(*key).map(|()| black_box(*key).min(1));
            load.try_map(policy, function).end(sink);
        }
        Work::Process => load.key_by(|key| *key).process(Count(poison)).end(sink),
        Work::TryProcess => {
            let keyed = load.key_by(|key| *key);
            keyed.try_process(policy, TryCount(poison)).end(sink);
        }
    }
}
