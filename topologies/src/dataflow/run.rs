//! Runs a dataflow: starts its stages, watches them, and begins again from the last checkpoint when one fails.
//!
//! A stage that fails ends its run, since what the others hold no longer fits to what it had: all begin again from the last
//! checkpoint, after a pause that doubles, and a bounded number of times. Without checkpoints the first failure is the
//! last. What is told then is the first cause, not what came of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::fail_point;
use millstream_engine::metrics::{DataflowMetrics, StageMetrics};
use millstream_engine::stage::{
    Directive, NoCore, RestartPolicy, StageSpec, Supervision, panic_message, spawn_stage,
};
use millstream_engine::time::Clock;
use tokio::sync::watch;
use tokio::task::JoinError;

use super::apart::Apart;
use super::deploy::{Placed, PlacedDataflow, StartDataflowError};
use super::flow::Dataflow;
use super::guard::Guarded;
use super::handle::{DataflowHandle, Failure, Parts};
use super::home::Home;

/// How often metrics are brought up to date.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// Threads that steps which were given up may hold before the dataflow is not begun again.
const HUNG_MAX: usize = 4;

/// What is told besides of a run that hangs behind its fence.
const STUCK: &str = "while it handed something over: the dataflow is not begun again beside that";

/// A dataflow and where it runs.
pub(super) struct Run {
    dataflow: Dataflow,
    home: Home,
    /// Where it runs if it asks for threads of its own, or once a step has hung: what hangs holds none of the engine's.
    apart: Mutex<Apart>,
}

impl Run {
    /// Starts it, and a task that watches it.
    pub(super) async fn start(
        dataflow: Dataflow,
        home: Home,
    ) -> Result<DataflowHandle, StartDataflowError> {
        let parts = Parts::new(dataflow.name(), dataflow.edges());
        let apart = Apart::beginning(dataflow.name(), dataflow.options.own_threads);
        let run = Arc::new(Self {
            dataflow,
            home,
            apart: Mutex::new(apart),
        });
        let failed = run.begin_where(&parts).await?;
        tokio::spawn(Arc::clone(&run).watch(parts.clone(), failed));
        Ok(DataflowHandle::new(parts))
    }

    /// Makes the stages and starts them. Gives where the first failure of this run is told.
    async fn begin(
        self: &Arc<Self>,
        parts: &Parts,
    ) -> Result<watch::Sender<Option<Failure>>, StartDataflowError> {
        let placed = {
            let run = Arc::clone(self);
            // Sources open files.
            let placing = tokio::task::spawn_blocking(move || run.home.place(&run.dataflow));
            let placed = placing.await;
            placed.unwrap_or_else(|error| Err(self.unfinished(error)))?
        };
        let failure = watch::Sender::new(None);
        let PlacedDataflow {
            stages,
            coordinator,
            fence,
        } = placed;
        parts.begin_run(
            stages.iter().map(|stage| stage.meter.clone()).collect(),
            failure.clone(),
            (
                coordinator.as_ref().map(|of| Arc::clone(of.control())),
                fence,
            ),
        );
        let mut specs = Vec::with_capacity(stages.len() + 1);
        if let Some(coordinator) = coordinator {
            specs.push((self.coordinator_spec(coordinator, &failure), false));
        }
        for stage in stages {
            let is_source = stage.is_source;
            let core = Box::new(Guarded::new(stage.core, failure.subscribe()));
            let stage = Placed { core, ..stage };
            specs.push((stage_spec(stage, &self.home.clock, &failure), is_source));
        }
        for (spec, is_source) in specs {
            match spawn_stage(spec).await {
                Ok(handle) => parts.add_stage(handle, is_source),
                Err(error) => {
                    tell(&failure, &parts.whole(), &error.to_string());
                    parts.stop_all();
                    return Err(error.into());
                }
            }
        }
        Ok(failure)
    }

    fn coordinator_spec(
        &self,
        coordinator: millstream_engine::checkpoint::Coordinator,
        failure: &watch::Sender<Option<Failure>>,
    ) -> StageSpec {
        let mailbox = Arc::clone(coordinator.mailbox());
        let name = format!("{}/checkpoints", self.dataflow.name());
        let core = Guarded::new(Box::new(coordinator), failure.subscribe());
        spec(name, mailbox, Box::new(core), &self.home.clock, failure)
    }

    /// Keeps it going until it has ended or is given up.
    async fn watch(self: Arc<Self>, parts: Parts, failed: watch::Sender<Option<Failure>>) {
        let _ended = EndedByPanic(parts.clone());
        // It holds the data folder, which whoever is told of the end may open: dropped before that in any case.
        let run = self;
        let may_restart = run.home.storage.is_some() && run.dataflow.options.checkpoints.is_some();
        let mut supervision = Supervision::new(RestartPolicy {
            attempts_max: if may_restart {
                run.home.restart.attempts_max
            } else {
                0
            },
            ..run.home.restart
        });
        let mut failed = failed;
        let outcome = loop {
            let failed_at = run.until_over(&parts, &failed).await;
            let Some(failure) = failed.borrow().clone() else {
                break Ok(());
            };
            let failed_at = parts
                .stalled_since()
                .map_or(failed_at, |since| since.min(failed_at));
            if parts.is_stopping() {
                break Err(supervision.last_failure(failed_at, failure));
            }
            if parts.is_stuck() {
                let cause = format!("{}, {STUCK}", failure.cause);
                break Err(Failure { cause, ..failure });
            }
            let begun = run.begin_again(&parts, &mut supervision, (failed_at, failure));
            match begun.await {
                Ok(next) => failed = next,
                Err(first) => break Err(first),
            }
        };
        DataflowMetrics::new(parts.name()).observe(outcome.is_err());
        drop(run);
        parts.end(outcome);
    }

    /// After a failure at a monotonic time: waits and starts it again.
    ///
    /// # Errors
    /// It is given up, or somebody stops it: the first failure of those that belong together.
    async fn begin_again(
        self: &Arc<Self>,
        parts: &Parts,
        supervision: &mut Supervision<Failure>,
        (failed_at, failure): (Duration, Failure),
    ) -> Result<watch::Sender<Option<Failure>>, Failure> {
        let (mut now, mut failure) = (failed_at, failure);
        loop {
            let hung = parts.hung().len();
            if hung > HUNG_MAX {
                tracing::error!(
                    dataflow = parts.name(),
                    hung,
                    "too many of its steps hang to begin it again"
                );
                return Err(supervision.last_failure(now, failure));
            }
            let wait = match supervision.on_failure(now, failure.clone()) {
                Directive::RestartAfter(wait) => wait,
                Directive::GiveUp { first_cause, .. } => return Err(first_cause),
            };
            DataflowMetrics::new(parts.name()).count_restart();
            tracing::warn!(
                dataflow = parts.name(),
                stage = failure.stage,
                cause = failure.cause,
                ?wait,
                "a stage failed: the dataflow begins again from its last checkpoint"
            );
            if tokio::time::timeout(wait, parts.until_stopping())
                .await
                .is_ok()
            {
                return Err(supervision.last_failure(now, failure));
            }
            fail_point!(RESTORE_AGAIN);
            match self.begin_where(parts).await {
                Ok(failed) => {
                    supervision.began(self.home.clock.monotonic());
                    return Ok(failed);
                }
                Err(error) => {
                    now = self.home.clock.monotonic();
                    failure = Failure {
                        stage: parts.whole(),
                        cause: error.to_string(),
                    };
                }
            }
        }
    }

    /// Begins it on threads of its own if it asks for them or the run before hung, else where it was.
    async fn begin_where(
        self: &Arc<Self>,
        parts: &Parts,
    ) -> Result<watch::Sender<Option<Failure>>, StartDataflowError> {
        let apart = {
            let mut apart = self.apart.lock().unwrap_or_else(PoisonError::into_inner);
            apart.next(parts.name(), parts.fenced(), || parts.hung())
        };
        let Some(apart) = apart else {
            return self.begin(parts).await;
        };
        let (run, parts) = (Arc::clone(self), parts.clone());
        let begun = apart.spawn(async move { run.begin(&parts).await }).await;
        begun.unwrap_or_else(|error| Err(self.unfinished(error)))
    }

    /// What a task that was to begin it came to instead: whoever begins a dataflow again has to hear of it.
    fn unfinished(&self, error: JoinError) -> StartDataflowError {
        let cause = match error.try_into_panic() {
            Ok(panic) => panic_message(&*panic).to_owned(),
            Err(cancelled) => cancelled.to_string(),
        };
        StartDataflowError::Panicked {
            dataflow: self.dataflow.name().to_owned(),
            cause,
        }
    }

    /// Until all stages have ended; has the others end when one fails, and keeps the metrics up to date. Gives when that
    /// was seen, or the end.
    async fn until_over(
        &self,
        parts: &Parts,
        failure: &watch::Sender<Option<Failure>>,
    ) -> Duration {
        let metrics: Vec<_> = parts
            .loads()
            .iter()
            .map(|load| {
                let partition = PartitionId(u16::try_from(load.partition).unwrap_or(u16::MAX));
                StageMetrics::new(&load.stage, partition)
            })
            .collect();
        let dataflow = DataflowMetrics::new(parts.name());
        let show = || {
            dataflow.observe(false);
            let loads = parts.loads();
            for (metrics, load) in metrics.iter().zip(&loads) {
                metrics.observe(load);
            }
            parts.look(loads);
        };
        let mut failed = failure.subscribe();
        let mut failed_at = None;
        let stages = parts.handles();
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
                Ok(_) = failed.wait_for(Option::is_some), if failed_at.is_none() => {
                    failed_at = Some(self.home.clock.monotonic());
                    parts.stop_all();
                }
                _ = tick.tick() => show(),
            }
        }
        show();
        failed_at.unwrap_or_else(|| self.home.clock.monotonic())
    }
}

/// Ends a dataflow whose watcher panics: nobody else would say that it has.
struct EndedByPanic(Parts);

impl Drop for EndedByPanic {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.0.stop_all();
        DataflowMetrics::new(self.0.name()).observe(true);
        self.0.end(Err(Failure {
            stage: self.0.whole(),
            cause: "what watches it panicked".to_owned(),
        }));
    }
}

fn stage_spec(
    stage: Placed,
    clock: &Arc<dyn Clock>,
    failure: &watch::Sender<Option<Failure>>,
) -> StageSpec {
    spec(stage.name, stage.mailbox, stage.core, clock, failure)
}

/// A stage whose first failure ends the run.
fn spec(
    name: String,
    mailbox: Arc<millstream_engine::mailbox::Mailbox>,
    core: Box<dyn millstream_engine::stage::StageCore>,
    clock: &Arc<dyn Clock>,
    failure: &watch::Sender<Option<Failure>>,
) -> StageSpec {
    let core = Mutex::new(Some(core));
    let failure = failure.clone();
    StageSpec {
        name,
        mailbox,
        clock: Arc::clone(clock),
        factory: Box::new(move || {
            let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
            core.take()
                .ok_or_else(|| NoCore::Failed("its state is gone".to_owned()))
        }),
        policy: RestartPolicy {
            attempts_max: 0,
            ..RestartPolicy::default()
        },
        on_give_up: Box::new(move |stage: &str, cause: &str| tell(&failure, stage, cause)),
    }
}

/// Keeps the first failure: later ones are its consequences.
pub(super) fn tell(failure: &watch::Sender<Option<Failure>>, stage: &str, cause: &str) {
    failure.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert_with(|| Failure {
            stage: stage.to_owned(),
            cause: cause.to_owned(),
        });
        is_first
    });
}

#[cfg(test)]
mod tests;
