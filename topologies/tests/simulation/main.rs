//! Simulation: everything on one thread, stepped in an order that a seed chooses, with a clock of the test's, crashes at any
//! step, and storage that fails and loses what was not forced to the disk.
//!
//! `engine`: the whole engine against a model. The other modules: a dataflow of each operator with checkpoints; whatever
//! happens, what is let out must be what a run without a crash gives, each result once. `runner`: many seeds over all of it.
//!
//! A failure names its seed; `MILLSTREAM_SEEDS=FROM..TO` runs others than the usual ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod joins;
mod killed;
mod other_windows;
mod processes;
mod runner;
mod settle;
mod simulation;
mod sinks;
mod tally;
mod windows;
