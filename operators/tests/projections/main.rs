//! What projections promise, each of them stepped by hand on one thread: a test says when an actor has a turn, when the process
//! dies and how much of what it stored is lost. One module per promise or danger.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/sending.rs"]
mod sending;
mod support;

mod begin_again;
mod enrich;
mod lags;
mod letters;
mod outboxes;
mod rebuilds;
mod routed;
mod versions;
mod visible;
