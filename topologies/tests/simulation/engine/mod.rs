//! The whole engine, simulated: partitions with their aggregates and raw appends, the log's and the state's writer,
//! projections, and a dataflow from the log to the log and to a table, all of them the cores that run in production,
//! stepped on one thread in an order that a seed chooses, with a clock of the test's.
//!
//! Below them lie the log and the state as they are, on disks in memory ([`SimulatedDisk`](millstream_engine::store)) that
//! fail to write or to sync, are full, and lose with the power what was not forced to them. Callers send commands, with ids
//! and without, alone and in bulks, repeat them, append events and decide about dead letters; user code fails and panics;
//! the process dies at any step.
//! What must hold (`model.rs`, `contents.rs`): what was acknowledged is there, once, where it was said to be; nothing of what
//! was refused is; an operation is there as a whole or not at all, once, also where nobody was told; offsets and versions
//! have no gap; nothing is seen before it is stored, nothing twice and nothing left out; decisions were made on all that came
//! before; rows and the dataflow's output are what a replay gives, also in the course (`meanwhile.rs`). A life may end in order
//! (`ending.rs`): then everybody was answered, and all that was shown is stored.
//! Not here: threads, timers of the runtime, files.

mod actor;
mod clients;
mod contents;
mod course;
mod ending;
mod meanwhile;
mod model;
mod process;
mod shape;
mod topology;

use crate::simulation::seeds;

/// A seed after the other; the runner gives one.
#[test]
pub(crate) fn the_whole_engine() {
    for seed in seeds(20) {
        course::simulate(seed);
    }
}

/// Goal: what a seed has found is found again by it.
#[test]
fn a_seed_does_the_same_again() {
    for seed in seeds(5) {
        assert_eq!(
            course::simulate(seed),
            course::simulate(seed),
            "seed {seed}"
        );
    }
}
