//! What a topology is made of: aggregates and projections, one operator per module.
//!
//! Place: the middle layer, `topologies -> operators -> engine`.

pub mod aggregate;
pub mod breaker;
mod counted;
pub mod failing;
pub mod function;
pub mod join;
mod key;
pub mod keyed;
mod ladder;
mod maybe;
mod optional;
pub mod paced;
mod parameters;
pub mod past;
pub mod pattern;
mod progress;
pub mod projection;
#[cfg(test)]
mod restart;
pub mod sink;
pub mod source;
pub mod stateless;
mod table;
pub mod versioned;
pub mod window;

pub use key::{Key, Savable};
