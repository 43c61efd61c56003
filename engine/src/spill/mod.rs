//! State that does not fit into its share of memory: pages of it in a store on disk, for as long as a dataflow runs.
//!
//! Place: tables of operators -> **`spill`** -> `store`; `topologies` says how much memory there is.
//! Invariants: (1) nothing here is the truth: checkpoints hold all state, and a dataflow that begins again finds this
//! store empty; so there are no epochs in it, and no commit is synced; (2) a page is read back as it was written, or the
//! reader is told that it cannot be.
//! Threads: any; writes take turns. Cost: a write is a copy into the system's page cache, a read a copy out of it while it
//! is there. Not here: what is written, and when.

mod budget;
mod store;

pub use budget::{MemoryBudget, MemoryShare};
pub use store::{PageOwner, SpillError, SpillStore};
