//! Queries in SQL against the same computed in plain Rust, over one log of some thousand events of several kinds that was
//! written once; what is pushed down is told by plans and by how much was read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside;
mod events;
mod filters;
mod output;
mod owners;
mod refused;
#[path = "../support/small_files.rs"]
mod small_files;
mod support;
mod tables;
mod versions;
