//! Ready-made topologies: their domains, importers of real data and what a run is checked against.
//!
//! A domain is aggregates, pure functions from events to rows, and readers of files: none of them knows
//! the engine, so each can be driven in memory, which is what its tests do. Only the `run` of a topology
//! needs an engine.

mod bad_line;
pub mod bank;
pub mod nexmark;
pub mod shop;
mod stop;
pub mod table;

pub use stop::StopSignal;

#[cfg(test)]
mod testing;
