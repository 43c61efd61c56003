//! A projection built anew beside one that answers, and what that takes from live traffic.
//!
//! The log holds events of three types, mixed: nine in ten are `Happened::Often`, one in a hundred is
//! `Happened::Seldom`, the rest `Happened::Sometimes`. `all`, `tenth` and `hundredth` build a candidate that wants all of
//! them, the tenth or the hundredth, while nothing is appended: from the start of the engine until the candidate has caught
//! up. Events that it passes over count, as they are a part of the log that it has to come through.
//! `live` appends for some seconds beside such a rebuild and without one, in turn, to the same log, and gives the rates of
//! both and the loss; a projection that answers reads along in both. `rebuilt_per_second` is how fast the rebuild went on
//! beside it. What the candidate holds is compared with what was written.

use std::convert::Infallible;

use anyhow::{Context, Result, ensure};
use millstream::prelude::*;
use millstream::{Engine, EngineConfig, Topology};
use millstream_engine::partition::Appender;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::load::{Caller, closed_loop};
use crate::paired::median;
use crate::{Case, DataFolder, Harness, Machine, SEED};

const SUITE: &str = "rebuild";
/// Events of one append while the log is filled, and appends in flight.
const FILLING: u64 = 100;
const FILLERS: u64 = 256;
/// The same of live traffic.
const LIVE: usize = 16;
const LIVE_CALLERS: u64 = 64;
/// Streams that the log is filled with.
const STREAMS: u64 = 100_000;

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Events in the log.
    pub events: u64,
    /// How often live traffic is measured with a rebuild and without.
    pub rounds: usize,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    events: 10_000_000,
    rounds: 5,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    events: 20_000,
    rounds: 1,
};

/// What is in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Happened {
    Often { amount: i64 },
    Sometimes { amount: i64 },
    Seldom { amount: i64 },
}

impl Event for Happened {}

impl Happened {
    fn random(random: &mut SmallRng) -> Self {
        let amount = random.random_range(-1_000..1_000);
        match random.random_range(0..100) {
            0 => Self::Seldom { amount },
            1..=10 => Self::Sometimes { amount },
            _ => Self::Often { amount },
        }
    }

    const fn amount(&self) -> i64 {
        match self {
            Self::Often { amount } | Self::Sometimes { amount } | Self::Seldom { amount } => {
                *amount
            }
        }
    }
}

const SUMS: Table<String, (u64, i64)> = Table::named("sums");
const ALL: u32 = 2;
const TENTH: u32 = 3;
const HUNDREDTH: u32 = 4;

/// Count and sum by stream. Version 1 wants what nobody writes, 2 and above as they are named.
struct Sums<const VERSION: u32>;

impl<const N: u32> Projection for Sums<N> {
    const NAME: &'static str = "sums";
    const VERSION: u32 = N;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "thing";
    type Event = Happened;
    type Tables = (Table<String, (u64, i64)>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (SUMS,)
    }

    fn wanted(&self) -> Wanted {
        match N {
            ALL => Wanted::all(),
            TENTH => Wanted::types(["Sometimes"]),
            HUNDREDTH => Wanted::types(["Seldom"]),
            _ => Wanted::types(["Never"]),
        }
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (sums,): &mut (TableMut<String, (u64, i64)>,),
    ) -> Result<(), Infallible> {
        sums.update(&event.id.to_owned(), |(count, sum)| {
            *count += 1;
            *sum += event.payload.amount();
        });
        Ok(())
    }
}

/// What was appended, by type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Appended {
    often: u64,
    sometimes: u64,
    seldom: u64,
}

/// Runs all cases that are wanted.
///
/// # Errors
/// When an engine fails, or a candidate holds something else than what was written.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let events = harness.options().events.unwrap_or(sizes.events);
    let folder = harness.folder()?;
    let measured = Measured {
        harness,
        machine: harness.machine(&folder)?,
        folder,
        events,
    };
    let appended = measured.fill().await?;
    let cases = [
        ("all", appended.often + appended.sometimes + appended.seldom),
        ("tenth", appended.sometimes),
        ("hundredth", appended.seldom),
    ];
    for (name, wanted) in cases {
        if harness.wants(name) {
            match name {
                "all" => measured.rebuild::<ALL>(name, wanted).await?,
                "tenth" => measured.rebuild::<TENTH>(name, wanted).await?,
                _ => measured.rebuild::<HUNDREDTH>(name, wanted).await?,
            }
        }
    }
    if harness.wants("live") {
        measured.live(sizes.rounds).await?;
    }
    Ok(())
}

struct Measured<'h> {
    harness: &'h Harness,
    machine: Machine,
    folder: DataFolder,
    events: u64,
}

impl Measured<'_> {
    async fn open(&self, topology: millstream::TopologyBuilder) -> Result<Engine> {
        let config = EngineConfig {
            partitions: self.harness.options().partitions,
            ..EngineConfig::default()
        };
        let builder = Engine::open(self.folder.path()).config(config);
        Ok(builder.run(topology.build()?).await?)
    }

    /// Writes the log, with the version that answers reading along.
    async fn fill(&self) -> Result<Appended> {
        let engine = self.open(answering()).await?;
        let share = self.events.div_ceil(FILLERS);
        let fillers = (0..FILLERS).map(|number| {
            let from = (number * share).min(self.events);
            let to = (from + share).min(self.events);
            tokio::spawn(fill(engine.appender(), number, to - from))
        });
        let fillers: Vec<_> = fillers.collect();
        let mut all = Appended::default();
        for filler in fillers {
            let own = filler.await??;
            all.often += own.often;
            all.sometimes += own.sometimes;
            all.seldom += own.seldom;
        }
        engine.ready().await?;
        engine.shutdown().await?;
        Ok(all)
    }

    async fn rebuild<const N: u32>(&self, name: &str, wanted: u64) -> Result<()> {
        let (start, cpu) = (self.harness.now(), crate::cpu_time());
        let engine = self.open(answering().candidate(Sums::<N>)).await?;
        let rebuild = engine.rebuild("sums")?;
        rebuild.caught_up().await?;
        let seconds = (self.harness.now() - start).as_secs_f64();
        let cpu = (crate::cpu_time() - cpu).as_secs_f64();
        let rows = engine.version::<Sums<N>>()?.query(&SUMS).rows().await?;
        let counted: u64 = rows.iter().map(|(_, (count, _))| count).sum();
        ensure!(counted == wanted, "{counted} events of {wanted}");
        let case = Case::new(SUITE, name, self.machine)
            .with("events", self.events)
            .with("wanted", wanted)
            .with("partitions", engine.partitions())
            .figure("events_per_second", self.events as f64 / seconds)
            .figure("events_per_core_second", self.events as f64 / cpu)
            .figure("wanted_per_second", wanted as f64 / seconds)
            .figure("seconds", seconds);
        self.harness.report(case)?;
        rebuild.drop_version(N).await?;
        drop(rebuild);
        engine.shutdown().await?;
        Ok(())
    }

    async fn live(&self, rounds: usize) -> Result<()> {
        let (mut alone, mut beside, mut rebuilt) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(self.load(live()).await?.0);
            let (rate, further) = self.load(live().candidate(Live::<ALL>)).await?;
            beside.push(rate);
            rebuilt.push(further);
            // The next one begins from nothing again.
            let engine = self.open(live()).await?;
            engine.rebuild("live")?.drop_version(ALL).await?;
            engine.shutdown().await?;
        }
        let losses = alone.iter().zip(&beside);
        let losses: Vec<_> = losses
            .map(|(alone, beside)| 100.0 * (1.0 - beside / alone))
            .collect();
        let case = Case::new(SUITE, "live", self.machine)
            .with("events", self.events)
            .with("rounds", rounds as u64)
            .with("events_per_append", LIVE)
            .with("callers", LIVE_CALLERS)
            .figure("alone_per_second", median(&alone))
            .figure("beside_per_second", median(&beside))
            .figure("rebuilt_per_second", median(&rebuilt))
            .figure("loss_percent", median(&losses))
            .series("losses_percent", losses);
        self.harness.report(case)
    }

    /// Events appended per second, and by how many a candidate has come further per second.
    async fn load(&self, topology: millstream::TopologyBuilder) -> Result<(f64, f64)> {
        let engine = self.open(topology).await?;
        // The version that answers reads along; it has been built when the first round begins.
        engine.ready().await?;
        let callers = (0..LIVE_CALLERS).map(|number| {
            Ok(Traffic {
                appender: engine.appender(),
                stream: StreamId::new("thing", &format!("live{number}"))?,
                random: SmallRng::seed_from_u64(SEED + number),
            })
        });
        let callers = callers.collect::<Result<Vec<_>>>()?;
        let rebuild = engine.rebuild("live")?;
        let applied = || rebuild.progress().map_or(0, |progress| progress.applied);
        let (start, before) = (self.harness.now(), applied());
        let (loaded, _) =
            closed_loop(&self.harness.clock(), callers, self.harness.seconds()).await?;
        let seconds = (self.harness.now() - start).as_secs_f64();
        let further = applied() - before;
        drop(rebuild);
        engine.shutdown().await?;
        Ok((loaded.per_second(), further as f64 / seconds))
    }
}

/// What answers while candidates are built.
fn answering() -> millstream::TopologyBuilder {
    Topology::named("rebuild").projection(Sums::<1>)
}

/// The same beside live traffic: it reads all.
fn live() -> millstream::TopologyBuilder {
    Topology::named("rebuild").projection(Live::<1>)
}

const LIVE_SUMS: Table<String, (u64, i64)> = Table::named("live-sums");

/// As [`Sums`] of all, also in its first version.
struct Live<const VERSION: u32>;

impl<const N: u32> Projection for Live<N> {
    const NAME: &'static str = "live";
    const VERSION: u32 = N;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "thing";
    type Event = Happened;
    type Tables = (Table<String, (u64, i64)>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (LIVE_SUMS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        tables: &mut (TableMut<String, (u64, i64)>,),
    ) -> Result<(), Infallible> {
        Sums::<ALL>.project(event, tables)
    }
}

/// Appends to a stream of its own.
struct Traffic {
    appender: Appender,
    stream: StreamId,
    random: SmallRng,
}

impl Caller for Traffic {
    async fn call(&mut self) -> Result<u64> {
        let random = &mut self.random;
        let events = (0..LIVE).map(|_| NewEvent::typed(Happened::random(random)));
        let events = events.collect();
        let stream = self.stream.clone();
        let appended = self.appender.append(stream, Expected::Any, events).await;
        appended.context("appending")?;
        Ok(LIVE as u64)
    }
}

async fn fill(appender: Appender, number: u64, events: u64) -> Result<Appended> {
    let mut random = SmallRng::seed_from_u64(SEED + number);
    let (mut appended, mut done) = (Appended::default(), 0);
    while done < events {
        let stream = random.random_range(0..STREAMS);
        let stream = StreamId::new("thing", &stream.to_string())?;
        let count = (events - done).min(FILLING);
        let new = (0..count).map(|_| {
            let event = Happened::random(&mut random);
            match event {
                Happened::Often { .. } => appended.often += 1,
                Happened::Sometimes { .. } => appended.sometimes += 1,
                Happened::Seldom { .. } => appended.seldom += 1,
            }
            NewEvent::typed(event)
        });
        let new = new.collect();
        appender.append(stream, Expected::Any, new).await?;
        done += count;
    }
    Ok(appended)
}
