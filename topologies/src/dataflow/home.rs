//! Where a dataflow runs: what its sources and sinks are given, and where its checkpoints are.

use std::sync::Arc;

use millstream_engine::checkpoint::{CheckpointOptions, CheckpointStorage, Manifest};
use millstream_engine::flow::{Fence, Resources};
use millstream_engine::stage::RestartPolicy;
use millstream_engine::time::Clock;
use millstream_operators::sink::FileFolders;

use super::chosen;
use super::deploy::{PlacedDataflow, StartDataflowError};
use super::flow::Dataflow;

/// Where checkpoints are kept, and which one a run begins from.
pub(super) struct Checkpointing {
    pub(super) options: CheckpointOptions,
    pub(super) storage: Arc<dyn CheckpointStorage>,
    pub(super) from: Option<Manifest>,
}

/// Gives what sources and sinks need, to begin from this checkpoint: then what an earlier run has stored is kept.
type Furnish = Box<
    dyn Fn(&Dataflow, Option<&Manifest>) -> Result<Resources, StartDataflowError> + Send + Sync,
>;

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
        chosen::begin(dataflow.name(), &**storage, |from| {
            let checkpoints = Checkpointing {
                options: options.clone(),
                storage: Arc::clone(storage),
                from,
            };
            self.attempt(dataflow, Some(checkpoints))
        })
    }

    fn attempt(
        &self,
        dataflow: &Dataflow,
        checkpoints: Option<Checkpointing>,
    ) -> Result<PlacedDataflow, StartDataflowError> {
        let from = checkpoints.as_ref().and_then(|from| from.from.as_ref());
        // Each attempt has one of its own.
        let resources = (self.furnish)(dataflow, from)?
            .with(Fence::new())
            .with(FileFolders::default());
        let resources = Arc::new(resources);
        let placed = dataflow.place(&self.clock, &resources, checkpoints)?;
        dataflow.drop_left_letters(&resources)?;
        Ok(placed)
    }
}
