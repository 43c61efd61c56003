//! A dataflow that runs: waiting for it, stopping it, seeing where it is slow.

mod checkpoints;
mod parts;

use std::fmt;
use std::time::Duration;

use millstream_engine::flow::StageLoad;
use millstream_engine::stage::{StageHandle, StageStatus, Stall};

pub use self::checkpoints::{SavepointError, TakeCheckpointError};
pub(super) use self::parts::Parts;
use super::pressure;

/// A stage of a dataflow failed, and with it the dataflow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage {stage:?} failed: {cause}")]
pub struct Failure {
    /// The stage that failed first; `dataflow` and its name if it was aborted.
    pub stage: String,
    /// Why.
    pub cause: String,
}

/// Where a dataflow stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataflowStatus {
    /// At work, or waiting for input.
    Running,
    /// Its input has ended, or it was stopped, and everything is dealt with.
    Ended,
    /// A stage failed; the others are stopped.
    Failed(Failure),
}

/// A stage of a dataflow that does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StalledStage {
    /// With its partition, such as `velocity/window/1`.
    pub(crate) stage: String,
    /// Why, and for how long.
    pub(crate) stall: Stall,
}

/// Stages of one run that do not go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stalled {
    /// Other runs have other numbers.
    pub(crate) run: u64,
    pub(crate) stages: Vec<StalledStage>,
}

/// A running dataflow. Clones mean the same one; dropping them all leaves it running.
#[derive(Clone)]
pub struct DataflowHandle {
    parts: Parts,
}

impl DataflowHandle {
    pub(super) const fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.parts.name()
    }

    /// Where each partition of each stage stands, such as `velocity/window/1`, and `velocity/checkpoints` if there are any.
    pub fn stages(&self) -> Vec<(String, StageStatus)> {
        let stages = self.parts.handles().into_iter();
        let stand = |stage: StageHandle| (stage.name().to_owned(), stage.status());
        stages.map(stand).collect()
    }

    /// Where it stands. One that begins again from its last checkpoint after a failure is running.
    pub fn status(&self) -> DataflowStatus {
        match &*self.parts.outcome.borrow() {
            None => DataflowStatus::Running,
            Some(Ok(())) => DataflowStatus::Ended,
            Some(Err(failure)) => DataflowStatus::Failed(failure.clone()),
        }
    }

    /// Waits until all of its input is dealt with: for ever if it has no end and nobody stops it.
    ///
    /// # Errors
    /// [`Failure`]: the first stage that failed.
    pub async fn wait(&self) -> Result<(), Failure> {
        let mut outcome = self.parts.outcome.subscribe();
        match outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // The sender is ours.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Has the sources read nothing more and waits until all that was read is dealt with. Windows that are open stay
    /// without a result; with checkpoints the last one holds them, and the next start goes on there.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn stop(&self) -> Result<(), Failure> {
        self.begin_stop();
        self.wait().await
    }

    /// The same without waiting.
    pub fn begin_stop(&self) {
        self.parts.is_stopping.send_replace(true);
        let stages = self.parts.lock();
        if let Some(control) = &stages.checkpoints {
            // Before the sources: what comes to its end finds it.
            control.begin_stop();
        }
        for (stage, is_source) in &stages.all {
            if *is_source {
                stage.begin_stop();
            }
        }
    }

    /// Has every stage end where it stands, whatever it waits for, and waits until they have: for a dataflow that does
    /// not [stop](Self::stop). What was read and not dealt with is lost, as when a stage fails, and `cause` is told as
    /// the failure; with checkpoints the next start goes on from the last one. Code of the program's own that runs is
    /// waited for: nothing can take it off its thread.
    ///
    /// Does nothing to a dataflow that has ended.
    ///
    /// # Errors
    /// As [`wait`](Self::wait): `cause`, or an earlier failure.
    pub async fn abort(&self, cause: &str) -> Result<(), Failure> {
        self.begin_abort(cause);
        self.wait().await
    }

    /// The same without waiting.
    pub fn begin_abort(&self, cause: &str) {
        self.parts.is_stopping.send_replace(true);
        if self.status() == DataflowStatus::Running {
            self.parts.begin_abort(cause);
        }
    }

    /// What each partition of each stage does with its time, in the order of declaration.
    pub fn loads(&self) -> Vec<StageLoad> {
        self.parts.loads()
    }

    /// Whether its present run, or its last, takes checkpoints.
    pub(crate) fn has_checkpoints(&self) -> bool {
        self.parts.lock().checkpoints.is_some()
    }

    /// Stages that have not gone on for longer than this at `now`, by the clock of the engine.
    pub(crate) fn stalled(&self, now: Duration, longer_than: Duration) -> Stalled {
        let stalled = |stage: StageHandle| {
            let stall = stage
                .stall(now)
                .filter(|stall| stall.span() > longer_than)?;
            let stage = stage.name().to_owned();
            Some(StalledStage { stage, stall })
        };
        let (run, handles) = self.parts.run();
        let stages = handles.into_iter().filter_map(stalled).collect();
        Stalled { run, stages }
    }

    /// Has it begin again from its last checkpoint without the stages of this run that hang; see [`Parts::give_up`].
    pub(crate) fn give_up(&self, run: u64, stage: &str, cause: &str, since: Duration) -> bool {
        self.parts.give_up(run, stage, cause, since)
    }

    /// See [`Parts::give_up_rest`].
    pub(crate) fn give_up_rest(&self, cause: &str) {
        self.parts.give_up_rest(cause);
    }

    /// The partition of a stage that holds the others back, with what it did in about the last ten seconds: one that
    /// works while those before it wait for room, or a sink that waits for what is outside. `None` if nothing waits.
    pub fn bottleneck(&self) -> Option<StageLoad> {
        let mut loads = self.loads();
        if let Some(earlier) = self.parts.lock().looks.front() {
            for (load, earlier) in loads.iter_mut().zip(earlier) {
                *load = load.since(earlier);
            }
        }
        pressure::bottleneck(&loads, &self.parts.edges)
    }
}

impl fmt::Debug for DataflowHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataflowHandle")
            .field("name", &self.name())
            .field("status", &self.status())
            .finish()
    }
}

#[cfg(test)]
mod tests;
