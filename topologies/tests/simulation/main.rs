//! Checkpoints of dataflows, simulated: stages, coordinator and storage on one thread, stepped in an order that a seed
//! chooses, with a clock of the test's, crashes at any step, and storage that loses what was not forced to the disk.
//! Whatever happens, what is let out must be what a run without a crash gives, each result once.
//!
//! A failure names its seed; `MILLSTREAM_SEEDS=FROM..TO` runs others than the usual ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod joins;
mod other_windows;
mod processes;
mod runner;
mod settle;
mod simulation;
mod sinks;
mod tally;
mod windows;
