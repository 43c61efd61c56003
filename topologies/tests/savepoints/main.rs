//! Savepoints, the choice of the checkpoint that a start begins from, checkpoints as files, and dataflows that were changed
//! in between. Whatever is begun from, tables hold what the checkpoint says, and then what comes of the input behind it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archives;
mod changes;
#[path = "../support/cli.rs"]
mod cli;
mod damage;
mod left;
mod life;
mod random;
mod restoring;
#[path = "../support/small_files.rs"]
mod small_files;
mod stored;
mod support;
#[path = "../support/within.rs"]
mod within;
