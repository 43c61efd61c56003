//! Waiting against utilisation: what latency does as the load comes near to the capacity.
//!
//! A server that takes one customer at a time in a fixed time D makes them wait ρ·D / (2·(1 − ρ)) on average
//! (M/D/1). The engine serves in batches: a commit takes what has come during the one before. With cost
//! F + n·V per batch, utilisation ρ = λ·V, a batch takes F / (1 − ρ), and a command waits for half a batch and
//! then for its own: 1.5·F / (1 − ρ). So latency stays near 1.5·F where a queue of single customers would
//! already be long, and grows as 1 / (1 − ρ) at the end. F is what one caller alone sees; V is one over what
//! many callers get. The load generator uses the same cores, which the model does not know.

use anyhow::Result;

use super::{SUITE, Sizes};
use crate::bank::{Bank, Pace, ReadSide};
use crate::load::{Arrivals, Caller as _, OpenLoop, closed_loop};
use crate::{Case, Harness};

/// Callers that together get all there is.
const CALLERS: u64 = 512;
/// Shares of it that are offered.
const SHARES: [f64; 6] = [0.1, 0.3, 0.5, 0.7, 0.85, 0.95];

pub(super) async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let bank = Bank::open(harness, &folder, sizes.keys, ReadSide::None).await?;
    bank.open_accounts().await?;
    let alone = closed(harness, &bank, 1).await?;
    let fixed = alone.latencies.mean();
    let capacity = closed(harness, &bank, CALLERS).await?.per_second();
    let each = 1e6 / capacity;
    for share in SHARES {
        let load = OpenLoop {
            rate: capacity * share,
            seconds: harness.seconds(),
            arrivals: Arrivals::Poisson,
        };
        let tellers = bank.tellers();
        let loaded = load
            .run(&harness.clock(), move |number| {
                let mut teller = tellers.teller(number, Pace::One);
                async move { teller.call().await.map(drop) }
            })
            .await?;
        let single = fixed + share * each / (2.0 * (1.0 - share));
        let case = Case::new(SUITE, format!("waiting-{share}"), machine)
            .with("utilisation", share)
            .with("rate_per_second", load.rate)
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

async fn closed(harness: &Harness, bank: &Bank, callers: u64) -> Result<crate::load::Loaded> {
    let tellers = bank.tellers();
    let callers = (0..callers)
        .map(|number| tellers.teller(number, Pace::One))
        .collect();
    let (loaded, _) = closed_loop(&harness.clock(), callers, harness.seconds()).await?;
    Ok(loaded)
}
