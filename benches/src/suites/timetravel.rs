//! Questions about the past, among many aggregates.
//!
//! Accounts are written as a bank does it, then asked for as they were: random accounts at random moments, by version, by
//! position, by recorded time and by event time, in a log that is a quarter of its length and in the whole one (which must
//! cost the same); an account with a long stream at random versions; the position at a time; and whole tables, replayed.
//! Each question is asked alone, one after the other, on one thread; besides its time by the clock it has its time of a core
//! (`core_…`), which is what it costs where the machine is shared. Frames that were read lately are in a cache of 32 MiB,
//! which is a small part of the log in full size.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream::catalog::bank::{Account, BALANCES, Balances};
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::log::LogReader;
use millstream_engine::time::Timestamp;
use millstream_operators::past::At;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::bank::{Bank, ReadSide};
use crate::{Case, Harness, Machine, SEED};

const SUITE: &str = "timetravel";

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Accounts.
    pub keys: u64,
    /// Events in the log.
    pub events: u64,
    /// Questions per case.
    pub questions: usize,
    /// Events of the streams that are long.
    pub lengths: [u64; 3],
}

/// What is published.
pub const FULL: Sizes = Sizes {
    keys: 1_000_000,
    events: 10_000_000,
    questions: 5_000,
    lengths: [1_000, 10_000, 100_000],
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    keys: 200,
    events: 4_000,
    questions: 40,
    lengths: [20, 100, 400],
};

/// Which way moments are named.
const KINDS: [&str; 4] = ["version", "position", "recorded-time", "event-time"];

/// Runs all cases that are wanted.
///
/// # Errors
/// When a question has no answer, or a wrong one.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let events = harness.options().events.unwrap_or(sizes.events);
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let long = sizes.lengths.len() as u64;
    let bank = Bank::open(harness, &folder, keys + long, ReadSide::None).await?;
    bank.open_accounts().await?;
    let many = bank.first(keys);
    let quarter = (events / 4).saturating_sub(keys).max(1);
    let early = many.fill(quarter).await?;
    let past = Span::of(&bank)?;
    let travel = Travel {
        harness,
        machine,
        questions: sizes.questions,
        bank: &bank,
        keys,
    };
    tokio::task::block_in_place(|| travel.questions("quarter", &past))?;
    let late = many
        .fill(events.saturating_sub(keys + quarter).max(1))
        .await?;
    tokio::task::block_in_place(|| travel.questions("early", &past))?;
    tokio::task::block_in_place(|| travel.questions("all", &Span::of(&bank)?))?;
    let mut paid = early + late;
    for (at, length) in (0..).zip(sizes.lengths) {
        let account = bank.rest(keys + at).first(1);
        paid += account.fill(length).await?;
        tokio::task::block_in_place(|| travel.long(at, length))?;
    }
    tokio::task::block_in_place(|| travel.positions(&Span::of(&bank)?))?;
    travel.tables(&past, early, "quarter").await?;
    travel.tables(&Span::of(&bank)?, paid, "all").await?;
    bank.close().await
}

/// Part of the log, from its beginning on.
struct Span {
    ends: Vec<Offset>,
    from: Timestamp,
    to: Timestamp,
}

impl Span {
    fn of(bank: &Bank) -> Result<Self> {
        let log = bank.engine().log();
        let ends = bank.partitions().map(|partition| log.head(partition));
        let ends: Vec<_> = ends.map(|head| Ok(head?.next)).collect::<Result<_>>()?;
        let (mut from, mut to) = (Timestamp::MAX, Timestamp::MIN);
        for (partition, end) in bank.partitions().zip(&ends) {
            let head = |offset| log.frame_head(partition, offset);
            if let Some(last) = end.0.checked_sub(1).map(Offset) {
                let first = head(Offset(0))?.context("a partition has a first frame")?;
                let last = head(last)?.context("a partition has a last frame")?;
                from = from.min(first.recorded_first);
                to = to.max(last.recorded_last);
            }
        }
        Ok(Self { ends, from, to })
    }

    fn events(&self) -> u64 {
        self.ends.iter().map(|end| end.0).sum()
    }

    /// All of it.
    fn token(&self) -> At {
        let mut token = millstream_engine::event::Token::default();
        for (partition, end) in (0..).map(PartitionId).zip(&self.ends) {
            if let Some(offset) = end.0.checked_sub(1).map(Offset) {
                token.observe(Position { partition, offset });
            }
        }
        token.into()
    }

    fn time(&self, random: &mut SmallRng) -> Timestamp {
        Timestamp(random.random_range(self.from.0..=self.to.0))
    }
}

/// Where the questions are asked.
struct Travel<'a> {
    harness: &'a Harness,
    machine: Machine,
    questions: usize,
    bank: &'a Bank,
    keys: u64,
}

impl Travel<'_> {
    /// Random accounts at random moments of a part of the log.
    fn questions(&self, part: &str, span: &Span) -> Result<()> {
        for kind in KINDS {
            let name = format!("{kind}-{part}");
            if !self.harness.wants(&name) {
                continue;
            }
            let mut random = SmallRng::seed_from_u64(SEED);
            let mut moments = Vec::with_capacity(self.questions);
            for _ in 0..self.questions {
                moments.push(self.moment(kind, span, &mut random)?);
            }
            let mut found = 0u64;
            let took = self.timed(moments, |(id, at)| {
                let answer = self.bank.engine().aggregate_at::<Account>(&id, at)?;
                found += u64::from(answer.is_some());
                Ok(())
            })?;
            ensure!(found > 0, "no account was there at any moment");
            let case = self
                .case(name, &took)
                .with("part_events", span.events())
                .figure("found", found as f64);
            self.harness.report(case)?;
        }
        Ok(())
    }

    fn moment(&self, kind: &str, span: &Span, random: &mut SmallRng) -> Result<(String, At)> {
        let engine = self.bank.engine();
        let id = random.random_range(0..self.keys).to_string();
        let at = match kind {
            "version" => {
                let mut past = engine.past::<Account>(&id)?;
                let last = past.at(&span.token())?;
                At::Version(random.random_range(0..=last.map_or(0, |last| last.version)))
            }
            "position" => {
                let partition = past_partition(self.bank, &id)?;
                let end = span.ends[usize::from(partition.0)];
                let offset = Offset(random.random_range(0..end.0.max(1)));
                At::from(Position { partition, offset })
            }
            "recorded-time" => At::RecordedTime(span.time(random)),
            _ => At::EventTime(span.time(random)),
        };
        Ok((id, at))
    }

    /// An account with a long stream, at random versions.
    fn long(&self, at: u64, length: u64) -> Result<()> {
        let name = format!("stream-{length}");
        if !self.harness.wants(&name) {
            return Ok(());
        }
        let id = (self.keys + at).to_string();
        let mut random = SmallRng::seed_from_u64(SEED);
        let versions = (0..self.questions.min(500)).map(|_| random.random_range(0..=length));
        let engine = self.bank.engine();
        let took = self.timed(versions.collect(), |version| {
            let answer = engine.aggregate_at::<Account>(&id, At::Version(version))?;
            ensure!(answer.is_some_and(|answer| answer.version == version));
            Ok(())
        })?;
        let stream = engine.past::<Account>(&id)?.stream().clone();
        let mut kept = 0u64;
        let mut below = u64::MAX;
        while let Some(found) = engine
            .state()
            .snapshot_fitting(&stream, |head| head.stream_version < below)
        {
            below = found.stream_version;
            kept += 1;
        }
        let case = self
            .case(name, &took)
            .with("stream_events", length)
            .figure("snapshots", kept as f64);
        self.harness.report(case)
    }

    /// Where the log stood at random times.
    fn positions(&self, span: &Span) -> Result<()> {
        if !self.harness.wants("position-at") {
            return Ok(());
        }
        let mut random = SmallRng::seed_from_u64(SEED);
        let times = (0..self.questions)
            .map(|_| span.time(&mut random))
            .collect();
        let took = self.timed(times, |time| {
            self.bank.engine().position_at(time)?;
            Ok(())
        })?;
        self.harness.report(self.case("position-at".into(), &took))
    }

    /// All balances at the end of a part of the log.
    async fn tables(&self, span: &Span, sum: i64, part: &str) -> Result<()> {
        let name = format!("tables-{part}");
        if !self.harness.wants(&name) {
            return Ok(());
        }
        let (start, cpu) = (self.harness.now(), crate::cpu_time());
        let tables = self
            .bank
            .engine()
            .project_at(Balances, span.token())
            .await?;
        let seconds = (self.harness.now() - start).as_secs_f64();
        let cpu = (crate::cpu_time() - cpu).as_secs_f64();
        let rows = tables.rows(&BALANCES)?;
        let total: i64 = rows.iter().map(|(_, balance)| balance.hundredths()).sum();
        ensure!(total == sum, "balances add up to {total}, not to {sum}");
        ensure!(tables.events() == span.events(), "events were left out");
        let case = Case::new(SUITE, name, self.machine)
            .with("keys", self.keys)
            .with("part_events", span.events())
            .figure("events_per_second", span.events() as f64 / seconds)
            .figure("events_per_core_second", span.events() as f64 / cpu)
            .figure("seconds", seconds);
        self.harness.report(case)
    }

    /// Asks one after the other.
    fn timed<Q>(&self, questions: Vec<Q>, mut ask: impl FnMut(Q) -> Result<()>) -> Result<Took> {
        let mut took = Took::default();
        for question in questions {
            let (start, cpu) = (self.harness.now(), crate::cpu_time());
            ask(question)?;
            took.core.push(crate::cpu_time().saturating_sub(cpu));
            took.wall.push(self.harness.now() - start);
        }
        took.core.sort_unstable();
        took.wall.sort_unstable();
        Ok(took)
    }

    fn case(&self, name: String, took: &Took) -> Case {
        Case::new(SUITE, name, self.machine)
            .with("keys", self.keys)
            .with("partitions", self.bank.engine().partitions())
            .with("questions", took.wall.len())
            .figure("p50_us", place(&took.wall, 0.5))
            .figure("p99_us", place(&took.wall, 0.99))
            .figure("max_us", place(&took.wall, 1.0))
            .figure("core_p50_us", place(&took.core, 0.5))
            .figure("core_p99_us", place(&took.core, 0.99))
            .figure("core_max_us", place(&took.core, 1.0))
    }
}

/// How long each question took, sorted: by the clock, and of a core, which others on the machine do not lengthen.
#[derive(Default)]
struct Took {
    wall: Vec<Duration>,
    core: Vec<Duration>,
}

/// Microseconds that so large a part of the questions took at most.
fn place(took: &[Duration], part: f64) -> f64 {
    let at = (took.len() as f64 * part) as usize;
    let found = took.get(at.min(took.len().saturating_sub(1)));
    found.map_or(f64::NAN, |took| took.as_secs_f64() * 1e6)
}

fn past_partition(bank: &Bank, id: &str) -> Result<PartitionId> {
    let past = bank.engine().past::<Account>(id)?;
    Ok(past.stream().partition(bank.engine().partitions()))
}
