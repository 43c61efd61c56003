//! Reloading an aggregate: at most a snapshot interval of events is replayed, however long its stream.
//!
//! Accounts with streams of several lengths are written, the engine is closed and opened again, and each gets
//! one command. The time per event is measured on the longest streams that have no snapshot; streams beyond
//! the interval should then cost what they have since their last snapshot, and never more than an interval.

use anyhow::{Context, Result};

use super::{SUITE, Sizes};
use crate::bank::{Bank, Pace, ReadSide};
use crate::load::Caller as _;
use crate::{Case, Harness, figures};

/// Events after which a stream gets a snapshot while it was never reloaded: the reload target of 5 ms at
/// the 2 µs per event that are guessed at first.
const INTERVAL: u64 = 2_500;
/// Lengths of the streams; the longer ones end half an interval behind a snapshot.
const LENGTHS: [u64; 5] = [500, 1_000, 2_000, 11_250, 31_250];
/// The longest without a snapshot.
const REFERENCE: u64 = 2_000;
/// Where the engine says how long activations took.
const ACTIVATION: &str = "millstream_aggregate_activation_seconds";

pub(super) async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let Some(metrics) = figures::recorded() else {
        return Ok(()); // Something else records: there is nothing to be read.
    };
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let keys = sizes.reloaded * LENGTHS.len() as u64;
    let bank = Bank::open(harness, &folder, keys, ReadSide::None).await?;
    bank.open_accounts().await?;
    for (place, length) in (0..).zip(LENGTHS) {
        let part = bank.rest(place * sizes.reloaded).first(sizes.reloaded);
        part.fill(length / sizes.shorter * sizes.reloaded).await?;
    }
    bank.close().await?;
    let bank = Bank::open(harness, &folder, keys, ReadSide::None).await?;
    let mut took = Vec::new();
    for place in 0..LENGTHS.len() as u64 {
        let part = bank.rest(place * sizes.reloaded).first(sizes.reloaded);
        let before = activations(&metrics.render());
        part.touch().await?;
        let after = activations(&metrics.render());
        took.push((after.0 - before.0) / (after.1 - before.1).max(1.0));
    }
    let at = LENGTHS.iter().position(|&length| length == REFERENCE);
    let reference = took[at.context("the reference is one of the lengths")?];
    let each = reference / REFERENCE as f64;
    for (&length, &seconds) in LENGTHS.iter().zip(&took) {
        let replayed = if length > INTERVAL {
            length % INTERVAL
        } else {
            length
        };
        let case = Case::new(SUITE, format!("reload-{length}"), machine)
            .with("stream_events", length / sizes.shorter)
            .with("streams", sizes.reloaded)
            .figure("bound_us", each * INTERVAL as f64 * 1e6)
            .compare("reload_us", each * replayed as f64 * 1e6, seconds * 1e6);
        harness.report(case)?;
    }
    bank.close().await
}

/// Seconds and number of all activations so far.
fn activations(scrape: &str) -> (f64, f64) {
    let total = |part: &str| figures::sum(scrape, &format!("{ACTIVATION}_{part}"));
    (total("sum"), total("count"))
}

impl Bank {
    /// Sends one command to each account, one after the other.
    async fn touch(&self) -> Result<()> {
        for number in 0..self.ids().len() as u64 {
            let one = self.rest(number).first(1);
            one.tellers().teller(number, Pace::One).call().await?;
        }
        Ok(())
    }
}
