//! Why an engine did not open, or did not end in order.

use std::path::PathBuf;

use millstream_engine::checkpoint::CheckpointError;
use millstream_engine::log::LogError;
use millstream_engine::partition::InvalidPartitionConfig;
use millstream_engine::stage::SpawnStageError;
use millstream_engine::state::StateError;
use millstream_operators::projection::OpenProjectionError;

use crate::dataflow::StartDataflowError;

/// Why an engine did not open. Nothing runs then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] InvalidPartitionConfig),
    /// The log in this folder.
    #[error("the log in {}: {cause}", folder.display())]
    Log {
        /// The data folder.
        folder: PathBuf,
        /// What is wrong.
        cause: LogError,
    },
    /// The derived state in this folder. It can be deleted: it is made anew from the log.
    #[error("the state in {}: {cause}", folder.display())]
    State {
        /// The data folder.
        folder: PathBuf,
        /// What is wrong.
        cause: StateError,
    },
    /// The key that tokens are signed with. Without the file a new one is made, and tokens that are out there are no
    /// longer taken.
    #[error("the key of tokens in {}: {cause}", file.display())]
    TokenKey {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A projection.
    #[error("projection {name}: {cause}")]
    Projection {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        cause: OpenProjectionError,
    },
    /// The tables of a dataflow.
    #[error("tables of dataflow {dataflow:?}: {cause}")]
    DataflowTables {
        /// Its name.
        dataflow: String,
        /// What is wrong.
        cause: StateError,
    },
    /// Checkpoints of a dataflow that are to go, since its tables are emptied.
    #[error("checkpoints of dataflow {dataflow:?}: {cause}")]
    DataflowCheckpoints {
        /// Its name.
        dataflow: String,
        /// What is wrong.
        cause: CheckpointError,
    },
    /// A dataflow.
    #[error(transparent)]
    Dataflow(#[from] StartDataflowError),
    /// A stage.
    #[error(transparent)]
    Stage(#[from] SpawnStageError),
}

/// What did not end in order. Everything acknowledged is durable all the same.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// A stage had been given up, or did not end in time.
    #[error("stage {stage} did not end in order: {cause}")]
    Stage {
        /// Its name.
        stage: String,
        /// What is known of why.
        cause: String,
    },
    /// The log had stopped writing.
    #[error(transparent)]
    Log(LogError),
    /// The derived state was not written to its end; what is missing is made anew from the log.
    #[error(transparent)]
    State(StateError),
}
