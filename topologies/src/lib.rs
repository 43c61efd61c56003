//! Millstream: event sourcing, CQRS and stream processing in one engine.

pub mod catalog;
pub mod cli;
pub mod money;
