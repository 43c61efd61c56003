//! Dataflows in processes that are killed: whatever moment kill -9 chooses, what is there in the end is what a run gives
//! that nobody disturbed.
//!
//! From a seed come a dataflow over the log, its input, and when each process dies. [`victim`] is such a process: it runs the
//! dataflow with checkpoints, appends input meanwhile and is killed, over and over, each time with other batches, mailboxes
//! and partitions. The last one is left alone. Compared are tables, events with their ids, files and deliveries with those of
//! a run without checkpoints over the same input, which some dataflows also have a [`model`] for. A kill keeps what the kernel
//! holds: power loss is simulated in the tests of checkpoints.
//!
//! `MILLSTREAM_TORTURE_KILLS=` says how many processes are killed at least, 30 if it says nothing; seeds are printed, and
//! `MILLSTREAM_TORTURE_SEED=` runs one of them again. When the processes come to what is not the same each time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod flows;
mod model;
mod outcome;
mod plan;
#[cfg(feature = "failpoints")]
mod points;
#[path = "../../../engine/tests/support/mod.rs"]
mod processes;
mod rounds;
#[cfg(feature = "failpoints")]
#[path = "../../../operators/tests/support/sending.rs"]
mod sending;
#[path = "../support/small_files.rs"]
mod small_files;
mod victim;
#[path = "../support/within.rs"]
mod within;

use uuid::Uuid;

const SEED: &str = "MILLSTREAM_TORTURE_SEED";

/// Whatever is killed when: each result is there, once.
#[test]
fn killed_dataflows_come_to_what_undisturbed_ones_do() {
    let kills = processes::number_of("MILLSTREAM_TORTURE_KILLS", 30);
    if std::env::var(SEED).is_ok() {
        rounds::torture(processes::number_of(SEED, 0));
        return;
    }
    // Its lower half is chance.
    let first = Uuid::now_v7().as_u128() as u64;
    let (mut killed, mut seed) = (0, first);
    // Each kind once, at least.
    while killed < kills || seed.wrapping_sub(first) < flows::KINDS.len() as u64 {
        killed += rounds::torture(seed);
        seed = seed.wrapping_add(1);
    }
    eprintln!("{killed} processes were killed");
}
