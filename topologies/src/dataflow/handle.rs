//! A dataflow that runs: waiting for it, stopping it, seeing where it is slow.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::flow::{StageLoad, StageMeter};
use millstream_engine::metrics::{DataflowMetrics, StageMetrics};
use millstream_engine::stage::{StageHandle, StageStatus};
use tokio::sync::watch;

use super::pressure;

/// How often metrics are brought up to date.
const SHOW_EVERY: Duration = Duration::from_secs(1);
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

#[derive(Default)]
struct Stages {
    all: Vec<(StageHandle, bool)>,
    meters: Vec<StageMeter>,
    /// Loads as they were at the last looks, the oldest first.
    looks: VecDeque<Vec<StageLoad>>,
}

/// What handle and watcher share.
#[derive(Clone)]
pub(super) struct Parts {
    name: Arc<str>,
    /// Names of stages that follow each other.
    edges: Arc<[(String, String)]>,
    stages: Arc<Mutex<Stages>>,
    failure: Arc<watch::Sender<Option<Failure>>>,
}

impl Parts {
    pub(super) fn new(name: &str, edges: Vec<(String, String)>) -> Self {
        Self {
            name: name.into(),
            edges: edges.into(),
            stages: Arc::default(),
            failure: Arc::new(watch::Sender::new(None)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_stage(&self, handle: StageHandle, is_source: bool) {
        self.lock().all.push((handle, is_source));
    }

    pub(super) fn add_meter(&self, meter: StageMeter) {
        self.lock().meters.push(meter);
    }

    /// Keeps the first failure: later ones are its consequences.
    pub(super) fn failure(&self) -> impl Fn(&str, &str) + Send + 'static {
        let failure = Arc::clone(&self.failure);
        move |stage, cause| {
            failure.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert_with(|| Failure {
                    stage: stage.to_owned(),
                    cause: cause.to_owned(),
                });
                is_first
            });
        }
    }

    /// Set when a stage has failed.
    pub(super) fn failed(&self) -> watch::Receiver<Option<Failure>> {
        self.failure.subscribe()
    }

    pub(super) fn stop_all(&self) {
        for (stage, _) in &self.lock().all {
            stage.begin_stop();
        }
    }

    fn handles(&self) -> Vec<StageHandle> {
        let stages = self.lock();
        stages.all.iter().map(|(stage, _)| stage.clone()).collect()
    }

    fn loads(&self) -> Vec<StageLoad> {
        self.lock().meters.iter().map(StageMeter::load).collect()
    }

    /// Ends the others when one has failed, and keeps the metrics up to date until all have ended.
    async fn watch(self) {
        let metrics: Vec<_> = self
            .loads()
            .iter()
            .map(|load| {
                let partition = PartitionId(u16::try_from(load.partition).unwrap_or(u16::MAX));
                StageMetrics::new(&load.stage, partition)
            })
            .collect();
        let dataflow = DataflowMetrics::new(&self.name);
        let show = || {
            dataflow.observe(self.failure.borrow().is_some());
            let loads = self.loads();
            for (metrics, load) in metrics.iter().zip(&loads) {
                metrics.observe(load);
            }
            let looks = &mut self.lock().looks;
            if looks.len() == LOOKS {
                looks.pop_front();
            }
            looks.push_back(loads);
        };
        let mut failed = self.failure.subscribe();
        let mut stopped = false;
        let stages = self.handles();
        let all_ended = async {
            for stage in &stages {
                stage.ended().await;
            }
        };
        tokio::pin!(all_ended);
        let mut tick = tokio::time::interval(SHOW_EVERY);
        loop {
            tokio::select! {
                () = &mut all_ended => break,
                // It may have failed before this task began.
                Ok(_) = failed.wait_for(Option::is_some), if !stopped => {
                    stopped = true;
                    self.stop_all();
                }
                _ = tick.tick() => show(),
            }
        }
        show();
    }
}

/// A running dataflow. Clones mean the same one; dropping them all leaves it running.
#[derive(Clone)]
pub struct DataflowHandle {
    parts: Parts,
}

impl DataflowHandle {
    /// Starts the watcher.
    pub(super) fn watching(parts: Parts) -> Self {
        tokio::spawn(parts.clone().watch());
        Self { parts }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// Where each partition of each stage stands, such as `velocity/window/1`.
    pub fn stages(&self) -> Vec<(String, StageStatus)> {
        let stages = self.parts.handles().into_iter();
        let stand = |stage: StageHandle| (stage.name().to_owned(), stage.status());
        stages.map(stand).collect()
    }

    /// Where it stands.
    pub fn status(&self) -> DataflowStatus {
        if let Some(failure) = &*self.parts.failure.borrow() {
            return DataflowStatus::Failed(failure.clone());
        }
        let ended = |stage: &StageHandle| stage.status().is_ended();
        if self.parts.handles().iter().all(ended) {
            DataflowStatus::Ended
        } else {
            DataflowStatus::Running
        }
    }

    /// Waits until all of its input is dealt with: for ever if it has no end and nobody stops it.
    ///
    /// # Errors
    /// [`Failure`]: the first stage that failed.
    pub async fn wait(&self) -> Result<(), Failure> {
        let mut first: Option<Failure> = None;
        for stage in self.parts.handles() {
            if let StageStatus::Failed { first_cause, .. } = stage.ended().await {
                first.get_or_insert_with(|| Failure {
                    stage: stage.name().to_owned(),
                    cause: first_cause,
                });
            }
        }
        // What was told first is the cause; the order of the stages is not that of failing.
        match self.parts.failure.borrow().clone().or(first) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Has the sources read nothing more and waits until all that was read is dealt with. Windows that are open stay
    /// without a result.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn stop(&self) -> Result<(), Failure> {
        self.begin_stop();
        self.wait().await
    }

    /// The same without waiting.
    pub fn begin_stop(&self) {
        for (stage, is_source) in &self.parts.lock().all {
            if *is_source {
                stage.begin_stop();
            }
        }
    }

    /// Has every stage end where it stands, whatever it waits for, and waits until they have: for a dataflow that does
    /// not [stop](Self::stop). What was read and not dealt with is lost, as when a stage fails, and `cause` is told as
    /// the failure. Code of the program's own that runs is waited for: nothing can take it off its thread.
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
        if self.status() == DataflowStatus::Running {
            let stage = format!("dataflow {}", self.name());
            self.parts.failure()(&stage, cause);
            self.parts.stop_all();
        }
    }

    /// What each partition of each stage does with its time, in the order of declaration.
    pub fn loads(&self) -> Vec<StageLoad> {
        self.parts.loads()
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
