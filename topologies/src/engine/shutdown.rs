//! Ending an engine so that everyone is answered and nothing acknowledged is missing.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::fail_point;
use millstream_engine::log::{Feed, LogWriterThread};
use millstream_engine::stage::{StageHandle, StageStatus};
use millstream_engine::state::{StateWriterHandle, StateWriterThread};
use millstream_engine::threads;
use tokio::sync::{oneshot, watch};

use super::monitor::Looks;
use super::signals::{end_at_once, signal};
use super::under_way::{SHUT_DOWN, UnderWay};
use super::{Engine, Inner, ShutdownError, dataflows};
use crate::dataflow::DataflowHandle;

/// Everything of an engine that must be ended.
pub(super) struct Stages {
    pub(super) dataflows: Vec<DataflowHandle>,
    pub(super) partitions: Vec<StageHandle>,
    pub(super) projections: Vec<StageHandle>,
    /// Of effects.
    pub(super) deliveries: Vec<StageHandle>,
    pub(super) writer: LogWriterThread,
    pub(super) state: StateWriterHandle,
    pub(super) state_thread: StateWriterThread,
}

/// What an engine came to, once it has ended.
type Outcome = Option<Result<(), ShutdownError>>;

/// The parts, until a shutdown takes them.
pub(super) struct Running {
    stages: Mutex<Option<Stages>>,
    outcome: Arc<watch::Sender<Outcome>>,
    looks: Arc<Looks>,
    requests: Arc<UnderWay>,
    pub(super) partitions: Vec<StageHandle>,
    pub(super) projections: Vec<StageHandle>,
    pub(super) deliveries: Vec<StageHandle>,
    pub(super) dataflows: Vec<DataflowHandle>,
}

impl Running {
    pub(super) fn new(stages: Stages) -> Self {
        Self {
            partitions: stages.partitions.clone(),
            projections: stages.projections.clone(),
            deliveries: stages.deliveries.clone(),
            dataflows: stages.dataflows.clone(),
            stages: Mutex::new(Some(stages)),
            outcome: Arc::new(watch::Sender::new(None)),
            looks: Arc::default(),
            requests: Arc::default(),
        }
    }

    /// Those of the command line.
    pub(super) fn requests(&self) -> &Arc<UnderWay> {
        &self.requests
    }

    /// Those of the monitor.
    pub(super) fn looks(&self) -> Arc<Looks> {
        Arc::clone(&self.looks)
    }

    pub(super) fn take(&self) -> Option<Stages> {
        self.stages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A partition that waits for an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckPartition {
    /// The partition.
    pub partition: PartitionId,
    /// Id of the aggregate, without its category; its first 32 bytes.
    pub aggregate: String,
    /// How long its turn has gone on.
    pub busy: Duration,
}

impl Engine {
    /// Where each stage stands: partitions first, then projections, what delivers their effects, and those of dataflows.
    #[must_use]
    pub fn stages(&self) -> Vec<(String, StageStatus)> {
        let running = &self.inner.running;
        running
            .partitions
            .iter()
            .chain(&running.projections)
            .chain(&running.deliveries)
            .map(|stage| (stage.name().to_owned(), stage.status()))
            .chain(self.dataflow_stages())
            .collect()
    }

    /// Partitions whose present turn has gone on for longer than this: an aggregate in them does not return.
    /// User code cannot be taken off its thread, so only a restart frees such a partition; others go on.
    #[must_use]
    pub fn stuck(&self, longer_than: Duration) -> Vec<StuckPartition> {
        let now = self.inner.clock.monotonic();
        let partitions = (0..).map(PartitionId).zip(&self.inner.partitions);
        let stuck = partitions.filter_map(|(partition, shared)| {
            let busy = shared.watch().busy(now);
            (busy > longer_than).then(|| StuckPartition {
                partition,
                aggregate: shared.watch().id(),
                busy,
            })
        });
        stuck.collect()
    }

    /// Has the dataflows' sources stop and what they read dealt with; stops taking commands, handles and answers
    /// all that is queued, lets the projections apply and store all of it, but for one whose outbox is
    /// [full](millstream_operators::projection::DeliveryConfig::stored_max), which goes on after the next start. Later calls, and calls on
    /// clones, wait for the same end. The data folder is free for another
    /// process then, and for this one once every handle, reader and subscription of this engine is dropped.
    ///
    /// Once begun it goes on, also if whoever waits for it does no longer. All of it runs on the runtime that opened the engine, its
    /// deadlines as well: a current-thread runtime has to be driven meanwhile, by the `block_on` that this is awaited in or another
    /// one. Where nobody drives it, as where that `block_on` has returned and this is awaited on another runtime, it waits until
    /// somebody does.
    ///
    /// An engine that is dropped without it ends in the same order, in the background, if a runtime is left
    /// to do so; what was acknowledged is durable in any case.
    ///
    /// # Errors
    /// [`ShutdownError`] names the first part that did not end in order; the others are ended all the same.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        let inner = &self.inner;
        let mut told = inner.running.outcome.subscribe();
        if let Some(stages) = inner.running.take() {
            let telling = Telling(Arc::clone(&inner.running.outcome));
            let (feed, versions) = (Arc::clone(&inner.feed), inner.versions.clone());
            let (deadline, looks) = (inner.config.shutdown_deadline, inner.running.looks());
            let requests = Arc::clone(inner.running.requests());
            inner.runtime.spawn(async move {
                let outcome = end(stages, &feed, deadline).await;
                // Nobody need wait longer for what will not come.
                for version in versions.iter().flat_map(|one| one.started()) {
                    version.board.stop(SHUT_DOWN);
                }
                // Whoever is told may open the folder again at once.
                drop((feed, versions));
                let looked = apart("monitor", deadline, move || looks.end());
                if looked.await.is_err() {
                    tracing::warn!(
                        "the monitor does not come back, and holds the folder until it does"
                    );
                }
                // None begins any more, since the monitor has ended.
                if !requests.end(deadline).await {
                    tracing::warn!(
                        "a request of the command line does not end, and holds the folder until it does"
                    );
                }
                telling.tell(outcome);
            });
        }
        let outcome = told.wait_for(Option::is_some).await;
        outcome.map_or(Ok(()), |outcome| outcome.clone().unwrap_or(Ok(())))
    }

    /// Waits for Ctrl-C or SIGTERM, then [shuts down](Self::shutdown). Also ends when the engine has [failed](Self::failed). Ctrl-C
    /// once more, while it shuts down, ends the process at once with status 1: all that was acknowledged is in the log.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub async fn run_until_signal(&self) -> Result<(), ShutdownError> {
        let is_asked = tokio::select! {
            () = signal() => {
                tracing::info!("shutting down");
                true
            }
            cause = self.failed() => {
                tracing::error!(cause, "shutting down");
                false
            }
        };
        tokio::select! {
            biased;
            // First, so that a signal is heard from when the shutdown begins.
            never = end_at_once(is_asked) => match never {},
            ended = self.shutdown() => ended,
        }
    }

    /// Resolves when something cannot be written any more although nobody asked for it: the log or the derived state stopped, or
    /// a partition was given up. Says why. Shut down then, and start the process again. A dataflow that fails stops
    /// nobody else: see [`failed_dataflows`](Self::failed_dataflows).
    ///
    /// Where the state has stopped, commands are still decided, made durable and answered, since they depend on the log alone; but
    /// projections stand still, and so does all that reads them, until the next start.
    pub async fn failed(&self) -> String {
        let partitions = &self.inner.running.partitions;
        let mut ends: Vec<_> = partitions
            .iter()
            .map(|stage| Box::pin(given_up(stage)))
            .collect();
        let given_up = std::future::poll_fn(|context| {
            let mut polled = ends.iter_mut().map(|end| end.as_mut().poll(context));
            polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        tokio::select! {
            cause = given_up => cause,
            cause = self.inner.feed.until_stopped() => cause.to_string(),
            cause = self.inner.state.until_stopped() => cause.to_string(),
        }
    }
}

/// Tells how an engine has ended, also where its runtime ends before it.
struct Telling(Arc<watch::Sender<Outcome>>);

impl Telling {
    fn tell(self, outcome: Result<(), ShutdownError>) {
        self.0.send_replace(Some(outcome));
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.send_if_modified(|outcome| {
            let is_untold = outcome.is_none();
            outcome.get_or_insert_with(|| {
                Err(ShutdownError::Stage {
                    stage: "engine".to_owned(),
                    cause: "its runtime ended before it".to_owned(),
                })
            });
            is_untold
        });
    }
}

/// Resolves when a stage is given up; never when it ends in order.
async fn given_up(stage: &StageHandle) -> String {
    match stage.ended().await {
        StageStatus::Failed { first_cause, .. } => {
            format!("{} was given up: {first_cause}", stage.name())
        }
        _ => std::future::pending().await,
    }
}

/// Ends everything, in the order in which work flows.
pub(super) async fn end(
    stages: Stages,
    feed: &Feed,
    deadline: Duration,
) -> Result<(), ShutdownError> {
    fail_point!(SHUTDOWN_BEGUN);
    // While partitions still take what the dataflows append.
    let mut outcome = dataflows::stop_all(&stages.dataflows, deadline).await;
    fail_point!(SHUTDOWN_DATAFLOWS);
    outcome = outcome.and(stop_all(&stages.partitions, deadline).await);
    fail_point!(SHUTDOWN_PARTITIONS);
    let writer = stages.writer;
    outcome = outcome.and(apart("log writer", deadline, move || writer.join()).await);
    fail_point!(SHUTDOWN_LOG);
    // A writer that hangs has not closed the feed; projections must not wait for it.
    feed.close();
    outcome = outcome.and(stop_all(&stages.projections, deadline).await);
    fail_point!(SHUTDOWN_PROJECTIONS);
    // Those under way: what comes after them is for the next start.
    outcome = outcome.and(stop_all(&stages.deliveries, deadline).await);
    let (state, thread) = (stages.state, stages.state_thread);
    let watched = state.clone();
    let closed = apart("state writer", deadline, move || {
        let synced = state.sync();
        let closed = thread.close();
        synced.and(closed)
    });
    let closed = closed.await;
    outcome = outcome.and(closed.and_then(|closed| closed.map_err(ShutdownError::State)));
    fail_point!(SHUTDOWN_STATE);
    // Told first of all: a process that ends for this must not seem to end well, and what was given up was so for this.
    match (feed.stopped(), watched.stopped()) {
        (Some(cause), _) => Err(ShutdownError::Log(cause)),
        (None, Some(cause)) => Err(ShutdownError::State(cause)),
        (None, None) => outcome,
    }
}

/// Runs what may wait for a disk that hangs, until the deadline. On a thread of its own: one of the runtime's would keep that
/// from ending.
async fn apart<T: Send + 'static>(
    part: &str,
    deadline: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ShutdownError> {
    let (tell, told) = oneshot::channel();
    let spawned = threads::try_spawn("end", move || {
        // Whoever waits may have given up.
        let _ = tell.send(run());
    });
    let cause = match (spawned, tokio::time::timeout(deadline, told).await) {
        (_, Ok(Ok(done))) => return Ok(done),
        (Err(refused), _) => format!("there is no thread for its end: {refused}"),
        (_, Ok(Err(_))) => "it panicked".to_owned(),
        (_, Err(_)) => format!("it did not end within {deadline:?}"),
    };
    let stage = part.to_owned();
    Err(ShutdownError::Stage { stage, cause })
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Stages do not end by themselves: they would hold the data folder for as long as the runtime lives.
        let Some(stages) = self.running.take() else {
            return;
        };
        let (feed, deadline) = (Arc::clone(&self.feed), self.config.shutdown_deadline);
        self.runtime.spawn(async move {
            if let Err(cause) = end(stages, &feed, deadline).await {
                tracing::warn!(%cause, "an engine that was dropped did not end in order");
            }
        });
    }
}

async fn stop_all(stages: &[StageHandle], deadline: Duration) -> Result<(), ShutdownError> {
    // All at once: each drains what it has while the others do.
    let waits: Vec<_> = stages
        .iter()
        .cloned()
        .map(|stage| {
            tokio::spawn(async move {
                let ended = tokio::time::timeout(deadline, stage.drain_and_stop()).await;
                let cause = match ended {
                    Ok(StageStatus::Stopped) => return Ok(()),
                    Ok(StageStatus::Failed { first_cause, .. }) => first_cause,
                    Ok(other) => format!("it is {other:?}"),
                    Err(_elapsed) => format!("it did not end within {deadline:?}"),
                };
                let stage = stage.name().to_owned();
                Err(ShutdownError::Stage { stage, cause })
            })
        })
        .collect();
    let mut outcome = Ok(());
    for wait in waits {
        if let Ok(ended) = wait.await {
            outcome = outcome.and(ended);
        }
    }
    outcome
}

#[cfg(test)]
mod tests;
