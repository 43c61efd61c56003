//! What it costs that functions and processes may fail, and what those pay that do not fail for those that do.
//!
//! Each case is two dataflows in turn, the order changing from round to round: `plain` and `other`. `of_plain` is the median
//! over the rounds of the other's throughput by the plain one's of the same round, in events that do not fail, beside the
//! least and the most of them and the same by core time. Without `1pct` and the like in its name a case has functions that
//! may not fail beside the same ones that may and do not; with it, those that may beside the same with poison:
//! one key in so many fails each time, or each so-manieth event, or one. Poison is tried once and skipped unless the name says
//! that it is tried again, panics, or is kept as dead letters, which needs an engine with a disk on both sides.

mod flows;

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream::TopologyBuilder;
use millstream::dataflow::Dataflow;
use millstream::prelude::{Engine, Topology};
use millstream_operators::failing::{ItemPolicy, WaitingLimits, WhenFull};

use self::flows::{Flows, Poison, Work};
use super::{Bench, SUITE, Sizes};
use crate::flows::{Run, Started, Totals, options};
use crate::{Case, Harness};

/// Keys of the load.
const KEYS: u64 = 100_000;

/// One of two that are compared.
#[derive(Clone, Copy)]
struct Side {
    work: Work,
    poison: Poison,
    /// How often what fails is tried; `None`: once, and it is kept as a dead letter.
    tries: Option<u32>,
}

const fn side(work: Work, poison: Poison) -> Side {
    Side {
        work,
        poison,
        tries: Some(1),
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
    use Poison::{Event, Key, None, Nth, PanicKey};
    use Work::{Map, Parse, Process, TryMap, TryParse, TryProcess};
    let (map, process) = (side(TryMap, None), side(TryProcess, None));
    vec![
        Pair("failing-map", side(Map, None), map),
        Pair("failing-parse", side(Parse, None), side(TryParse, None)),
        Pair("failing-process", side(Process, None), process),
        Pair("failing-map-1pct", map, side(TryMap, Key(100))),
        Pair("failing-process-1pct", process, side(TryProcess, Key(100))),
        Pair(
            "failing-process-1pct-again",
            process,
            side(TryProcess, Key(100)).again(),
        ),
        Pair(
            "failing-process-every-1000th",
            process,
            side(TryProcess, Event(1_000)),
        ),
        Pair(
            "failing-process-panics-once",
            process,
            side(TryProcess, Nth(1_000_000)),
        ),
        Pair(
            "failing-process-1pct-panics",
            process,
            side(TryProcess, PanicKey(100)),
        ),
        Pair(
            "failing-process-kept",
            process.kept(),
            side(TryProcess, Key(10_000)).kept(),
        ),
        Pair(
            "failing-process-1pct-kept",
            process.kept(),
            side(TryProcess, Key(100)).kept(),
        ),
    ]
}

pub(super) async fn run(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    millstream_operators::failing::limit_panic_messages();
    let events = bench.events(sizes.failing);
    for Pair(name, plain, other) in pairs() {
        if bench.harness.wants(name) {
            compare(bench, sizes.rounds, events, name, [plain, other]).await?;
        }
    }
    Ok(())
}

/// Figures of one side, a round each.
#[derive(Default)]
struct Rounds {
    healthy_per_second: Vec<f64>,
    core_ns: Vec<f64>,
    failed: u64,
}

impl Rounds {
    fn sorted(self) -> Self {
        Self {
            healthy_per_second: sorted(self.healthy_per_second),
            core_ns: sorted(self.core_ns),
            ..self
        }
    }
}

async fn compare(
    bench: Bench<'_>,
    rounds: usize,
    events: u64,
    name: &str,
    sides: [Side; 2],
) -> Result<()> {
    let mut both = [Rounds::default(), Rounds::default()];
    for round in 0..rounds {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            let (run, failed) = one(bench.harness, events, sides[at]).await?;
            let healthy = (events - failed) as f64;
            both[at].healthy_per_second.push(healthy / run.seconds);
            both[at].core_ns.push(run.core_seconds * 1e9 / healthy);
            both[at].failed = failed;
        }
    }
    let [plain, other] = &both;
    let ratios = |one: &[f64], two: &[f64]| {
        let pairs = one.iter().zip(two);
        sorted(pairs.map(|(one, two)| one / two).collect())
    };
    let speed = ratios(&other.healthy_per_second, &plain.healthy_per_second);
    let core = ratios(&plain.core_ns, &other.core_ns);
    let [plain, other] = both.map(Rounds::sorted);
    let middle = |values: &[f64]| values[values.len() / 2];
    let core_ns = middle(&other.core_ns);
    let case = Case::new(SUITE, name, bench.machine)
        .with("events", events)
        .with("partitions", options(bench.harness).partitions)
        .with("keys", KEYS)
        .with("rounds", rounds)
        .with("failed", other.failed)
        .figure("of_plain", middle(&speed))
        .figure("of_plain_least", speed[0])
        .figure("of_plain_most", speed[speed.len() - 1])
        .figure("core_of_plain", middle(&core))
        .figure("core_ns_per_event_plain", middle(&plain.core_ns))
        .figure("core_ns_per_event", core_ns)
        .figure("events_per_second", middle(&other.healthy_per_second))
        .figure("events_per_core_second", 1e9 / core_ns);
    bench.harness.report(case)
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// One run, and how many of its events failed or waited behind one that did.
async fn one(harness: &Harness, events: u64, side: Side) -> Result<(Run, u64)> {
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
        in_engine(harness, topology).await?
    };
    let missing = events - totals.counted();
    if let Some(tries) = side.tries {
        let failed = flows.failures() / u64::from(tries);
        ensure!(
            missing == failed,
            "{missing} of {events} events did not come out, {failed} failed"
        );
    } else {
        ensure!(
            missing >= flows.failures(),
            "{missing} of {events} events did not come out, {} failed",
            flows.failures()
        );
    }
    Ok((run, missing))
}

async fn in_engine(harness: &Harness, topology: TopologyBuilder) -> Result<Run> {
    let (folder, clock) = (harness.folder()?, harness.clock());
    let topology = topology.build()?;
    let started = Started::now(&*clock);
    let engine = Engine::open(folder.path()).run(topology).await?;
    let flow = engine.dataflow("failing");
    flow.wait().await?;
    let run = started.ended(&*clock, flow.loads());
    engine.shutdown().await?;
    Ok(run)
}
