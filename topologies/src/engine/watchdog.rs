//! Stages that do not go on: reported, and dataflows begun again without them.
//!
//! Place: the monitor's thread, once a second, so that no code that holds threads of the runtime holds this. A stage does not
//! go on if its step has not come back, or if something waits for it and it makes no step, for longer than
//! [`stalled_after`](super::WatchdogConfig::stalled_after) by the engine's clock, and two looks in turn have seen the same
//! step, or the same wait: a process that was paused as a whole has not gone on, and does so by the second. One that waits
//! for room goes on.
//! Dataflows: the run is fenced, so that what hangs does nothing more whenever it comes back; then it has failed, with that
//! stage as the cause, and begins again as after any failure, on threads of its own. Projections and partitions are
//! reported alone: their rows and the log have one writer, which cannot be made anew beside one that hangs.
//! Failure: where a stage hangs while it hands something over, which could still be done beside the next run, its dataflow
//! fails with that cause and is not begun again, unless that step comes back within two looks.

use std::collections::HashMap;
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::metrics::StallMetrics;
use millstream_engine::stage::Stall;

use super::said::Said;
use super::{Inner, StallPolicy, WatchdogConfig};
use crate::dataflow::{DataflowHandle, Stalled, StalledStage};

/// What was reported of a stage.
struct Reported {
    metrics: StallMetrics,
    said: Said,
    is_stalled: bool,
}

/// Looks after the stages of one engine.
pub(super) struct Watchdog {
    config: WatchdogConfig,
    reported: HashMap<String, Reported>,
    /// Stages that did not go on at the look before, and since when.
    suspected: HashMap<String, Duration>,
    /// Those of the look under way.
    seen: HashMap<String, Duration>,
}

impl Watchdog {
    pub(super) fn new(config: WatchdogConfig) -> Self {
        Self {
            config,
            reported: HashMap::new(),
            suspected: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    pub(super) fn look(&mut self, inner: &Inner) {
        let Some(longer_than) = self.config.stalled_after else {
            return;
        };
        let now = inner.clock.monotonic();
        for reported in self.reported.values_mut() {
            reported.is_stalled = false;
        }
        for dataflow in &inner.running.dataflows {
            self.look_at(dataflow, now, longer_than);
        }
        let others = inner.running.partitions.iter();
        for stage in others.chain(&inner.running.projections) {
            if let Some(stall) = stage.stall(now).filter(|stall| stall.span() > longer_than) {
                let stage = stage.name().to_owned();
                let stalled = StalledStage { stage, stall };
                if self.is_seen_again(&stalled, now) {
                    self.report(&stalled);
                }
            }
        }
        self.suspected = std::mem::take(&mut self.seen);
        for reported in self.reported.values_mut() {
            if !reported.is_stalled {
                reported.said.is_over();
                reported.metrics.observe(Duration::ZERO);
            }
        }
    }

    /// Whether the look before has seen the same.
    fn is_seen_again(&mut self, stalled: &StalledStage, now: Duration) -> bool {
        let since = since(stalled, now);
        self.seen.insert(stalled.stage.clone(), since);
        self.suspected.get(&stalled.stage) == Some(&since)
    }

    fn look_at(&mut self, dataflow: &DataflowHandle, now: Duration, longer_than: Duration) {
        let Stalled { run, mut stages } = dataflow.stalled(now, longer_than);
        stages.retain(|stalled| self.is_seen_again(stalled, now));
        let stalled = stages;
        dataflow.give_up_rest("it was given up with its dataflow, in which a step hangs");
        let in_step = |stage: &&StalledStage| matches!(stage.stall, Stall::InStep(_));
        // Where one hangs, others may wait for its thread.
        let first = stalled.iter().find(in_step).or(stalled.first());
        let is_left = match (self.config.policy, first) {
            (StallPolicy::Restart, Some(first)) => {
                let cause = cause(first.stall, longer_than);
                !dataflow.give_up(run, &first.stage, &cause, since(first, now))
            }
            _ => false,
        };
        // When it is done: what writes log lines may panic itself where the disk is full.
        for stage in &stalled {
            self.report(stage);
        }
        if is_left {
            tracing::error!(
                dataflow = dataflow.name(),
                "it hangs while it hands something over: it is not begun again beside that"
            );
        }
    }

    fn report(&mut self, stalled: &StalledStage) {
        let reported = self
            .reported
            .entry(stalled.stage.clone())
            .or_insert_with(|| {
                let (stage, partition) = split(&stalled.stage);
                Reported {
                    metrics: StallMetrics::new(stage, partition),
                    said: Said::default(),
                    is_stalled: false,
                }
            });
        reported.is_stalled = true;
        reported.metrics.observe(stalled.stall.span());
        if reported.said.is_due() {
            let (stage, partition) = split(&stalled.stage);
            match stalled.stall {
                Stall::InStep(span) => {
                    tracing::error!(stage, %partition, ?span, "a step does not come back: code in it hangs");
                }
                Stall::NoStep(span) => {
                    tracing::error!(stage, %partition, ?span, "something waits for a stage that makes no step");
                }
            }
        }
    }
}

/// When what does not go on at `now` last did.
const fn since(stalled: &StalledStage, now: Duration) -> Duration {
    now.saturating_sub(stalled.stall.span())
}

fn cause(stall: Stall, longer_than: Duration) -> String {
    match stall {
        Stall::InStep(_) => format!("a step did not come back within {longer_than:?}"),
        Stall::NoStep(_) => {
            format!("it made no step within {longer_than:?} although something waited for it")
        }
    }
}

/// A stage and its partition by their name, such as `velocity/window/1`.
fn split(name: &str) -> (&str, PartitionId) {
    let found = name.rsplit_once('/');
    let found = found.and_then(|(stage, partition)| Some((stage, partition.parse().ok()?)));
    found.map_or((name, PartitionId(0)), |(stage, partition)| {
        (stage, PartitionId(partition))
    })
}

#[cfg(test)]
mod tests;
