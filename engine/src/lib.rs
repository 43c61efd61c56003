//! The runtime of Millstream: an event log, partitions with one writer each, mailboxes, stages and
//! the state that is derived from the log.
//!
//! Place: the lowest of the three layers, `topologies -> operators -> engine`. It knows no operator
//! by name. Start with the `millstream` crate unless you are writing an operator of your own.

// Without unwinding the first panic in a handler, an aggregate or a stage would end the whole process, and nothing would say so
// before it happens.
#[cfg(panic = "abort")]
compile_error!(
    "Millstream isolates panics of user code by unwinding, which `panic = \"abort\"` takes away: remove it from the \
     profile in Cargo.toml, or `-C panic=abort` from RUSTFLAGS"
);

pub mod batch;
pub mod checkpoint;
pub mod codec;
pub mod event;
pub mod fail_points;
pub mod flow;
pub mod index;
pub mod log;
pub mod mailbox;
pub mod metrics;
pub mod partition;
pub mod runtime;
pub mod spill;
pub mod stage;
pub mod state;
pub mod store;
pub mod threads;
pub mod time;
