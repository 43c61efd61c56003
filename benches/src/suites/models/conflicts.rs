//! Optimistic writers: a decision made T after its stream was read conflicts with probability 1 − e^(−λT),
//! where others write to the stream at rate λ.
//!
//! Each stream has others who write at exponential gaps, and one writer who reads the newest version, thinks,
//! and sends expecting it. T is the time from the reading to the answer, as measured for each try: the thinking
//! and the way to the partition. It is a little too long, by the commit that comes after the decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream::catalog::bank::{Account, AccountCommand, Cents, Channel};
use millstream_engine::time::Clock;
use millstream_operators::aggregate::{
    Ack, AggregateHandle, CommandError, CommandOptions, Expected,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{SUITE, Sizes};
use crate::bank::{Bank, ReadSide};
use crate::{Case, Harness, SEED};

/// Writes of the others per second and stream.
const RATE: f64 = 10.0;
/// Mean think times, in milliseconds; each try thinks from half to one and a half of it.
const THINK_MS: [f64; 3] = [5.0, 50.0, 200.0];

/// A stream that several write to.
struct Stream {
    handle: AggregateHandle<Account>,
    id: compact_str::CompactString,
    /// Newest version that somebody was told of.
    version: AtomicU64,
}

impl Stream {
    async fn write(&self, expected: Expected) -> Result<bool> {
        let command = AccountCommand::Deposit {
            amount: Cents::new(1),
            channel: Channel::Cash,
            reference: 0,
        };
        let options = CommandOptions {
            expected,
            ..CommandOptions::default()
        };
        match self.handle.send_with(&self.id, command, options).await {
            Ok(Ack {
                version: Some(version),
                ..
            }) => {
                self.version.fetch_max(version, Ordering::AcqRel);
                Ok(true)
            }
            Err(CommandError::Conflict(conflict)) => {
                let _ = conflict;
                Ok(false)
            }
            Ok(_) => anyhow::bail!("an event has a version"),
            Err(error) => Err(error.into()),
        }
    }
}

/// What one writer saw.
#[derive(Clone, Copy, Default)]
struct Tried {
    tries: u64,
    conflicts: u64,
    /// Sum over the tries of 1 − e^(−λT).
    expected: f64,
    waited: f64,
}

pub(super) async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    for think_ms in THINK_MS {
        case(harness, sizes, think_ms).await?;
    }
    Ok(())
}

async fn case(harness: &Harness, sizes: Sizes, think_ms: f64) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let bank = Bank::open(harness, &folder, sizes.writers as u64, ReadSide::None).await?;
    bank.open_accounts().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut writers, mut others) = (Vec::new(), Vec::new());
    for (number, id) in bank.ids().iter().enumerate() {
        let stream = Arc::new(Stream {
            handle: bank.engine().aggregate(),
            id: id.clone(),
            version: AtomicU64::new(0),
        });
        let seed = SEED ^ number as u64;
        others.push(tokio::spawn(other(
            Arc::clone(&stream),
            seed,
            Arc::clone(&stop),
        )));
        let think = Duration::from_secs_f64(think_ms * 1e-3);
        let (clock, stop) = (harness.clock(), Arc::clone(&stop));
        writers.push(tokio::spawn(writer(stream, seed, think, clock, stop)));
    }
    tokio::time::sleep(harness.seconds()).await;
    stop.store(true, Ordering::Release);
    let mut all = Tried::default();
    for task in writers {
        let tried = task.await.context("a writer panicked")??;
        all.tries += tried.tries;
        all.conflicts += tried.conflicts;
        all.expected += tried.expected;
        all.waited += tried.waited;
    }
    for task in others {
        task.await.context("a writer panicked")??;
    }
    ensure!(all.tries > 0, "no writer came to its end");
    let tries = all.tries as f64;
    let case = Case::new(SUITE, format!("conflicts-{think_ms}-ms"), machine)
        .with("streams", sizes.writers)
        .with("others_per_second", RATE)
        .with("tries", all.tries)
        .figure("exposed_ms", all.waited / tries * 1e3)
        .compare(
            "conflict_ratio",
            all.expected / tries,
            all.conflicts as f64 / tries,
        );
    harness.report(case)?;
    bank.close().await
}

/// Writes at exponential gaps, whatever the version.
async fn other(stream: Arc<Stream>, seed: u64, stop: Arc<AtomicBool>) -> Result<()> {
    let mut random = SmallRng::seed_from_u64(seed);
    while !stop.load(Ordering::Acquire) {
        let gap = -(1.0 - random.random::<f64>()).ln() / RATE;
        tokio::time::sleep(Duration::from_secs_f64(gap)).await;
        // Not waited for: the next gap begins now.
        let stream = Arc::clone(&stream);
        tokio::spawn(async move { stream.write(Expected::Any).await });
    }
    Ok(())
}

/// Reads, thinks, writes what it decided on what it had read.
async fn writer(
    stream: Arc<Stream>,
    seed: u64,
    think: Duration,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
) -> Result<Tried> {
    let mut random = SmallRng::seed_from_u64(!seed);
    let mut tried = Tried::default();
    while tried.tries == 0 || !stop.load(Ordering::Acquire) {
        let read = clock.monotonic();
        let version = stream.version.load(Ordering::Acquire);
        tokio::time::sleep(think.mul_f64(random.random_range(0.5..1.5))).await;
        let accepted = stream.write(Expected::Exact(version)).await?;
        let exposed = (clock.monotonic() - read).as_secs_f64();
        tried.tries += 1;
        tried.conflicts += u64::from(!accepted);
        tried.expected += 1.0 - (-RATE * exposed).exp();
        tried.waited += exposed;
    }
    Ok(tried)
}
