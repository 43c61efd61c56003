//! Checkpoints of dataflows: state and positions of all stages as they were at one moment of the input.
//!
//! Place: [`flow`](crate::flow) carries barriers and asks operators for their state, the [`Coordinator`] says when,
//! stores what they give and says when it is complete; `topologies` wires them and restores.
//! A barrier enters every source and follows the items through all lanes; a stage with several lanes takes nothing more
//! from one whose barrier has come until it has those of the others. What a stage holds then has seen exactly the items
//! before the barriers (Chandy and Lamport, "Distributed snapshots", 1985; as in Carbone et al., "Lightweight
//! asynchronous snapshots for distributed dataflows", 2015).
//! Invariants: (1) a checkpoint is seen whole or not at all: its [`Manifest`] is written last, in one transaction;
//! (2) epochs only grow, and what no manifest names is deleted when the next run begins;
//! (3) what an operator gave for a checkpoint that was given up stays part of the later ones, so that whoever gives
//! only what has changed loses nothing.
//! Threads: state is given by the stages' own threads, stored by the state's writer. Failure: a part that cannot be
//! stored ends the coordinator, which ends its dataflow. Cost while none is taken: one load per turn of a stage.
//! Not here: what an operator's state is.

mod archive;
mod control;
mod coordinator;
mod error;
mod in_memory;
mod in_state;
mod manifest;
mod part_bytes;
mod restoring;
mod saved_part;
mod saving;
mod standing;
mod storage;
#[cfg(test)]
mod tests;

pub use archive::{Archive, ArchiveError, export, import, import_chosen, look};
pub use control::{CheckpointFigures, CheckpointStatus, Control, StageLink};
pub use coordinator::{CheckpointOptions, Coordinator, CoordinatorParts, StageShape};
pub use error::CheckpointError;
pub use in_memory::{InMemory, StorageFault};
pub use in_state::InState;
pub use manifest::{Manifest, SlotManifest, StageManifest, StoredPart};
pub use part_bytes::PartBytes;
pub use restoring::{Restoring, SavedCheckpoint};
pub use saved_part::SavedPart;
pub use saving::{Part, Saving};
pub use standing::{Choice, Standing, delete, keep_savepoints};
pub use storage::{CheckpointStorage, Rows, StorageWrite, StoredCallback};

use serde::{Deserialize, Serialize};

/// Number of a checkpoint of a dataflow: from 1, later ones are greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
