//! Makes the stages of a dataflow and starts them as actors.

use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::flow::{Fault, Resources, StageMeter, Wiring};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::stage::{
    NoCore, RestartPolicy, SpawnStageError, StageCore, StageSpec, spawn_stage,
};
use millstream_engine::time::{Clock, SystemClock};

use super::flow::Dataflow;
use super::guard::Guarded;
use super::handle::{DataflowHandle, Failure, Parts};

/// Why a dataflow did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartDataflowError {
    /// A stage could not be made; nothing runs.
    #[error("dataflow {dataflow:?}, stage {stage:?}: {cause}")]
    Stage {
        /// The dataflow.
        dataflow: String,
        /// The stage.
        stage: String,
        /// Why.
        cause: String,
    },
    /// The runtime refused a stage; those before it were started and are stopped again.
    #[error(transparent)]
    Spawn(#[from] SpawnStageError),
}

/// One partition of a stage, made and not started.
pub(super) struct Placed {
    /// Such as `velocity/window/1`.
    pub(super) name: String,
    pub(super) is_source: bool,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) core: Box<dyn StageCore>,
    pub(super) meter: StageMeter,
}

impl Dataflow {
    /// Makes all stages. Opens files and reads the log, so it may block.
    pub(super) fn place(
        &self,
        clock: &Arc<dyn Clock>,
        resources: &Arc<Resources>,
    ) -> Result<Vec<Placed>, StartDataflowError> {
        let draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        let mailboxes: Vec<Vec<_>> = draft
            .stages
            .iter()
            .map(|stage| {
                let mailbox = || Mailbox::new(self.options.mailbox, Arc::clone(clock));
                (0..stage.site.partitions).map(|_| mailbox()).collect()
            })
            .collect();
        for edge in &draft.edges {
            if let (Some(from), Some(to)) = (edge.from, edge.to) {
                (edge.connect)(draft.stages[from].site.partitions, &mailboxes[to]);
            }
        }
        let mut placed = Vec::new();
        for (stage, mailboxes) in draft.stages.iter().zip(&mailboxes) {
            let name: Arc<str> = format!("{}/{}", self.name, stage.name).into();
            for (partition, mailbox) in mailboxes.iter().enumerate() {
                let meter = StageMeter::new(Arc::clone(&name), partition, Arc::clone(clock));
                let wiring = Wiring {
                    stage: Arc::clone(&name),
                    partition,
                    partitions: mailboxes.len(),
                    clock: Arc::clone(clock),
                    resources: Arc::clone(resources),
                };
                let made = (stage.make)(&wiring, mailbox, meter.clone());
                let core = made.map_err(|Fault(cause)| StartDataflowError::Stage {
                    dataflow: self.name.clone(),
                    stage: stage.name.clone(),
                    cause,
                })?;
                placed.push(Placed {
                    name: format!("{name}/{partition}"),
                    is_source: stage.site.inputs.is_empty(),
                    mailbox: Arc::clone(mailbox),
                    core,
                    meter,
                });
            }
        }
        Ok(placed)
    }

    /// Names of stages that follow each other, as their loads have them.
    pub(super) fn edges(&self) -> Vec<(String, String)> {
        let draft = self.lock();
        let name = |stage: usize| format!("{}/{}", self.name, draft.stages[stage].name);
        let edges = draft.edges.iter();
        edges
            .filter_map(|edge| Some((name(edge.from?), name(edge.to?))))
            .collect()
    }

    /// Runs it on the current tokio runtime, without a log or tables.
    ///
    /// # Errors
    /// [`StartDataflowError`]: a stage cannot be made.
    pub async fn start(self) -> Result<DataflowHandle, StartDataflowError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        self.start_in(clock, Arc::new(Resources::new())).await
    }

    /// Runs it to its end: for inputs that are finite.
    ///
    /// # Errors
    /// [`RunDataflowError`]: it did not start, or a stage failed.
    pub async fn run(self) -> Result<DataflowHandle, RunDataflowError> {
        let handle = self.start().await?;
        handle.wait().await?;
        Ok(handle)
    }

    pub(crate) async fn start_in(
        self,
        clock: Arc<dyn Clock>,
        resources: Arc<Resources>,
    ) -> Result<DataflowHandle, StartDataflowError> {
        let placed = {
            let clock = Arc::clone(&clock);
            // Sources open files.
            let placing = tokio::task::spawn_blocking(move || {
                let placed = self.place(&clock, &resources);
                placed.map(|placed| (self.name.clone(), self.edges(), placed))
            });
            placing
                .await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        };
        let (name, edges, placed) = placed?;
        let parts = Parts::new(&name, edges);
        for stage in placed {
            let is_source = stage.is_source;
            parts.add_meter(stage.meter.clone());
            let core = Box::new(Guarded::new(stage.core, parts.failed()));
            let stage = Placed { core, ..stage };
            let spec = spec(stage, &clock, parts.failure());
            match spawn_stage(spec).await {
                Ok(handle) => parts.add_stage(handle, is_source),
                Err(error) => {
                    parts.stop_all();
                    return Err(error.into());
                }
            }
        }
        Ok(DataflowHandle::watching(parts))
    }
}

/// Why a dataflow did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunDataflowError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartDataflowError),
    /// A stage failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A stage without a checkpoint to begin again from: the first failure ends the dataflow.
fn spec(
    stage: Placed,
    clock: &Arc<dyn Clock>,
    on_failure: impl Fn(&str, &str) + Send + 'static,
) -> StageSpec {
    let core = Mutex::new(Some(stage.core));
    StageSpec {
        name: stage.name,
        mailbox: stage.mailbox,
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
        on_give_up: Box::new(on_failure),
    }
}
