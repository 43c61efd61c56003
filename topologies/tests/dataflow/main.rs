//! Dataflows against naive models of the whole input: results must not depend on batch size, partition count or the
//! order in which stages are stepped.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aligned_windows;
mod channels;
mod clocks;
mod deliveries;
mod driver;
mod endings;
mod engine;
mod event_time;
mod failing;
mod faults;
mod files;
mod forks;
mod joins;
mod other_windows;
mod paced;
mod patterns;
mod pre_aggregated;
mod pressure;
mod processes;
mod repeats;
mod revisions;
mod session_windows;
#[path = "../support/small_files.rs"]
mod small_files;
mod stopping;
mod stubborn;
mod support;
mod swapped_files;
mod triggered_windows;
mod varying;
#[path = "../support/within.rs"]
mod within;
