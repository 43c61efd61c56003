//! Arrivals that wait for nothing.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_engine::time::Clock;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Loaded, histogram, micros};
use crate::SEED;

/// How often an open loop looks for the last answers.
const LAST_ANSWERS: Duration = Duration::from_millis(1);
/// Longest wait for them.
const ANSWERS_MAX: Duration = Duration::from_secs(120);

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
