//! Ready-made topologies: their domains, importers of real data and what a run is checked against.
//!
//! A domain is aggregates, pure functions from events to rows, and readers of files: none of them knows
//! the engine, so each is tested in memory. What runs them, such as [`shop::run`](mod@shop::run), stands apart.

mod bad_line;
pub mod bank;
pub mod shop;
pub mod table;

#[cfg(test)]
mod testing;
