//! Ready-made topologies: their domains, importers of real data and what a run is checked against.
//!
//! Nothing here knows the engine: a domain is aggregates, pure functions from events to rows, and
//! readers of files. So each can be driven in memory, which is what its tests do.

mod bad_line;
pub mod bank;
pub mod shop;
pub mod table;

#[cfg(test)]
mod testing;
