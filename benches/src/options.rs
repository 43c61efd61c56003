//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Which figures are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Durable commands per second and their latency.
    Commands,
    /// Events appended to the log, with and without the engine around it.
    Append,
    /// The log read from its beginning: bare, and into projections.
    Replay,
    /// A projection built anew beside one that answers, alone and beside live traffic.
    Rebuild,
    /// Time from opening to the first answer, after an orderly end and after a kill.
    Recovery,
    /// Memory of resident aggregates.
    Memory,
    /// Formulas of the field beside what is measured.
    Models,
    /// Dataflows: the Nexmark queries and the keyed tumbling count.
    Nexmark,
    /// Dataflows as one thing grows: windows per event, batches, partitions, load, keys.
    Dataflow,
    /// Dataflows with checkpoints: what they cost, how long they and a restart take.
    Checkpoints,
    /// Projections that keep up with what comes, and callers that wait for their own writes.
    Projection,
    /// Questions to tables: by key, range, index and in a snapshot, from memory and from the store.
    Query,
    /// Questions about the past: aggregates and tables as they were.
    Timetravel,
    /// All of them, each in a process of its own.
    All,
    /// The process that `recovery` kills.
    #[value(hide = true)]
    RecoveryChild,
}

/// Runs one suite of benchmarks, a line per case on standard output.
#[derive(Clone, Debug, Parser)]
#[command(name = "millstream-benches", version)]
pub struct Options {
    /// What to measure.
    pub suite: Suite,
    /// Seconds that each timed case runs, warm-up excluded.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// One JSON object per case instead of a line to read.
    #[arg(long)]
    pub json: bool,
    /// Folder for the stores that are made; a folder inside it is used and removed. Default
    /// `target/bench-data`. It must be on the disk that is to be measured.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Partitions of the stores that are made; what an engine takes by itself if not given.
    #[arg(long)]
    pub partitions: Option<u16>,
    /// Events of the logs that `replay`, `rebuild`, `recovery` and `timetravel` build, and of the dataflows of `nexmark`,
    /// `dataflow` and `checkpoints`.
    #[arg(long)]
    pub events: Option<u64>,
    /// Rounds of the cases that compare two things in turn.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Items per batch of dataflows; chosen while running if not given.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Accounts, keys of the large state of `checkpoints`, or rows of the table of `query`.
    #[arg(long)]
    pub keys: Option<u64>,
    /// Only cases whose name contains this; after `=`, only the case of that name.
    #[arg(long)]
    pub case: Option<String>,
    /// Leaves the log that `replay` builds in the data folder, and uses one found there.
    #[arg(long)]
    pub keep: bool,
}

impl Options {
    /// The defaults for a suite.
    #[must_use]
    pub fn of(suite: Suite) -> Self {
        Self {
            suite,
            seconds: 5.0,
            json: false,
            data: None,
            partitions: None,
            events: None,
            rounds: None,
            batch: None,
            keys: None,
            case: None,
            keep: false,
        }
    }
}
