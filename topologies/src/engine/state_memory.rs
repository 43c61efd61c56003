//! Memory for the state of all dataflows of an engine, and where what is too much for it goes: stores below `spill/`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_engine::spill::{MemoryBudget, SpillError, SpillStore};

/// Where state lies that is too large for memory.
const FOLDER: &str = "spill";

/// Stores that this process has made: each start of a dataflow has its own, and one that hangs may outlive its engine.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Memory for the state of all dataflows, and where what is too much for it goes.
#[derive(Clone)]
pub(super) struct StateMemory {
    budget: Arc<MemoryBudget>,
    folder: PathBuf,
}

impl StateMemory {
    /// Of so many bytes, and so many on disk for each dataflow, with stores in the data folder `folder`.
    pub(super) fn new(bytes: usize, disk: Option<u64>, folder: &Path) -> Self {
        let budget = Arc::new(MemoryBudget::new(bytes));
        if let Some(disk) = disk {
            budget.set_disk_bytes_max(disk);
        }
        Self {
            budget,
            folder: folder.join(FOLDER),
        }
    }

    pub(super) const fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// A store for one start of a dataflow.
    pub(super) fn store(&self) -> Result<SpillStore, SpillError> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(number.to_string());
        SpillStore::create(&folder, Arc::clone(&self.budget))
    }
}

/// What an earlier process kept of its state on disk is of no use. One that cannot be deleted takes room and does no harm:
/// stores are emptied when they are made.
pub(super) fn forget(folder: &Path) {
    let spilled = folder.join(FOLDER);
    if let Err(error) = std::fs::remove_dir_all(&spilled)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %spilled.display(), %error, "state of an earlier run cannot be deleted");
    }
}
