//! Load generators: callers that wait for their answers, and arrivals that wait for nothing.
//!
//! A closed loop has a fixed number of callers with one call each in flight: its rate is what the engine
//! gives. An open loop has a fixed rate, and measures each latency from the moment at which the call was
//! *meant* to start: a stall is felt by all who would have come meanwhile, also if the generator itself
//! was stalled (Gil Tene's "coordinated omission").

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use millstream_engine::time::Clock;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::SEED;

/// Part of a closed loop's time that goes by before it counts.
const WARM_UP: f64 = 0.2;
/// How often an open loop looks for the last answers.
const LAST_ANSWERS: Duration = Duration::from_millis(1);
/// Longest wait for them.
const ANSWERS_MAX: Duration = Duration::from_secs(120);

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

/// When calls of an open loop come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// All gaps are the same.
    Even,
    /// Gaps are exponential: calls know nothing of each other.
    Poisson,
}

/// An open loop.
#[derive(Clone, Copy, Debug)]
pub struct OpenLoop {
    /// Calls per second.
    pub rate: f64,
    /// How long they come.
    pub seconds: Duration,
    /// How they come.
    pub arrivals: Arrivals,
}

/// What an open loop notes, a place per call.
struct Notes {
    took_us: Vec<AtomicU32>,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl OpenLoop {
    /// Calls that it makes.
    #[must_use]
    pub fn calls(&self) -> u64 {
        ((self.rate * self.seconds.as_secs_f64()) as u64).max(1)
    }

    /// Makes call after call, `call` with its number, whether or not the ones before are answered. A thread
    /// of its own keeps the time, since timers of the runtime are a millisecond apart.
    ///
    /// # Errors
    /// When a call failed, or was not answered in time.
    pub async fn run<F, A>(self, clock: &Arc<dyn Clock>, call: F) -> Result<Loaded>
    where
        F: Fn(u64) -> A + Send + 'static,
        A: Future<Output = Result<()>> + Send + 'static,
    {
        let count = self.calls();
        let notes = Arc::new(Notes {
            took_us: (0..count).map(|_| AtomicU32::new(0)).collect(),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let generator = {
            let (clock, notes) = (Arc::clone(clock), Arc::clone(&notes));
            let runtime = tokio::runtime::Handle::current();
            std::thread::Builder::new()
                .name("arrivals".to_owned())
                .spawn(move || self.generate(&clock, &notes, &runtime, call))?
        };
        let (start, cpu) = (clock.monotonic(), crate::cpu_time());
        while notes.answered.load(Ordering::Acquire) < count {
            let waited = clock.monotonic() - start;
            ensure!(
                waited < self.seconds + ANSWERS_MAX,
                "{} of {count} calls were answered",
                notes.answered.load(Ordering::Acquire)
            );
            tokio::time::sleep(LAST_ANSWERS).await;
        }
        let all_answered = clock.monotonic() - start;
        let elapsed = generator.join().ok().context("the generator panicked")?;
        let failed = notes.failed.load(Ordering::Acquire);
        ensure!(failed == 0, "{failed} of {count} calls failed");
        let mut latencies = histogram()?;
        for took in &notes.took_us {
            latencies.saturating_record(u64::from(took.load(Ordering::Acquire)));
        }
        Ok(Loaded {
            latencies,
            items: count,
            items_all: count,
            elapsed,
            all_answered,
            cpu: crate::cpu_time() - cpu,
        })
    }

    /// Starts every call at its time, or as soon after it as the machine lets it; gives how long all took.
    fn generate<F, A>(
        self,
        clock: &Arc<dyn Clock>,
        notes: &Arc<Notes>,
        runtime: &tokio::runtime::Handle,
        call: F,
    ) -> Duration
    where
        F: Fn(u64) -> A,
        A: Future<Output = Result<()>> + Send + 'static,
    {
        let mut random = SmallRng::seed_from_u64(SEED);
        let begin = clock.monotonic();
        let mut meant = 0.0;
        for number in 0..notes.took_us.len() {
            let at = begin + Duration::from_secs_f64(meant);
            let ahead = at.saturating_sub(clock.monotonic());
            if !ahead.is_zero() {
                std::thread::sleep(ahead);
            }
            let (future, clock, notes) =
                (call(number as u64), Arc::clone(clock), Arc::clone(notes));
            runtime.spawn(async move {
                let outcome = future.await;
                let took = micros(clock.monotonic().saturating_sub(at));
                notes.took_us[number].store(took, Ordering::Release);
                notes
                    .failed
                    .fetch_add(u64::from(outcome.is_err()), Ordering::AcqRel);
                notes.answered.fetch_add(1, Ordering::AcqRel);
            });
            meant += match self.arrivals {
                Arrivals::Even => 1.0 / self.rate,
                // Of 1 - u, which is never zero.
                Arrivals::Poisson => -(1.0 - random.random::<f64>()).ln() / self.rate,
            };
        }
        clock.monotonic() - begin
    }
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}

/// A histogram of microseconds with three digits.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, u64::from(u32::MAX), 3).context("making a histogram")
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_engine::time::SystemClock;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock::new())
    }

    struct Sleeper(u64);

    impl Caller for Sleeper {
        async fn call(&mut self) -> Result<u64> {
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.0 += 3;
            Ok(3)
        }
    }

    #[tokio::test]
    async fn a_closed_loop_counts_what_ended_in_its_window() {
        let callers = vec![Sleeper(0), Sleeper(0)];
        let seconds = Duration::from_millis(100);
        let (loaded, callers) = closed_loop(&clock(), callers, seconds).await.unwrap();
        let all: u64 = callers.iter().map(|caller| caller.0).sum();
        assert_eq!(loaded.items_all, all);
        assert!(loaded.items < all && loaded.items == 3 * loaded.latencies.len());
        assert!(loaded.quantile_us(0.5) >= 2_000.0);
    }

    /// A generator that is held up by its own first call must charge the others for it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_open_loop_measures_from_the_meant_start() {
        let load = OpenLoop {
            rate: 1_000.0,
            seconds: Duration::from_millis(100),
            arrivals: Arrivals::Even,
        };
        let call = |number: u64| {
            if number == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            async { Ok(()) }
        };
        let loaded = load.run(&clock(), call).await.unwrap();
        assert_eq!(loaded.items, 100);
        assert!(loaded.quantile_us(0.9) >= 30_000.0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn poisson_arrivals_come_at_their_rate() {
        let load = OpenLoop {
            rate: 10_000.0,
            seconds: Duration::from_millis(200),
            arrivals: Arrivals::Poisson,
        };
        let loaded = load.run(&clock(), |_| async { Ok(()) }).await.unwrap();
        // 2,000 gaps: their sum is off by a tenth once in a million.
        assert!(loaded.elapsed >= Duration::from_millis(180));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_failed_call_fails_the_load() {
        let load = OpenLoop {
            rate: 1_000.0,
            seconds: Duration::from_millis(10),
            arrivals: Arrivals::Even,
        };
        let call = |number| async move {
            ensure!(number != 3, "three");
            Ok(())
        };
        assert!(load.run(&clock(), call).await.is_err());
    }
}
