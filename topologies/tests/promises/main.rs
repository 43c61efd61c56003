//! What an engine promises, tested through [`millstream::Engine`] as its users see it: one module per
//! promise or danger.
//!
//! Nothing here sleeps to let something happen: a test waits for an answer or a condition, and
//! [`support::within`] only turns a hang into a failure. Seeds are printed, and `SEED=` replays one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::too_many_lines,
    reason = "a scenario is read from top to bottom"
)]

#[path = "../../../engine/tests/support/mod.rs"]
mod processes;
#[path = "../support/small_files.rs"]
mod small_files;
mod support;

mod activation;
mod appends;
mod batches;
mod clocks;
mod commands;
mod conflicts;
mod crowd;
mod damage;
mod effects;
mod enrich;
mod enrich_chain;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod failing_disk;
mod failing_events;
mod hanging;
mod killed_readers;
mod kills;
mod orders;
mod panics;
mod parked_keys;
mod past;
mod past_tables;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod power_loss;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod preloaded;
mod projected_commands;
mod projections;
mod queries;
mod read_versions;
mod reading;
mod rebuilds;
mod repeats;
mod routed;
mod selections;
mod settled_letters;
mod shutdown;
mod signals;
mod snapshots;
mod subscriptions;
mod tokens;
mod unreadable_events;
mod unwritable_rows;
mod versions;
