//! A projection that keeps up with events that are appended as they are, decided by nobody: a journal of payments.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use millstream::{Engine, EngineConfig, Topology};
use millstream_engine::codec::Event;
use millstream_engine::event::StreamId;
use millstream_engine::partition::{Appender, Expected, NewEvent};
use millstream_operators::projection::{ProjectedEvent, Projection, Rows, Table, TableMut};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::{SUITE, Sizes, look_at_stored, ms};
use crate::load::{Caller, closed_loop};
use crate::{Case, Harness, SEED};

/// Longest wait for the projection.
const PROJECTED: std::time::Duration = std::time::Duration::from_secs(600);
/// Largest amount, in hundredths.
const AMOUNT_MAX: i64 = 10_000;

/// A payment to one of many accounts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Paid {
    account: u64,
    cents: i64,
}

impl Event for Paid {}

/// What each account was paid.
const PAID: Table<u64, i64> = Table::named("paid");

/// One actor, since payments to an account stand in journals of several partitions.
struct Journal;

impl Projection for Journal {
    const NAME: &'static str = "journal";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "journal";
    type Event = Paid;
    type Tables = (Table<u64, i64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (PAID,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Paid>,
        (paid,): &mut (TableMut<u64, i64>,),
    ) -> Result<(), Infallible> {
        let Paid { account, cents } = event.payload;
        paid.update(account, |sum| *sum += cents);
        Ok(())
    }
}

/// Appends payments to a journal of its own.
struct Clerk {
    appender: Appender,
    stream: StreamId,
    random: SmallRng,
    sizes: Sizes,
    paid: i64,
}

impl Caller for Clerk {
    async fn call(&mut self) -> Result<u64> {
        let mut paid = 0;
        let payments = (0..self.sizes.bulk).map(|_| {
            let account = self.random.random_range(0..self.sizes.keys);
            let cents = self.random.random_range(1..=AMOUNT_MAX);
            paid += cents;
            NewEvent::typed(Paid { account, cents })
        });
        let payments: Vec<_> = payments.collect();
        let stream = self.stream.clone();
        let appending = self.appender.append(stream, Expected::Any, payments);
        appending.await.context("appending")?;
        self.paid += paid;
        Ok(self.sizes.bulk as u64)
    }
}

pub(super) async fn run(harness: &Harness, sizes: Sizes, name: &str) -> Result<()> {
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let sizes = Sizes { keys, ..sizes };
    let folder = harness.folder()?;
    let config = EngineConfig {
        partitions: harness.options().partitions,
        ..EngineConfig::default()
    };
    let topology = Topology::named("journals").projection(Journal).build()?;
    let engine = Engine::open(folder.path())
        .config(config)
        .run(topology)
        .await?;
    let clerks = (0..sizes.bulks)
        .map(|number| {
            Ok(Clerk {
                appender: engine.appender(),
                stream: StreamId::new(Journal::CATEGORY, &number.to_string())?,
                random: SmallRng::seed_from_u64(SEED + number as u64),
                sizes,
                paid: 0,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let before = harness.machine(&folder)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let looking = look_at_stored(harness, &engine, Journal::NAME, &is_over)?;
    let (start, cpu) = (harness.now(), crate::cpu_time());
    let (loaded, clerks) = closed_loop(&harness.clock(), clerks, harness.seconds()).await?;
    let answered = harness.now() - start;
    engine.projected(&engine.durable(), PROJECTED).await?;
    let shown = harness.now() - start;
    let cpu = crate::cpu_time() - cpu;
    is_over.store(true, Ordering::Release);
    let stored = looking.await.context("the look at what is stored")??;
    let machine = before.between(harness.machine(&folder)?);
    check(&engine, clerks.iter().map(|clerk| clerk.paid).sum())?;
    let events = loaded.items_all as f64;
    let case = Case::new(SUITE, name, machine)
        .with("keys", keys)
        .with("partitions", engine.partitions())
        .with("batch", sizes.bulk)
        .with("batches_in_flight", sizes.bulks)
        .with("events", loaded.items_all)
        .figure("events_per_second", events / shown.as_secs_f64())
        .figure("events_per_core_second", events / cpu.as_secs_f64())
        .figure(
            "shown_after_last_ms",
            (shown - answered).as_secs_f64() * 1e3,
        )
        .figure("stored_after_p50_ms", ms(&stored, 0.5))
        .figure("stored_after_p99_ms", ms(&stored, 0.99))
        .figure("stored_after_max_ms", ms(&stored, 1.0));
    harness.report(case)?;
    Ok(engine.shutdown().await?)
}

/// All that was paid is in the rows.
fn check(engine: &Engine, paid: i64) -> Result<()> {
    let mut total = 0;
    engine.table(&PAID)?.for_each(|_, sum: i64| total += sum)?;
    ensure!(total == paid, "the rows add up to {total}, not to {paid}");
    Ok(())
}
