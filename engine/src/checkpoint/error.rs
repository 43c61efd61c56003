//! What can go wrong with a checkpoint.

use super::Epoch;

/// A checkpoint cannot be taken, read or restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A value cannot be written.
    #[error("the state of {kind} cannot be written: {cause}")]
    Encode {
        /// The operator.
        kind: String,
        /// Why.
        cause: String,
    },
    /// Stored state is not what this program's operator reads.
    #[error(
        "the stored state of {kind} cannot be read as this program's types: {cause}. Give the state another name to \
         begin it empty, or start without the checkpoint"
    )]
    Decode {
        /// The operator.
        kind: String,
        /// Why.
        cause: String,
    },
    /// The operators of a stage are others than those that gave the state.
    #[error(
        "the checkpoint has the state of {found} where the stage now has {expected}: the stage was changed. Give it \
         another name to begin it empty, or start without the checkpoint"
    )]
    Changed {
        /// What the program has.
        expected: String,
        /// What was stored.
        found: String,
    },
    /// An operator has other parameters than what it stored goes by.
    #[error(
        "the checkpoint has {kind} of {stored}, the stage now has {now}: what is stored does not fit. Give the stage another \
         name to begin it empty, or start without the checkpoint"
    )]
    Parameters {
        /// The operator.
        kind: String,
        /// What was stored.
        stored: String,
        /// What the program has.
        now: String,
    },
    /// A stage is gone whose state is stored.
    #[error(
        "the checkpoint has state of stage {stage:?}, which the dataflow no longer has. Start without the checkpoint, or \
         say that the state may be dropped"
    )]
    Removed {
        /// The stage.
        stage: String,
    },
    /// A part that a manifest names is not there, or damaged.
    #[error("checkpoint {epoch} is damaged: {what}")]
    Damaged {
        /// The checkpoint.
        epoch: Epoch,
        /// What was found.
        what: String,
    },
    /// The store failed.
    #[error("checkpoints cannot be read: {0}")]
    Storage(String),
}
