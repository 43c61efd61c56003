//! Load generators: callers that wait for their answers, and arrivals that wait for nothing.
//!
//! A closed loop has a fixed number of callers with one call each in flight: its rate is what the engine
//! gives. An open loop has a fixed rate, and measures each latency from the moment at which the call was
//! *meant* to start: a stall is felt by all who would have come meanwhile, also if the generator itself
//! was stalled (Gil Tene's "coordinated omission").

mod open_loop;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use millstream_engine::time::Clock;

pub use open_loop::{Arrivals, OpenLoop};

/// Part of a closed loop's time that goes by before it counts.
const WARM_UP: f64 = 0.2;

/// One caller of a closed loop.
pub trait Caller: Send + 'static {
    /// Makes one call and gives how many items it was for.
    fn call(&mut self) -> impl Future<Output = Result<u64>> + Send;
}

/// What a load came to.
#[derive(Debug)]
pub struct Loaded {
    /// Latencies in microseconds of the calls that count.
    pub latencies: Histogram<u64>,
    /// Items of the calls that count.
    pub items: u64,
    /// Items of all calls.
    pub items_all: u64,
    /// How long the calls that count took together.
    pub elapsed: Duration,
    /// From the first call to the last answer.
    pub all_answered: Duration,
    /// Time of all cores that the process used for all calls.
    pub cpu: Duration,
}

impl Loaded {
    /// Items per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.items as f64 / self.elapsed.as_secs_f64()
    }

    /// Core time per item, in microseconds: callers, engine and writer together.
    #[must_use]
    pub fn cpu_us_per_item(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.items_all as f64
    }

    /// A quantile of the latencies, in microseconds.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64
    }
}

/// What one caller saw.
struct Seen {
    took_us: Vec<u32>,
    items: u64,
    items_all: u64,
}

/// Runs `callers` until `seconds` are over, the warm-up before them excluded; gives them back.
///
/// # Errors
/// The first error of a call.
pub async fn closed_loop<C: Caller>(
    clock: &Arc<dyn Clock>,
    callers: Vec<C>,
    seconds: Duration,
) -> Result<(Loaded, Vec<C>)> {
    let (begin, cpu) = (clock.monotonic(), crate::cpu_time());
    let start = begin + seconds.mul_f64(WARM_UP);
    let end = start + seconds;
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|caller| tokio::spawn(drive(caller, Arc::clone(clock), start, end)))
        .collect();
    let mut loaded = Loaded {
        latencies: histogram()?,
        items: 0,
        items_all: 0,
        elapsed: seconds,
        all_answered: Duration::ZERO,
        cpu: Duration::ZERO,
    };
    let mut callers = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (caller, seen) = task.await.context("a caller panicked")??;
        for took in seen.took_us {
            loaded.latencies.saturating_record(u64::from(took));
        }
        loaded.items += seen.items;
        loaded.items_all += seen.items_all;
        callers.push(caller);
    }
    loaded.cpu = crate::cpu_time() - cpu;
    loaded.all_answered = clock.monotonic() - begin;
    if loaded.items == 0 {
        // Calls take longer than is measured: all of them count then, over all of their time.
        (loaded.items, loaded.elapsed) = (loaded.items_all, loaded.all_answered);
    }
    ensure!(loaded.items > 0, "no call was for anything");
    Ok((loaded, callers))
}

async fn drive<C: Caller>(
    mut caller: C,
    clock: Arc<dyn Clock>,
    start: Duration,
    end: Duration,
) -> Result<(C, Seen)> {
    let mut seen = Seen {
        took_us: Vec::new(),
        items: 0,
        items_all: 0,
    };
    let mut before = clock.monotonic();
    while before < end {
        let items = caller.call().await?;
        let now = clock.monotonic();
        seen.items_all += items;
        if now >= start && now < end {
            seen.items += items;
            seen.took_us.push(micros(now - before));
        }
        before = now;
    }
    Ok((caller, seen))
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}

/// A histogram of microseconds with three digits.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, u64::from(u32::MAX), 3).context("making a histogram")
}

#[cfg(test)]
mod tests;
