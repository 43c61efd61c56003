//! Callers in a closed loop beside a projection: how many events it shows in a second, and how long after each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use millstream::Engine;
use millstream_engine::event::Token;
use millstream_engine::state::ProjectionId;

use super::histogram;
use crate::load::{Caller, closed_loop};
use crate::{Case, DataFolder, Harness, Machine};

/// Time between two looks at what is stored.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Longest wait for the projection.
const PROJECTED: Duration = Duration::from_secs(600);

/// What a loop beside a projection came to.
pub(super) struct KeptUp<C> {
    pub(super) callers: Vec<C>,
    /// All that callers wrote.
    pub(super) events: u64,
    pub(super) machine: Machine,
    /// From the first call to the last answer.
    answered: Duration,
    /// From the first call until readers see all events.
    shown: Duration,
    /// Time of all cores meanwhile.
    cpu: Duration,
    /// After how many microseconds what is durable in the log is in the stored rows.
    stored: Histogram<u64>,
}

impl<C: Caller> KeptUp<C> {
    /// Runs the callers until the harness's time is over, and waits until the projection shows all events.
    pub(super) async fn run(
        harness: &Harness,
        (folder, engine): (&DataFolder, &Engine),
        projection: &str,
        callers: Vec<C>,
    ) -> Result<Self> {
        let before = harness.machine(folder)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let looking = look_at_stored(harness, engine, projection, &is_over)?;
        let (start, cpu) = (harness.now(), crate::cpu_time());
        let (loaded, callers) = closed_loop(&harness.clock(), callers, harness.seconds()).await?;
        let answered = harness.now() - start;
        engine.projected(&engine.durable(), PROJECTED).await?;
        let shown = harness.now() - start;
        let cpu = crate::cpu_time() - cpu;
        is_over.store(true, Ordering::Release);
        let stored = looking.await.context("the look at what is stored")??;
        Ok(Self {
            callers,
            events: loaded.items_all,
            machine: before.between(harness.machine(folder)?),
            answered,
            shown,
            cpu,
            stored,
        })
    }

    /// The case with the figures of the loop.
    pub(super) fn figures(&self, case: Case) -> Case {
        let events = self.events as f64;
        let after = self.shown - self.answered;
        let stored = |quantile| self.stored.value_at_quantile(quantile) as f64 / 1e3;
        case.with("events", self.events)
            .figure("events_per_second", events / self.shown.as_secs_f64())
            .figure("events_per_core_second", events / self.cpu.as_secs_f64())
            .figure("shown_after_last_ms", after.as_secs_f64() * 1e3)
            .figure("stored_after_p50_ms", stored(0.5))
            .figure("stored_after_p99_ms", stored(0.99))
            .figure("stored_after_max_ms", stored(1.0))
    }
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

fn is_stored(engine: &Engine, id: ProjectionId, token: &Token) -> Result<bool> {
    for position in token.positions() {
        let progress = engine.state().progress(id, position.partition)?;
        if progress.unwrap_or_default().next <= position.offset {
            return Ok(false);
        }
    }
    Ok(true)
}
