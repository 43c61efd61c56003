//! A dataflow that runs: waiting for it, stopping it, seeing where it is slow.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_engine::checkpoint::{CheckpointStatus, Control, Epoch};
use millstream_engine::flow::{Fence, StageLoad, StageMeter};
use millstream_engine::stage::{StageHandle, StageStatus, Stall};
use tokio::sync::watch;

use super::pressure;
use super::run::tell;

/// How many looks back the present pressure is measured.
const LOOKS: usize = 10;

/// A stage of a dataflow failed, and with it the dataflow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage {stage:?} failed: {cause}")]
pub struct Failure {
    /// The stage that failed first; `dataflow` and its name if it was aborted.
    pub stage: String,
    /// Why.
    pub cause: String,
}

/// A checkpoint that was asked for is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeCheckpointError {
    /// The dataflow takes none: it runs without an engine, or its options say so.
    #[error("the dataflow takes no checkpoints")]
    None,
    /// It took too long.
    #[error("the checkpoint was given up: {cause}")]
    GivenUp {
        /// Who was waited for.
        cause: String,
    },
    /// The dataflow has ended or failed.
    #[error("the dataflow has ended")]
    Ended,
}

/// A savepoint stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SavepointError {
    /// The dataflow takes none, or keeps none of this number.
    #[error("the dataflow keeps no savepoint {epoch}")]
    Unknown {
        /// The number.
        epoch: Epoch,
    },
    /// The next start would begin from it.
    #[error("{epoch} is the last checkpoint of the dataflow: a later one must be complete first")]
    Last {
        /// The number.
        epoch: Epoch,
    },
    /// The dataflow has ended or failed.
    #[error("the dataflow has ended")]
    Ended,
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

/// What runs now.
#[derive(Default)]
struct Stages {
    /// The how manieth run it is.
    run: u64,
    all: Vec<(StageHandle, bool)>,
    meters: Vec<StageMeter>,
    /// Loads as they were at the last looks, the oldest first.
    looks: VecDeque<Vec<StageLoad>>,
    failure: Option<watch::Sender<Option<Failure>>>,
    checkpoints: Option<Arc<Control>>,
    fence: Arc<Fence>,
    /// This run was given up by whoever watches, so many looks before this one.
    looks_given_up: Option<u32>,
    /// With the number of its run: given up, and in a step that has not come back when it was last looked.
    hung: Vec<(u64, StageHandle)>,
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

/// What handle and watcher share.
#[derive(Clone)]
pub(super) struct Parts {
    name: Arc<str>,
    /// Names of stages that follow each other.
    edges: Arc<[(String, String)]>,
    stages: Arc<Mutex<Stages>>,
    /// Told once, when nothing runs any more and nothing will.
    outcome: Arc<watch::Sender<Option<Result<(), Failure>>>>,
    /// How many runs have begun.
    runs: Arc<watch::Sender<u64>>,
    is_stopping: Arc<watch::Sender<bool>>,
}

impl Parts {
    pub(super) fn new(name: &str, edges: Vec<(String, String)>) -> Self {
        Self {
            name: name.into(),
            edges: edges.into(),
            stages: Arc::default(),
            outcome: Arc::new(watch::Sender::new(None)),
            runs: Arc::default(),
            is_stopping: Arc::new(watch::Sender::new(false)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Other stages take the place of those that ran.
    pub(super) fn begin_run(
        &self,
        meters: Vec<StageMeter>,
        failure: watch::Sender<Option<Failure>>,
        (checkpoints, fence): (Option<Arc<Control>>, Arc<Fence>),
    ) {
        let mut stages = self.lock();
        let hung = std::mem::take(&mut stages.hung);
        *stages = Stages {
            run: stages.run + 1,
            all: Vec::new(),
            meters,
            looks: VecDeque::new(),
            failure: Some(failure),
            checkpoints,
            fence,
            looks_given_up: None,
            hung,
        };
        drop(stages);
        // Behind them: whoever sees the number finds this run, or a later one.
        self.runs.send_modify(|runs| *runs += 1);
    }

    pub(super) fn add_stage(&self, handle: StageHandle, is_source: bool) {
        self.lock().all.push((handle.clone(), is_source));
        // Asked to stop while it was being started; who asks from now on finds it.
        if is_source && self.is_stopping() {
            handle.begin_stop();
        }
    }

    pub(super) fn stop_all(&self) {
        for (stage, _) in &self.lock().all {
            stage.begin_stop();
        }
    }

    pub(super) fn handles(&self) -> Vec<StageHandle> {
        self.run().1
    }

    /// The present run and its stages.
    fn run(&self) -> (u64, Vec<StageHandle>) {
        let stages = self.lock();
        let handles = stages.all.iter().map(|(stage, _)| stage.clone());
        (stages.run, handles.collect())
    }

    pub(super) fn loads(&self) -> Vec<StageLoad> {
        self.lock().meters.iter().map(StageMeter::load).collect()
    }

    /// Keeps a look at the loads.
    pub(super) fn look(&self, loads: Vec<StageLoad>) {
        let looks = &mut self.lock().looks;
        if looks.len() == LOOKS {
            looks.pop_front();
        }
        looks.push_back(loads);
    }

    /// The checkpoints of the present run, and what changes when another one has taken its place.
    fn checkpoints(&self) -> Option<(Arc<Control>, watch::Receiver<u64>)> {
        // Seen before the run is looked for: at worst it is told of a run that was found.
        let runs = self.runs.subscribe();
        let control = self.lock().checkpoints.clone();
        control.map(|control| (control, runs))
    }

    /// This run, if stages of it were given up while they were at something.
    pub(super) fn fenced(&self) -> Option<u64> {
        let stages = self.lock();
        stages.fence.is_closed().then_some(stages.run)
    }

    /// Whether something of this run may still be done although it was given up: it hangs where it must be waited for, and
    /// no other run may begin beside it.
    pub(super) fn is_stuck(&self) -> bool {
        let fence = Arc::clone(&self.lock().fence);
        fence.is_closed() && !fence.is_over()
    }

    /// The runs that were given up and have steps which hold a thread, once for each.
    pub(super) fn hung(&self) -> Vec<u64> {
        let hung = &mut self.lock().hung;
        hung.retain(|(_, stage)| stage.is_in_step());
        hung.iter().map(|(run, _)| *run).collect()
    }

    /// Gives up this run, once, and no other that has taken its place meanwhile: nothing of it does anything from now on
    /// that outlives it. Those that hang are not waited for, and others not for long. Blocks for up to a second. `false`: it
    /// hangs where it must be waited for. It has failed then as well, and is begun again only if it has come back from there
    /// when its stages have ended or are taken for ended; see [`is_stuck`](Self::is_stuck).
    fn give_up(&self, run: u64, stage: &str, cause: &str) -> bool {
        let (fence, failure) = {
            let mut stages = self.lock();
            if stages.run != run || stages.looks_given_up.is_some() {
                return true;
            }
            stages.looks_given_up = Some(0);
            (Arc::clone(&stages.fence), stages.failure.clone())
        };
        // First: stages that come to a closed fence end without a word, and if all had, the run would seem to have ended by
        // itself. Nothing follows it before all have ended, or are taken for ended at a later look.
        if let Some(failure) = failure {
            tell(&failure, stage, cause);
        }
        fence.close()
    }

    /// Takes those for ended that have not ended two looks after the run was given up: their steps hang, or their turn to
    /// run never comes, which waits with the thread of one that hangs. Also where the run is stuck, so that its failure is
    /// told.
    fn give_up_rest(&self, cause: &str) {
        let mut stages = self.lock();
        let Some(looks) = &mut stages.looks_given_up else {
            return;
        };
        *looks += 1;
        if *looks != 2 {
            return;
        }
        let run = stages.run;
        let open = stages.all.iter().map(|(stage, _)| stage);
        let open: Vec<_> = open
            .filter(|stage| !stage.status().is_ended())
            .cloned()
            .collect();
        for stage in open {
            stage.give_up(cause);
            stages.hung.push((run, stage));
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.is_stopping.borrow()
    }

    pub(super) async fn until_stopping(&self) {
        // The sender is ours.
        let _ = self.is_stopping.subscribe().wait_for(|is| *is).await;
    }

    pub(super) fn end(&self, outcome: Result<(), Failure>) {
        self.outcome.send_replace(Some(outcome));
    }
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
        for (stage, is_source) in &self.parts.lock().all {
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
        let failure = self.parts.lock().failure.clone();
        if let (DataflowStatus::Running, Some(failure)) = (self.status(), failure) {
            tell(&failure, &format!("dataflow {}", self.name()), cause);
            self.parts.stop_all();
        }
    }

    /// Takes a checkpoint now and waits until it is complete. If the dataflow begins again meanwhile, it is asked for once
    /// more.
    ///
    /// # Errors
    /// [`TakeCheckpointError`]: why there is none.
    pub async fn checkpoint(&self) -> Result<Epoch, TakeCheckpointError> {
        self.take(Control::ask, |status, before| {
            let is_new = status.completed > before.completed || status.is_final;
            status.completed.filter(|_| is_new)
        })
        .await
    }

    /// The same for a savepoint, which is kept until somebody [deletes](Self::delete_savepoint) it and has the rows of all
    /// tables. Cost: tables are read once more, each partition's rows at the barrier, and are in memory until stored.
    ///
    /// # Errors
    /// [`TakeCheckpointError`]: why there is none.
    pub async fn savepoint(&self) -> Result<Epoch, TakeCheckpointError> {
        self.take(Control::ask_for_savepoint, |status, before| {
            let last = status.savepoints.last().copied();
            last.filter(|_| last > before.savepoints.last().copied())
        })
        .await
    }

    /// Asks for a checkpoint and waits for the answer, in which `taken` finds it.
    async fn take(
        &self,
        ask: fn(&Control) -> u64,
        taken: fn(&CheckpointStatus, &CheckpointStatus) -> Option<Epoch>,
    ) -> Result<Epoch, TakeCheckpointError> {
        loop {
            let (control, mut runs) = self.parts.checkpoints().ok_or(TakeCheckpointError::None)?;
            let before = control.status().borrow().clone();
            let number = ask(&control);
            let mut status = control.status();
            let answered = status.wait_for(|status| status.answered >= number || status.is_final);
            let outcome = tokio::select! {
                biased;
                answered = answered => match answered.as_deref() {
                    Ok(status) if let Some(epoch) = taken(status, &before) => Ok(epoch),
                    Ok(status) if status.is_final => Err(TakeCheckpointError::Ended),
                    Ok(status) => Err(TakeCheckpointError::GivenUp {
                        cause: status.failure.clone().unwrap_or_default(),
                    }),
                    Err(_) => Err(TakeCheckpointError::Ended),
                },
                // A run that failed answers nobody.
                Ok(()) = runs.changed() => continue,
                _ = self.wait() => Err(TakeCheckpointError::Ended),
            };
            return outcome;
        }
    }

    /// Deletes a savepoint, with the state that no other checkpoint has; waits until it is no longer listed.
    ///
    /// # Errors
    /// [`SavepointError`]; it stays.
    pub async fn delete_savepoint(&self, epoch: Epoch) -> Result<(), SavepointError> {
        let mut was_there = false;
        loop {
            let checkpoints = self.parts.checkpoints();
            let (control, mut runs) = checkpoints.ok_or(SavepointError::Unknown { epoch })?;
            let mut status = control.status();
            let now = status.borrow().clone();
            match now.savepoints.contains(&epoch) {
                // The run before this one deleted it.
                false if was_there => return Ok(()),
                false => return Err(SavepointError::Unknown { epoch }),
                true if now.completed == Some(epoch) => return Err(SavepointError::Last { epoch }),
                true => was_there = true,
            }
            control.give_up_savepoint(epoch);
            let gone = status.wait_for(|status| !status.savepoints.contains(&epoch));
            tokio::select! {
                biased;
                gone = gone => return gone.map(|_| ()).map_err(|_| SavepointError::Ended),
                Ok(()) = runs.changed() => {}
                _ = self.wait() => return Err(SavepointError::Ended),
            }
        }
    }

    /// Where its checkpoints stand; `None` if none are taken.
    pub fn checkpoints(&self) -> Option<CheckpointStatus> {
        let control = self.parts.lock().checkpoints.clone();
        control.map(|control| control.status().borrow().clone())
    }

    /// What each partition of each stage does with its time, in the order of declaration.
    pub fn loads(&self) -> Vec<StageLoad> {
        self.parts.loads()
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
    pub(crate) fn give_up(&self, run: u64, stage: &str, cause: &str) -> bool {
        self.parts.give_up(run, stage, cause)
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
