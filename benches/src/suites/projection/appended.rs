//! A projection that keeps up with events that are appended as they are, decided by nobody: a journal of payments.

use std::convert::Infallible;

use anyhow::{Context, Result, ensure};
use millstream::{Engine, EngineConfig, Topology};
use millstream_engine::codec::Event;
use millstream_engine::event::StreamId;
use millstream_engine::partition::{Appender, Expected, NewEvent};
use millstream_operators::projection::{ProjectedEvent, Projection, Rows, Table, TableMut};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::keeping_up::KeptUp;
use super::{SUITE, Sizes};
use crate::load::Caller;
use crate::{Case, Harness, SEED};

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
    let kept_up = KeptUp::run(harness, (&folder, &engine), Journal::NAME, clerks).await?;
    check(
        &engine,
        kept_up.callers.iter().map(|clerk| clerk.paid).sum(),
    )?;
    let case = Case::new(SUITE, name, kept_up.machine)
        .with("keys", keys)
        .with("partitions", engine.partitions())
        .with("batch", sizes.bulk)
        .with("batches_in_flight", sizes.bulks);
    harness.report(kept_up.figures(case))?;
    Ok(engine.shutdown().await?)
}

/// All that was paid is in the rows.
fn check(engine: &Engine, paid: i64) -> Result<()> {
    let mut total = 0;
    engine.table(&PAID)?.for_each(|_, sum: i64| total += sum)?;
    ensure!(total == paid, "the rows add up to {total}, not to {paid}");
    Ok(())
}
