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
        "the stored state of {kind} cannot be read as this program's types: {cause}. Give the stage another name and its \
         present one to CheckpointOptions::drop_stages, to begin it empty; or begin anew, with `millstream checkpoint \
         restore DATA DATAFLOW --anew`"
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
         another name and its present one to CheckpointOptions::drop_stages, to begin it empty; or begin anew, with \
         `millstream checkpoint restore DATA DATAFLOW --anew`"
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
         name and its present one to CheckpointOptions::drop_stages, to begin it empty; or begin anew, with `millstream \
         checkpoint restore DATA DATAFLOW --anew`"
    )]
    Parameters {
        /// The operator.
        kind: String,
        /// What was stored.
        stored: String,
        /// What the program has.
        now: String,
    },
    /// The position of a source that read something else.
    #[error(
        "the checkpoint has the position of a source of {stored} where the stage now reads {now}, and what came before it would \
         be read by nobody. If the source of {stored} has moved, give that one this name, with .stage_named(\"…\"), and this \
         one another; a source that is gone is named in CheckpointOptions::drop_stages. To begin all anew: `millstream \
         checkpoint restore DATA DATAFLOW --anew`"
    )]
    OtherSource {
        /// What was read.
        stored: String,
        /// What the stage reads.
        now: String,
    },
    /// A stage is gone whose state is stored.
    #[error(
        "the checkpoint has state of stage {stage:?}, which the dataflow no longer has. If the stage is called otherwise now, \
         give it this name, with .stage_named(\"…\"). Name it in CheckpointOptions::drop_stages if its state may go, or begin \
         anew, with `millstream checkpoint restore DATA DATAFLOW --anew`"
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
    /// There is none with this number.
    #[error("there is no checkpoint {epoch}: `millstream checkpoint list` says which there are")]
    Unknown {
        /// The number.
        epoch: Epoch,
    },
    /// A newer version of this program wrote it.
    #[error(
        "the checkpoint has format {found}, this program knows {known}: run the version that wrote it, or begin anew, with \
         `millstream checkpoint restore DATA DATAFLOW --anew`"
    )]
    Version {
        /// Its format.
        found: u8,
        /// What this program writes.
        known: u8,
    },
    /// The rows of a table have gone on since the checkpoint, which does not have all of them.
    #[error(
        "checkpoint {epoch} has no copy of the rows of stage {stage:?}, which are newer in the table: only the newest \
         checkpoint, and savepoints taken while the stage ran, can be restored. Choose one of these, or begin anew, with \
         `millstream checkpoint restore DATA DATAFLOW --anew`"
    )]
    TablesNewer {
        /// The checkpoint.
        epoch: Epoch,
        /// A stage that writes a table.
        stage: String,
    },
    /// The store failed.
    #[error("checkpoints cannot be read: {0}")]
    Storage(String),
}
