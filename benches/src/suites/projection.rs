//! Projections that keep up: events as they come, and callers that wait for their own.
//!
//! `live-appended` appends events in batches as fast as that is answered, beside a projection that one actor runs.
//! `live-…` sends commands in bulks as fast as they are answered, to a bank with a projection of its balances beside, and ends
//! when all of it is shown: write and read side share the machine. Meanwhile it is looked after how long what was
//! durable in the log was also in the stored rows. `at-least` asks for what a caller has just written, under a steady
//! load; every second time it looks at the projection's position all the time instead, which is the projection's own delay.

mod appended;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use millstream::Engine;
use millstream::catalog::bank::{Account, AccountCommand, BALANCES, Cents, Channel};
use millstream_engine::event::{PartitionId, Token};
use millstream_operators::projection::Projection;

use crate::bank::{Bank, GlobalBalances, Pace, ReadSide, Teller};
use crate::load::{Arrivals, Caller as _, OpenLoop, closed_loop};
use crate::{Case, Harness};

const SUITE: &str = "projection";
/// Time between two looks at what is stored.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Accounts.
    pub keys: u64,
    /// Commands of a bulk.
    pub bulk: usize,
    /// Bulks in flight.
    pub bulks: usize,
    /// Commands per second beside which callers wait for their own.
    pub rate: f64,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    keys: 100_000,
    bulk: 512,
    bulks: 64,
    rate: 20_000.0,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    keys: 50,
    bulk: 16,
    bulks: 2,
    rate: 500.0,
};

/// Runs all cases that are wanted.
///
/// # Errors
/// When a command is not accepted or the rows are wrong.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let cases = [
        ("live-balances", ReadSide::Balances),
        ("live-global", ReadSide::Global),
    ];
    for (name, reads) in cases {
        if harness.wants(name) {
            live(harness, sizes, name, reads).await?;
        }
    }
    if harness.wants("live-appended") {
        appended::run(harness, sizes, "live-appended").await?;
    }
    if harness.wants("at-least") {
        at_least(harness, sizes).await?;
    }
    Ok(())
}

async fn live(harness: &Harness, sizes: Sizes, name: &str, reads: ReadSide) -> Result<()> {
    let folder = harness.folder()?;
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let bank = Bank::open(harness, &folder, keys, reads).await?;
    bank.open_accounts().await?;
    bank.settle().await?;
    let before = harness.machine(&folder)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let projection = match reads {
        ReadSide::Global => GlobalBalances::NAME,
        ReadSide::Routed => crate::bank::RoutedBalances::NAME,
        ReadSide::Balances | ReadSide::None => millstream::catalog::bank::Balances::NAME,
    };
    let looking = look_at_stored(harness, bank.engine(), projection, &is_over)?;
    let tellers = bank.tellers();
    let tellers: Vec<_> = (0..sizes.bulks as u64)
        .map(|number| tellers.teller(number, Pace::Bulk(sizes.bulk)))
        .collect();
    let (start, cpu) = (harness.now(), crate::cpu_time());
    let (loaded, tellers) = closed_loop(&harness.clock(), tellers, harness.seconds()).await?;
    let answered = harness.now() - start;
    bank.settle().await?;
    let shown = harness.now() - start;
    let cpu = crate::cpu_time() - cpu;
    is_over.store(true, Ordering::Release);
    let stored = looking.await.context("the look at what is stored")??;
    let machine = before.between(harness.machine(&folder)?);
    let paid = tellers.iter().map(Teller::paid).sum();
    bank.check(keys + loaded.items_all, paid).await?;
    let events = loaded.items_all as f64;
    let case = Case::new(SUITE, name, machine)
        .with("keys", keys)
        .with("partitions", bank.engine().partitions())
        .with("bulk", sizes.bulk)
        .with("bulks_in_flight", sizes.bulks)
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
    bank.close().await
}

fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 600_000_000, 3).context("making a histogram")
}

/// Measures, again and again until it is over, after how long all that is durable in the log is in the stored rows.
fn look_at_stored(
    harness: &Harness,
    engine: &Engine,
    projection: &str,
    is_over: &Arc<AtomicBool>,
) -> Result<tokio::task::JoinHandle<Result<Histogram<u64>>>> {
    let registered = engine.state().projection(projection, 1)?;
    let id = registered.context("the projection is registered")?.id;
    let (engine, clock, is_over) = (engine.clone(), harness.clock(), Arc::clone(is_over));
    let mut took = histogram()?;
    Ok(tokio::task::spawn_blocking(move || {
        let mut last = engine.durable();
        loop {
            let (token, start) = (engine.durable(), clock.monotonic());
            if token == last && !is_over.load(Ordering::Acquire) {
                std::thread::sleep(LOOK_EVERY); // Nothing is new.
                continue;
            }
            last = token.clone();
            while !is_stored(&engine, id, &token)? {
                std::thread::sleep(LOOK_EVERY);
            }
            took.saturating_record((clock.monotonic() - start).as_micros() as u64);
            if is_over.load(Ordering::Acquire) {
                return Ok(took);
            }
        }
    }))
}

fn is_stored(
    engine: &Engine,
    id: millstream_engine::state::ProjectionId,
    token: &Token,
) -> Result<bool> {
    for position in token.positions() {
        let progress = engine.state().progress(id, position.partition)?;
        if progress.unwrap_or_default().next <= position.offset {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn at_least(harness: &Harness, sizes: Sizes) -> Result<()> {
    let folder = harness.folder()?;
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let bank = Bank::open(harness, &folder, keys, ReadSide::Balances).await?;
    bank.open_accounts().await?;
    bank.settle().await?;
    let machine = harness.machine(&folder)?;
    let load = OpenLoop {
        rate: sizes.rate,
        seconds: harness.seconds(),
        arrivals: Arrivals::Even,
    };
    // The last account is the waiting caller's own: nobody else changes it.
    let (tellers, clock) = (bank.first(keys - 1).tellers(), harness.clock());
    let load = tokio::spawn(async move {
        let call = move |number| {
            let mut teller = tellers.teller(number, Pace::One);
            async move { teller.call().await.map(drop) }
        };
        load.run(&clock, call).await
    });
    let own = bank.ids()[keys as usize - 1].clone();
    let (mut waited, mut shown) = (histogram()?, histogram()?);
    let mut reference = 0;
    while !load.is_finished() || reference < 2 {
        reference += 1;
        let deposit = AccountCommand::Deposit {
            amount: Cents::new(1),
            channel: Channel::Cash,
            reference,
        };
        let ack = bank.engine().send::<Account>(&own, deposit).await?;
        let (token, start) = (ack.token(), harness.now());
        if reference.is_multiple_of(2) {
            let query = bank.engine().query(&BALANCES).at_least(&token);
            let balance = query.get(own.clone()).await?;
            waited.saturating_record((harness.now() - start).as_micros() as u64);
            let expected = Cents::new(i64::try_from(reference)?);
            ensure!(balance == Some(expected), "{balance:?} is not {expected}");
        } else {
            until_shown(bank.engine(), &token).await?;
            shown.saturating_record((harness.now() - start).as_micros() as u64);
        }
    }
    let loaded = load.await.context("the load panicked")??;
    let case = Case::new(SUITE, "at-least", machine)
        .with("keys", keys)
        .with("partitions", bank.engine().partitions())
        .with("rate_per_second", sizes.rate)
        .with("asked", waited.len())
        .figure("command_p99_us", loaded.quantile_us(0.99))
        .figure("shown_p50_us", shown.value_at_quantile(0.5) as f64)
        .figure("shown_p99_us", shown.value_at_quantile(0.99) as f64)
        .figure("at_least_p50_us", waited.value_at_quantile(0.5) as f64)
        .figure("at_least_p99_us", waited.value_at_quantile(0.99) as f64);
    harness.report(case)?;
    bank.close().await
}

/// Looks at the position until it has come so far.
async fn until_shown(engine: &Engine, token: &Token) -> Result<()> {
    let reader = engine.table(&BALANCES)?;
    let is_shown = |partition: PartitionId, offset| reader.board().visible(partition) > offset;
    while !token
        .positions()
        .iter()
        .all(|last| is_shown(last.partition, last.offset))
    {
        tokio::task::yield_now().await;
    }
    Ok(())
}
