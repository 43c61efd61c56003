//! Dataflows as parts of a topology: what they read of its log, what they leave in tables and in the log.

mod aborting;
mod aligned;
mod checkpoints;
mod ended;
mod endless;
mod failing;
mod hanging;
mod larger_than_memory;
mod late;
mod life;
mod log_checkpoints;
mod log_repeats;
mod log_sink;
mod log_source;
mod log_until;
mod others;
pub(crate) mod support;
mod tables;
mod unreadable;
