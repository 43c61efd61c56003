//! Makes the stages of a dataflow and starts them as actors.

use std::sync::{Arc, PoisonError};

use millstream_engine::checkpoint::{
    CheckpointError, Coordinator, CoordinatorParts, Manifest, SavedCheckpoint, StageManifest,
    StageShape,
};
use millstream_engine::fail_point;
use millstream_engine::flow::{Fault, Fence, Resources, StageMeter, Wiring};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::stage::{SpawnStageError, StageCore};
use millstream_engine::time::{Clock, SystemClock};

use super::flow::{Dataflow, Draft, FlowOptions};
use super::handle::{DataflowHandle, Failure};
use super::home::{Checkpointing, Home};
use super::open_all::open_all;
use super::run::Run;

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
    /// The checkpoint to begin from was made of something else than what the sources hold now, as after the log was
    /// restored from a backup, or it is damaged.
    #[error("dataflow {dataflow:?}, its checkpoint is of no use: {cause}")]
    OtherHistory {
        /// The dataflow.
        dataflow: String,
        /// What was found.
        cause: String,
    },
    /// The checkpoint to begin from cannot be used.
    #[error("dataflow {dataflow:?}: {cause}")]
    Checkpoint {
        /// The dataflow.
        dataflow: String,
        /// Why.
        cause: CheckpointError,
    },
    /// A stage does not begin with the state that the checkpoint has of it; nothing runs, and the checkpoint stays.
    #[error("dataflow {dataflow:?}, stage {stage:?}: {cause}")]
    Restore {
        /// The dataflow.
        dataflow: String,
        /// The stage, by the name that its state is found by.
        stage: String,
        /// Why.
        cause: CheckpointError,
    },
    /// Code of the program's own panicked while it was put together, such as what divides a source; nothing runs.
    #[error("dataflow {dataflow:?}: it panicked while it was put together: {cause}")]
    Panicked {
        /// The dataflow.
        dataflow: String,
        /// The panic's message.
        cause: String,
    },
    /// What its tables are kept in failed.
    #[error("dataflow {dataflow:?}, its tables: {cause}")]
    Tables {
        /// The dataflow.
        dataflow: String,
        /// Why.
        cause: String,
    },
    /// There is no place for state that is too large for memory.
    #[error("dataflow {dataflow:?}: {cause}")]
    Memory {
        /// The dataflow.
        dataflow: String,
        /// Why.
        cause: String,
    },
    /// The runtime refused a stage; those before it were started and are stopped again.
    #[error(transparent)]
    Spawn(#[from] SpawnStageError),
}

/// A dataflow whose stages are made and not started.
pub(super) struct PlacedDataflow {
    pub(super) stages: Vec<Placed>,
    pub(super) coordinator: Option<Coordinator>,
    /// Of the run that these stages are for.
    pub(super) fence: Arc<Fence>,
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
    /// Makes all stages, and restores them. Opens files and reads the log, so it may block.
    pub(super) fn place(
        &self,
        clock: &Arc<dyn Clock>,
        resources: &Arc<Resources>,
        checkpoints: Option<Checkpointing>,
    ) -> Result<PlacedDataflow, StartDataflowError> {
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
                let limits = draft.lane_limits(&self.options, to);
                (edge.connect)(draft.stages[from].site.partitions, &mailboxes[to], limits);
            }
        }
        let coordinator = checkpoints
            .map(|checkpoints| coordinator(&self.name, &draft, &mailboxes, clock, checkpoints))
            .transpose()?;
        let identities = draft.identities();
        let unmade = |at: (usize, usize), fault| {
            let names = (draft.stages[at.0].name.as_str(), identities[at.0].as_str());
            self.unmade(names, at, fault, coordinator.as_ref())
        };
        let link = |number, partition| Some(coordinator.as_ref()?.link(number, partition));
        let (mut openings, mut placings) = (Vec::new(), Vec::new());
        for (number, (stage, mailboxes)) in draft.stages.iter().zip(&mailboxes).enumerate() {
            let name: Arc<str> = format!("{}/{}", self.name, stage.name).into();
            let identity: Arc<str> = format!("{}/{}", self.name, identities[number]).into();
            for (partition, mailbox) in mailboxes.iter().enumerate() {
                let meter = StageMeter::new(Arc::clone(&name), partition, Arc::clone(clock));
                let wiring = Wiring {
                    stage: Arc::clone(&name),
                    identity: Arc::clone(&identity),
                    partition,
                    partitions: mailboxes.len(),
                    mailbox: Arc::clone(mailbox),
                    clock: Arc::clone(clock),
                    resources: Arc::clone(resources),
                    checkpoints: link(number, partition),
                };
                let opening = (stage.make)(&wiring, mailbox, meter.clone());
                let at = (number, partition);
                openings.push(opening.map_err(|fault| unmade(at, fault))?);
                let place = format!("{name}/{partition}");
                let of_core = move |core| Placed {
                    name: place,
                    is_source: stage.site.inputs.is_empty(),
                    mailbox: Arc::clone(mailbox),
                    core,
                    meter,
                };
                placings.push((at, of_core));
            }
        }
        // Each reads what several partitions had: not all of them at once.
        let is_one_by_one = coordinator.as_ref().is_some_and(Coordinator::spreads_anew);
        let mut stages = Vec::with_capacity(placings.len());
        for ((at, of_core), opened) in placings.into_iter().zip(open_all(openings, is_one_by_one)) {
            stages.push(of_core(opened.map_err(|fault| unmade(at, fault))?));
        }
        if let Some(coordinator) = &coordinator {
            forget_others(coordinator).map_err(|cause| StartDataflowError::Checkpoint {
                dataflow: self.name.clone(),
                cause,
            })?;
        }
        Ok(PlacedDataflow {
            stages,
            coordinator,
            fence: resources.get::<Fence>().unwrap_or_default(),
        })
    }

    /// Why a partition of a stage was not made; the stage has a name and one that its state is found by.
    fn unmade(
        &self,
        (stage, identity): (&str, &str),
        (number, partition): (usize, usize),
        Fault(cause): Fault,
        coordinator: Option<&Coordinator>,
    ) -> StartDataflowError {
        let dataflow = self.name.clone();
        let control = coordinator.map(Coordinator::control);
        let unrestored = control.and_then(|control| control.take_unrestored(number, partition));
        match unrestored.filter(|cause| !matches!(cause, CheckpointError::Damaged { .. })) {
            Some(cause) => StartDataflowError::Restore {
                dataflow,
                stage: identity.to_owned(),
                cause,
            },
            None if control.is_some_and(|control| control.is_stale()) => {
                StartDataflowError::OtherHistory { dataflow, cause }
            }
            None => StartDataflowError::Stage {
                dataflow,
                stage: stage.to_owned(),
                cause,
            },
        }
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

    /// Runs it on the current tokio runtime, without a log, tables or checkpoints.
    ///
    /// # Errors
    /// [`StartDataflowError`]: a stage cannot be made.
    pub async fn start(self) -> Result<DataflowHandle, StartDataflowError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        self.start_in(Home::without_state(clock)).await
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

    pub(crate) async fn start_in(self, home: Home) -> Result<DataflowHandle, StartDataflowError> {
        Run::start(self, home).await
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

/// Deletes checkpoints that a run whose stages are made has no use for.
fn forget_others(coordinator: &Coordinator) -> Result<(), CheckpointError> {
    fail_point!(RESTORE_BEFORE_FORGETTING, |cause| CheckpointError::Storage(
        cause.to_string()
    ));
    coordinator.forget_others()?;
    fail_point!(RESTORE_FORGOTTEN, |cause| CheckpointError::Storage(
        cause.to_string()
    ));
    Ok(())
}

/// The coordinator of a dataflow whose mailboxes are made.
fn coordinator(
    name: &str,
    draft: &Draft,
    mailboxes: &[Vec<Arc<Mailbox>>],
    clock: &Arc<dyn Clock>,
    checkpoints: Checkpointing,
) -> Result<Coordinator, StartDataflowError> {
    let refused = |cause| StartDataflowError::Checkpoint {
        dataflow: name.to_owned(),
        cause,
    };
    let Checkpointing {
        options,
        storage,
        from,
    } = checkpoints;
    if let Some(from) = &from {
        draft
            .check_removed(from, &options.drop_stages)
            .map_err(refused)?;
    }
    let stages = draft.stages.iter().zip(draft.identities()).zip(mailboxes);
    let stages = stages.map(|((stage, identity), mailboxes)| StageShape {
        name: identity.into(),
        is_source: stage.site.inputs.is_empty(),
        mailboxes: mailboxes.clone(),
    });
    let parts = CoordinatorParts {
        dataflow: name.to_owned(),
        options,
        clock: Arc::clone(clock),
        must_sync: draft.stages.iter().any(|stage| stage.site.lets_out),
        stages: stages.collect(),
        restored: from.map(|from| SavedCheckpoint::new(from, Arc::clone(&storage))),
        storage,
    };
    Coordinator::new(parts).map_err(refused)
}

impl Draft {
    /// The bound of each lane into a stage: all of them together have what a mailbox may hold.
    fn lane_limits(&self, options: &FlowOptions, to: usize) -> MailboxLimits {
        let into = self.edges.iter().filter(|edge| edge.to == Some(to));
        let lanes = into.map(|edge| match (edge.one_to_one, edge.from) {
            (true, _) | (_, None) => 1,
            (false, Some(from)) => self.stages[from].site.partitions,
        });
        let lanes = u32::try_from(lanes.sum::<usize>())
            .unwrap_or(u32::MAX)
            .max(1);
        let MailboxLimits {
            items_max,
            bytes_max,
        } = options.mailbox;
        let items = (items_max.get() / lanes)
            .max(LANE_BATCHES_MIN)
            .min(items_max.get());
        let bytes = bytes_max.get() / u64::from(lanes);
        MailboxLimits {
            items_max: items.try_into().unwrap_or(items_max),
            bytes_max: bytes.try_into().unwrap_or(bytes_max),
        }
    }

    /// Whether a checkpoint has state of a stage that is there no longer, unless it is one of those that may be dropped.
    fn check_removed(&self, from: &Manifest, dropped: &[String]) -> Result<(), CheckpointError> {
        let known = self.identities();
        let is_gone = |stage: &&StageManifest| {
            !known.contains(&stage.name) && stage.has_state() && !dropped.contains(&stage.name)
        };
        match from.stages.iter().find(is_gone) {
            None => Ok(()),
            Some(stage) => Err(CheckpointError::Removed {
                stage: stage.name.clone(),
            }),
        }
    }
}

/// Batches that a lane holds at least: one that is worked on and one that waits.
const LANE_BATCHES_MIN: u32 = 2;
