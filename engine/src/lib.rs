//! The runtime of Millstream: an event log, partitions with one writer each, mailboxes, stages and
//! the state that is derived from the log.
//!
//! Place: the lowest of the three layers, `topologies -> operators -> engine`. It knows no operator
//! by name. Start with the `millstream` crate unless you are writing an operator of your own.

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
