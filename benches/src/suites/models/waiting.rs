//! Waiting against utilisation: what latency does as the load comes near to the capacity.
//!
//! A server that takes one customer at a time in a fixed time D makes them wait ρ·D / (2·(1 − ρ)) on average
//! (M/D/1). The engine serves in batches: a commit takes what has come during the one before. With cost
//! F + n·V per batch, utilisation ρ = λ·V, a batch takes F / (1 − ρ), and a command waits for half a batch and
//! then for its own: 1.5·F / (1 − ρ). So latency stays near 1.5·F where a queue of single customers would
//! already be long, and grows as 1 / (1 − ρ) at the end. F is what one caller alone sees; V is one over what
//! what the engine answers of a crowd that comes all at once, the generator's own work included, since it uses
//! the same cores.

use std::time::Duration;

use anyhow::Result;

use super::{SUITE, Sizes};
use crate::bank::{Bank, Pace, ReadSide};
use crate::load::{Arrivals, Caller as _, Loaded, OpenLoop, closed_loop};
use crate::{Case, Harness};

/// Commands per second of the crowd: more than any machine answers.
const CROWD_RATE: f64 = 10_000_000.0;
/// Shares of it that are offered.
const SHARES: [f64; 6] = [0.1, 0.3, 0.5, 0.7, 0.85, 0.95];

pub(super) async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let bank = Bank::open(harness, &folder, sizes.keys, ReadSide::None).await?;
    bank.open_accounts().await?;
    let fixed = alone(harness, &bank).await?.latencies.mean();
    let length = Duration::from_secs_f64(sizes.crowd as f64 / CROWD_RATE);
    let crowd = open(harness, &bank, CROWD_RATE, length).await?;
    let capacity = crowd.items as f64 / crowd.all_answered.as_secs_f64();
    let each = 1e6 / capacity;
    for share in SHARES {
        let rate = capacity * share;
        let loaded = open(harness, &bank, rate, harness.seconds()).await?;
        let single = fixed + share * each / (2.0 * (1.0 - share));
        let case = Case::new(SUITE, format!("waiting-{share}"), machine)
            .with("utilisation", share)
            .with("rate_per_second", rate.round())
            .with("keys", sizes.keys)
            .figure("capacity_per_second", capacity)
            .figure("alone_us", fixed)
            .figure("p99_us", loaded.quantile_us(0.99))
            .figure("single_server_us_expected", single)
            .compare(
                "mean_us",
                1.5 * fixed / (1.0 - share),
                loaded.latencies.mean(),
            );
        harness.report(case)?;
    }
    bank.close().await
}

/// One caller, one command at a time.
async fn alone(harness: &Harness, bank: &Bank) -> Result<Loaded> {
    let callers = vec![bank.tellers().teller(0, Pace::One)];
    let (loaded, _) = closed_loop(&harness.clock(), callers, harness.seconds()).await?;
    Ok(loaded)
}

async fn open(harness: &Harness, bank: &Bank, rate: f64, seconds: Duration) -> Result<Loaded> {
    let load = OpenLoop {
        rate,
        seconds,
        arrivals: Arrivals::Poisson,
    };
    let tellers = bank.tellers();
    load.run(&harness.clock(), move |number| {
        let mut teller = tellers.teller(number, Pace::One);
        async move { teller.call().await.map(drop) }
    })
    .await
}
