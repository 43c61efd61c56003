//! What it costs that functions and processes may fail, and what those pay that do not fail for those that do.
//!
//! Each case is two dataflows in turn, in many short rounds, see [`paired`](crate::paired). `of_plain` is the throughput of
//! the other by that of the plain one, in events that do not fail, and `core_of_plain` the same by core time. Without `1pct`
//! and the like in its name a case has functions that may not fail beside the same ones that may and do not; with it, those
//! that may beside the same with poison: one key in so many fails each time, or each so-manieth event, or one. Poison is tried
//! once and skipped unless the name says that it is tried again, panics, or is kept as dead letters, which needs an engine
//! with a disk on both sides. `failing-itself` is a process beside itself: what the method is worth.
//! Where something panics, each round also has threads that catch as many panics and do nothing else, as many threads as
//! partitions: `of_limit` is the throughput by what is left of the plain one's if unwinding is all that is added to it.
//! `alone` are operators without a dataflow.
//! `failing-hung-channel` and `failing-hung-thread` have another dataflow in the same engine whose consumer never takes
//! anything: a channel that nobody reads, or a closure that keeps its thread;
//! in `failing-hung-own-thread` that is one of its dataflow's own.

mod alone;
mod flows;
mod hung;
mod unwinding;

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream::TopologyBuilder;
use millstream::dataflow::Dataflow;
use millstream::prelude::{Engine, Topology};
use millstream_operators::failing::{ItemPolicy, WaitingLimits, WhenFull};

use self::flows::{Flows, Poison, Work};
use self::hung::Hung;
use super::{Bench, SUITE, Sizes};
use crate::flows::{Run, Started, Totals, options};
use crate::paired::Paired;
use crate::{Case, Harness};

/// Fewer panics than that are no matter of unwinding, and are not compared with it.
const PANICS_MIN: u64 = 100;
/// Keys of the load.
const KEYS: u64 = 100_000;

/// One of two that are compared.
#[derive(Clone, Copy)]
struct Side {
    work: Work,
    poison: Poison,
    /// How often what fails is tried; `None`: once, and it is kept as a dead letter.
    tries: Option<u32>,
    /// A dataflow beside it.
    beside: Option<Hung>,
}

const fn side(work: Work, poison: Poison) -> Side {
    Side {
        work,
        poison,
        tries: Some(1),
        beside: None,
    }
}

impl Side {
    /// Tried again a millisecond later.
    const fn again(self) -> Self {
        Self {
            tries: Some(2),
            ..self
        }
    }

    /// Kept.
    const fn kept(self) -> Self {
        Self {
            tries: None,
            ..self
        }
    }

    /// With a dataflow that hangs.
    const fn beside(self, hung: Hung) -> Self {
        Self {
            beside: Some(hung),
            ..self
        }
    }

    fn policy(self) -> ItemPolicy {
        let limits = WaitingLimits {
            items_max: usize::MAX,
            bytes_max: usize::MAX,
            key_items_max: usize::MAX,
            key_bytes_max: usize::MAX,
        };
        let policy = match self.tries {
            Some(_) => ItemPolicy::skip(),
            None => ItemPolicy::dead_letter(),
        };
        policy
            .attempts(self.tries.unwrap_or(1), Duration::from_millis(1))
            .waiting(limits, WhenFull::Halt)
    }
}

/// One name and the two that it compares.
struct Pair(&'static str, Side, Side);

/// What is compared.
fn pairs() -> Vec<Pair> {
    use Poison::{Event, Key, None, Nth, PanicEvent, PanicKey};
    use Work::{Map, Parse, Process, TryMap, TryParse, TryProcess};
    let (plain_map, plain_process) = (side(Map, None), side(Process, None));
    let (map, process) = (side(TryMap, None), side(TryProcess, None));
    let with = |poison| side(TryProcess, poison);
    let again = |poison| with(poison).again();
    let (letters, kept) = (process.kept(), |poison| with(poison).kept());
    let maps = |poison| side(TryMap, poison).kept();
    vec![
        Pair("failing-itself", plain_process, plain_process),
        Pair("failing-map", plain_map, map),
        Pair("failing-parse", side(Parse, None), side(TryParse, None)),
        Pair("failing-process", plain_process, process),
        Pair("failing-process-letters", plain_process.kept(), letters),
        Pair("failing-map-1pct", map, side(TryMap, Key(100))),
        Pair("failing-process-1pct", process, with(Key(100))),
        Pair("failing-process-1pct-again", process, again(Key(100))),
        Pair("failing-process-every-1000th", process, with(Event(1_000))),
        Pair("failing-process-panics-once", process, with(Nth(100_000))),
        Pair("failing-process-1pct-panics", process, with(PanicKey(100))),
        Pair(
            "failing-process-every-1000th-panics",
            process,
            with(PanicEvent(1_000)),
        ),
        Pair("failing-process-kept", letters, kept(Key(10_000))),
        Pair("failing-process-1pct-kept", letters, kept(Key(100))),
        Pair(
            "failing-process-1pct-panics-kept",
            letters,
            kept(PanicKey(100)),
        ),
        Pair(
            "failing-process-panics-once-kept",
            letters,
            kept(Nth(100_000)),
        ),
        Pair(
            "failing-process-every-1000th-kept",
            letters,
            kept(Event(1_000)),
        ),
        Pair("failing-map-1pct-kept", maps(None), maps(Key(100))),
        Pair(
            "failing-hung-channel",
            letters,
            letters.beside(Hung::Channel),
        ),
        Pair("failing-hung-thread", letters, letters.beside(Hung::Thread)),
        Pair(
            "failing-hung-own-thread",
            letters,
            letters.beside(Hung::OwnThread),
        ),
    ]
}

pub(super) async fn run(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    millstream_operators::failing::limit_panic_messages();
    let events = bench.events(sizes.failing);
    let rounds = bench.harness.options().rounds.unwrap_or(sizes.rounds);
    for Pair(name, plain, other) in pairs() {
        if bench.harness.wants(name) {
            compare(bench, rounds, events, name, [plain, other]).await?;
        }
    }
    alone::run(bench, rounds, events)
}

/// Figures of all rounds.
#[derive(Default)]
struct Rounds {
    healthy_per_second: Paired,
    core_ns: Paired,
    /// Throughput that unwinding alone leaves, beside that of what panics.
    limits: Paired,
    unwinding_ns: Paired,
    failed: u64,
}

async fn compare(
    bench: Bench<'_>,
    rounds: usize,
    events: u64,
    name: &str,
    sides: [Side; 2],
) -> Result<()> {
    let mut all = Rounds::default();
    for round in 0..rounds {
        let (mut seconds, mut core, mut panics) = ([0.0; 2], [0.0; 2], 0);
        for turn in 0..2 {
            let at = (round + turn) % 2;
            let (run, failed, panicked) = one(bench.harness, events, sides[at]).await?;
            (seconds[at], core[at]) = (run.seconds, run.core_seconds);
            if at == 1 {
                (all.failed, panics) = (failed, panicked);
            }
        }
        // Of both the events that do not fail in the other.
        let healthy = (events - all.failed) as f64;
        let per_second = seconds.map(|seconds| healthy / seconds);
        all.healthy_per_second.push(per_second);
        all.core_ns.push(core.map(|core| core * 1e9 / healthy));
        if panics >= PANICS_MIN {
            let threads = options(bench.harness).partitions;
            let unwinding = unwinding::bare(bench.harness, threads, panics);
            let limit = healthy / (seconds[0] + unwinding.as_secs_f64());
            all.limits.push([limit, per_second[1]]);
            let each = unwinding.as_secs_f64() * threads as f64 * 1e9 / panics as f64;
            all.unwinding_ns.push([each, each]);
        }
    }
    report(bench, rounds, events, name, &all)
}

fn report(bench: Bench<'_>, rounds: usize, events: u64, name: &str, all: &Rounds) -> Result<()> {
    let case = Case::new(SUITE, name, bench.machine)
        .with("events", events)
        .with("partitions", options(bench.harness).partitions)
        .with("keys", KEYS)
        .with("rounds", rounds)
        .with("failed", all.failed);
    let case = all.healthy_per_second.ratio().figures(case, "of_plain");
    let case = all
        .core_ns
        .ratio()
        .inverse()
        .figures(case, "core_of_plain")
        .figure("core_ns_per_event_plain", all.core_ns.median(0))
        .figure("core_ns_per_event", all.core_ns.median(1))
        .figure("events_per_second_plain", all.healthy_per_second.median(0))
        .figure("events_per_second", all.healthy_per_second.median(1))
        .figure("events_per_core_second", 1e9 / all.core_ns.median(1));
    let case = if all.unwinding_ns.is_empty() {
        case
    } else {
        let case = all.limits.ratio().figures(case, "of_limit");
        case.figure("unwinding_ns", all.unwinding_ns.median(0))
    };
    bench.harness.report(case)
}

/// One run, how many of its events failed or waited behind one that did, and how many tries panicked.
async fn one(harness: &Harness, events: u64, side: Side) -> Result<(Run, u64, u64)> {
    let totals = Totals::default();
    let flows = Flows::new(side.work, side.poison, events);
    let (declared, counts, policy) = (flows.clone(), totals.clone(), side.policy());
    let flow_options = options(harness);
    let run = if side.tries.is_some() {
        let flow = Dataflow::build_with("failing", flow_options, move |flow| {
            declared.declare(flow, policy, &counts);
        })?;
        Run::of(&*harness.clock(), flow).await?
    } else {
        let topology =
            Topology::named("failing").dataflow_with("failing", flow_options, move |flow| {
                declared.declare(flow, policy, &counts);
            });
        in_engine(harness, topology, side.beside).await?
    };
    let (missing, failures) = (events - totals.counted(), flows.failures());
    if let Some(tries) = side.tries {
        let failed = failures / u64::from(tries);
        ensure!(
            missing == failed,
            "{missing} of {events} events did not come out, {failed} failed"
        );
    } else {
        ensure!(
            missing >= failures,
            "{missing} of {events} events did not come out, {failures} failed"
        );
    }
    let panicked = if side.poison.panics() { failures } else { 0 };
    Ok((run, missing, panicked))
}

/// Timed from before the engine is open: opening is part of both.
async fn in_engine(
    harness: &Harness,
    topology: TopologyBuilder,
    beside: Option<Hung>,
) -> Result<Run> {
    let (folder, clock) = (harness.folder()?, harness.clock());
    let (topology, hung) = match beside {
        Some(hung) => {
            let (topology, release) = hung.declare(topology);
            (topology, Some(release))
        }
        None => (topology, None),
    };
    let topology = topology.build()?;
    let started = Started::now(&*clock);
    let engine = Engine::open(folder.path()).run(topology).await?;
    let flow = engine.dataflow("failing");
    flow.wait().await?;
    let run = started.ended(&*clock, flow.loads());
    if hung.is_some() {
        // What hung does not end in order.
        drop(hung);
        let _ = engine.shutdown().await;
    } else {
        engine.shutdown().await?;
    }
    Ok(run)
}
