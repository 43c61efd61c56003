//! Where a dataflow runs: what its sources and sinks are given, and where its checkpoints are.

use std::sync::Arc;

use millstream_engine::checkpoint::{
    CheckpointError, CheckpointOptions, CheckpointStorage, Coordinator, Manifest,
};
use millstream_engine::flow::Resources;
use millstream_engine::stage::RestartPolicy;
use millstream_engine::time::Clock;

use super::deploy::{PlacedDataflow, StartDataflowError};
use super::flow::Dataflow;

/// Where checkpoints are kept, and which one a run begins from.
pub(super) struct Checkpointing {
    pub(super) options: CheckpointOptions,
    pub(super) storage: Arc<dyn CheckpointStorage>,
    pub(super) from: Option<Manifest>,
}

/// Gives what sources and sinks need; with `true` what an earlier run has stored is kept.
type Furnish = Box<dyn Fn(&Dataflow, bool) -> Result<Resources, StartDataflowError> + Send + Sync>;

/// Where a dataflow runs.
pub(crate) struct Home {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) furnish: Furnish,
    /// If checkpoints are taken.
    pub(crate) storage: Option<Arc<dyn CheckpointStorage>>,
    /// How often it is begun again from its last checkpoint.
    pub(crate) restart: RestartPolicy,
}

impl Home {
    /// Without checkpoints or tables.
    pub(crate) fn with_resources(
        clock: Arc<dyn Clock>,
        resources: impl Fn() -> Resources + Send + Sync + 'static,
    ) -> Self {
        Self {
            furnish: Box::new(move |_, _| Ok(resources())),
            ..Self::without_state(clock)
        }
    }

    /// Without anything that outlives the process.
    pub(super) fn without_state(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            furnish: Box::new(|_, _| Ok(Resources::new())),
            storage: None,
            restart: RestartPolicy::default(),
        }
    }

    /// Makes the stages of `dataflow`, from the latest checkpoint that can be used, or anew if there is none. Blocks on
    /// storage and files.
    pub(super) fn place(&self, dataflow: &Dataflow) -> Result<PlacedDataflow, StartDataflowError> {
        let Some((storage, options)) = self
            .storage
            .as_ref()
            .zip(dataflow.options.checkpoints.clone())
        else {
            return self.attempt(dataflow, None);
        };
        let stored = Coordinator::stored(&**storage);
        let mut stored = stored.map_err(|cause| StartDataflowError::Checkpoint {
            dataflow: dataflow.name().to_owned(),
            cause,
        })?;
        loop {
            let from = stored.pop();
            let epoch = from.as_ref().map(|from| from.epoch);
            let checkpoints = Checkpointing {
                options: options.clone(),
                storage: Arc::clone(storage),
                from,
            };
            let placed = self.attempt(dataflow, Some(checkpoints));
            match (placed, epoch) {
                (Err(error), Some(epoch)) if is_of_no_use(&error) => {
                    tracing::warn!(dataflow = dataflow.name(), %epoch, %error, "a checkpoint is passed over");
                }
                (Ok(placed), Some(epoch)) => {
                    tracing::info!(dataflow = dataflow.name(), %epoch, "restored from a checkpoint");
                    return Ok(placed);
                }
                (placed, _) => return placed,
            }
        }
    }

    fn attempt(
        &self,
        dataflow: &Dataflow,
        checkpoints: Option<Checkpointing>,
    ) -> Result<PlacedDataflow, StartDataflowError> {
        let is_restored = checkpoints.as_ref().is_some_and(|from| from.from.is_some());
        let resources = Arc::new((self.furnish)(dataflow, is_restored)?);
        dataflow.place(&self.clock, &resources, checkpoints)
    }
}

/// Whether an earlier checkpoint, or none, may do where this one failed.
const fn is_of_no_use(error: &StartDataflowError) -> bool {
    matches!(
        error,
        StartDataflowError::OtherHistory { .. }
            | StartDataflowError::Checkpoint {
                cause: CheckpointError::Damaged { .. },
                ..
            }
    )
}
