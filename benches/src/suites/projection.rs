//! Projections that keep up: events as they come, and callers that wait for their own.
//!
//! `live-appended` appends events in batches as fast as that is answered, beside a projection that one actor runs.
//! `live-…` sends commands in bulks as fast as they are answered, to a bank with a projection of its balances beside, and ends
//! when all of it is shown: write and read side share the machine. Meanwhile it is looked after how long what was
//! durable in the log was also in the stored rows. `at-least` asks for what a caller has just written, under a steady
//! load; every second time it looks at the projection's position all the time instead, which is the projection's own delay.

mod appended;
mod keeping_up;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use millstream::Engine;
use millstream::catalog::bank::{Account, AccountCommand, BALANCES, Cents, Channel};
use millstream_engine::event::{PartitionId, Token};
use millstream_operators::projection::Projection;

use crate::bank::{Bank, GlobalBalances, Pace, ReadSide, RoutedBalances, Teller};
use crate::load::{Arrivals, Caller as _, OpenLoop};
use crate::{Case, Harness};
use keeping_up::KeptUp;

const SUITE: &str = "projection";

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
    let projection = match reads {
        ReadSide::Global => GlobalBalances::NAME,
        ReadSide::Routed => RoutedBalances::NAME,
        ReadSide::Balances | ReadSide::None => millstream::catalog::bank::Balances::NAME,
    };
    let tellers = bank.tellers();
    let tellers = (0..sizes.bulks as u64)
        .map(|number| tellers.teller(number, Pace::Bulk(sizes.bulk)))
        .collect();
    let kept_up = KeptUp::run(harness, (&folder, bank.engine()), projection, tellers).await?;
    let paid = kept_up.callers.iter().map(Teller::paid).sum();
    bank.check(keys + kept_up.events, paid).await?;
    let case = Case::new(SUITE, name, kept_up.machine)
        .with("keys", keys)
        .with("partitions", bank.engine().partitions())
        .with("bulk", sizes.bulk)
        .with("bulks_in_flight", sizes.bulks);
    harness.report(kept_up.figures(case))?;
    bank.close().await
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 600_000_000, 3).context("making a histogram")
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
