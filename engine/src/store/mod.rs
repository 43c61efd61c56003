//! The key-value store under the log and the derived state: LMDB, opened, checked and written here.
//!
//! Place: **`store`** <- `log`, `state`, `spill`. The only module that opens a heed environment; heed types stop
//! here, callers see byte keys, byte values and [`Table`] handles.
//! Invariants: (1) LMDB never maps a file shorter than its meta page says, and touches no page of it
//! before [`structure`] has walked the tree: damage is a [`StoreError`], not a signal; (2) one
//! [`Writer`] per environment; (3) after a commit, allocation or map failure the writer refuses all
//! later work ([`StoreError::Stopped`]): the environment is opened again by a new process.
//! Simulations put a [`SimulatedDisk`] in the place of LMDB, which is one look at an enum per operation.
//! Threads: [`Environment`] clones cheaply, readers never wait for the writer; [`Writer`] belongs to one
//! thread.
//! Cost: a read transaction takes a slot in a shared table (a short lock); a commit is one fdatasync of
//! data and, with [`Durability::Full`], one synchronous write of the meta page.
//! Not here: checksums of values (frames carry their own), record formats, network file systems: LMDB
//! does not work on them (locks and maps are not coherent there).

mod environment;
mod error;
mod folder_lock;
mod folders;
mod meta;
mod options;
mod page;
mod preallocation;
mod reader;
mod reset;
mod simulated;
pub mod structure;
mod writer;

pub use environment::{Environment, Table};
pub use error::StoreError;
pub use folder_lock::FolderLock;
pub use options::{Durability, EnvironmentOptions};
pub use reader::{Entries, Entry, Reader};
pub use reset::{OpenedState, open_or_reset, reset};
pub use simulated::{DiskFault, SimulatedDisk};
pub use writer::{WriteTxn, Writer};

/// Longest key that LMDB takes, in bytes. Hash longer ones or refuse them.
pub const KEY_BYTES_MAX: usize = 511;

#[cfg(test)]
mod tests;
