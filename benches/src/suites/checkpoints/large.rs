//! A keyed state that is filled, changed a little, and begun again from.
//!
//! The source gives every key once, then in each round every hundredth key, other ones each time, and rests between.
//! A checkpoint is asked for while it rests. Begun again, the dataflow is given a round more: the time until its keys
//! are through is that of recovery, from before the engine is opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream::dataflow::{DataflowHandle, DataflowStatus, SourcePlan};
use millstream::prelude::*;
use millstream_engine::checkpoint::CheckpointFigures;
use millstream_engine::flow::{
    Emit, Fault, Pulled, SeekError, Source, Wiring, number_position, position_number,
};
use millstream_engine::time::Timestamp;
use millstream_operators::keyed::Ttl;
use serde::{Deserialize, Serialize};

use super::{SUITE, Sizes, with_checkpoints};
use crate::flows::{Totals, options};
use crate::resident_bytes;
use crate::{Case, Harness};

const NAME: &str = "large";
/// The same with memory for a part of the state.
const SPILLED: &str = "larger_than_memory";
/// The state is about so many times its memory.
const TIMES: usize = 10;
/// About what a key takes in memory.
const KEY_BYTES: usize = 280;
/// One key of so many is touched in a round.
const ONE_OF: u64 = 100;
/// Rounds that are measured.
const ROUNDS: u64 = 5;
/// How long a source that rests waits until it looks again.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Only asked for.
const NEVER_MS: u64 = 1 << 40;

/// What is kept of a key: about what a customer's figures would be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Profile {
    touched: u64,
    name: String,
}

/// Gives all keys, and then rounds as they are released.
#[derive(Clone, Debug)]
struct Touches {
    keys: u64,
    released: Arc<AtomicU64>,
}

/// The share of one split: what it has given counts from the first key on.
struct TouchSplit {
    plan: Touches,
    split: u64,
    splits: u64,
    /// How many it has given.
    given: u64,
}

impl TouchSplit {
    const fn keys(&self) -> u64 {
        self.plan.keys / self.splits
    }

    const fn of_round(&self) -> u64 {
        self.keys() / ONE_OF
    }

    /// The key that is given as number `given`, as far as it is released.
    fn next(&self) -> Option<u64> {
        let keys = self.keys();
        let Some(touch) = self.given.checked_sub(keys) else {
            return Some(self.given * self.splits + self.split);
        };
        let round = touch / self.of_round();
        if round >= self.plan.released.load(Ordering::Relaxed) {
            return None;
        }
        // Scattered over all keys, and other ones in each round.
        let place = (touch % self.of_round()) * ONE_OF + round % ONE_OF;
        Some(place * self.splits + self.split)
    }
}

impl Source for TouchSplit {
    type Item = u64;

    fn pull<E: Emit<u64>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        for _ in 0..items_max {
            let Some(key) = self.next() else {
                return Ok(Pulled::PendingFor(LOOK_EVERY));
            };
            out.emit(Timestamp(self.given.cast_signed()), key);
            self.given += 1;
        }
        Ok(Pulled::More)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Some(number_position(self.given)))
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.given = position_number(position)?;
        Ok(())
    }
}

impl SourcePlan for Touches {
    type Source = TouchSplit;

    fn split_count(&self, wiring: &Wiring) -> Result<usize, Fault> {
        Ok(wiring.partitions)
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<TouchSplit, Fault> {
        Ok(TouchSplit {
            plan: self.clone(),
            split: split as u64,
            splits: wiring.partitions as u64,
            given: 0,
        })
    }
}

/// An engine with the dataflow, and what its sink has seen.
struct Opened {
    engine: Engine,
    flow: DataflowHandle,
    totals: Totals,
}

impl Opened {
    async fn open(
        harness: &Harness,
        path: &std::path::Path,
        plan: &Touches,
        memory: Option<usize>,
    ) -> Result<Self> {
        let totals = Totals::default();
        let (sink, plan) = (totals.sink(), plan.clone());
        let options = with_checkpoints(options(harness), NEVER_MS);
        let mut topology =
            Topology::named("large").dataflow_with("profiles", options, move |flow| {
                flow.source("touches", plan)
                    .stream()
                    .key_by(|key| *key)
                    .fold(Ttl::Never, Profile::default(), |profile, key| {
                        profile.touched += 1;
                        if profile.name.is_empty() {
                            profile.name = format!("{key:0>100}");
                        }
                    })
                    .map(|_| 1)
                    .end(sink);
            });
        if let Some(bytes) = memory {
            topology = topology.state_memory(bytes);
        }
        let engine = Engine::open(path).run(topology.build()?).await?;
        let flow = engine.dataflow("profiles");
        Ok(Self {
            engine,
            flow,
            totals,
        })
    }

    /// Until so many items have come through in this run.
    async fn until(&self, rows: u64) -> Result<()> {
        while self.totals.rows() < rows {
            ensure!(
                self.flow.status() == DataflowStatus::Running,
                "the dataflow has ended, which its input does not"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn checkpoint(&self) -> Result<CheckpointFigures> {
        self.flow.checkpoint().await?;
        let status = self
            .flow
            .checkpoints()
            .context("no checkpoints are taken")?;
        status.figures.context("no checkpoint was taken")
    }
}

pub(super) async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    for name in [NAME, SPILLED] {
        if harness.wants(name) {
            run_one(harness, sizes, name).await?;
        }
    }
    Ok(())
}

async fn run_one(harness: &Harness, sizes: Sizes, name: &'static str) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let partitions = options(harness).partitions as u64;
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let keys = keys.next_multiple_of(ONE_OF * partitions);
    let memory = (name == SPILLED).then(|| keys as usize * KEY_BYTES / TIMES);
    let released = Arc::new(AtomicU64::new(0));
    let plan = Touches {
        keys,
        released: Arc::clone(&released),
    };
    let clock = harness.clock();
    let began = clock.monotonic();
    let opened = Opened::open(harness, folder.path(), &plan, memory).await?;
    opened.until(keys).await?;
    let filled = clock.monotonic() - began;
    let whole = opened.checkpoint().await?;
    let (mut ms, mut bytes) = (Vec::new(), Vec::new());
    let mut touching = Duration::ZERO;
    for round in 1..=ROUNDS {
        let began = clock.monotonic();
        released.store(round, Ordering::Relaxed);
        opened.until(keys + round * (keys / ONE_OF)).await?;
        touching += clock.monotonic() - began;
        let figures = opened.checkpoint().await?;
        ms.push(figures.duration.as_secs_f64() * 1e3);
        bytes.push(figures.bytes_written as f64);
    }
    let held = resident_bytes().unwrap_or(0);
    opened.engine.shutdown().await?;
    drop(opened);

    released.store(ROUNDS + 1, Ordering::Relaxed);
    let began = clock.monotonic();
    let again = Opened::open(harness, folder.path(), &plan, memory).await?;
    again.until(1).await?;
    let first = clock.monotonic() - began;
    again.until(keys / ONE_OF).await?;
    let all = clock.monotonic() - began;
    let resident = resident_bytes().unwrap_or(0);
    again.engine.shutdown().await?;
    let case = Case::new(SUITE, name, machine)
        .with("keys", keys)
        .with("partitions", partitions)
        .with("changed_share", 1.0 / ONE_OF as f64)
        .figure("filled_keys_per_second", keys as f64 / filled.as_secs_f64())
        .figure(
            "touched_keys_per_second",
            (ROUNDS * keys / ONE_OF) as f64 / touching.as_secs_f64(),
        )
        .figure("memory_limit_mb", memory.unwrap_or(0) as f64 / 1e6)
        .figure("held_mb", held as f64 / 1e6)
        .figure("whole_ms", whole.duration.as_secs_f64() * 1e3)
        .figure("whole_bytes", whole.bytes_written as f64)
        .figure("changed_ms", mean(&ms))
        .figure("changed_bytes", mean(&bytes))
        .figure(
            "changed_bytes_of_whole",
            mean(&bytes) / whole.bytes_written as f64,
        )
        .figure("recovery_first_seconds", first.as_secs_f64())
        .figure("recovery_seconds", all.as_secs_f64())
        .figure("resident_mb", resident as f64 / 1e6);
    harness.report(case)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
