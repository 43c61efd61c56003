//! Load generators and the benchmark harness of Millstream.
//!
//! Place: above everything, used by nobody. A [suite](suites) runs cases against a real engine in a folder
//! of its own and reports one [`Case`] each: conditions, figures with their unit in the name, and the
//! disk's own figures of the same moment. Invariants: (1) load is the same for the same seed; (2) a suite
//! checks its results (sums, counts) and fails rather than report figures of a wrong run; (3) what is
//! measured is started, warmed up and then timed, never timed from cold unless the case says so.
//! Threads: callers are tokio tasks on the engine's runtime, as they are in a program that embeds it; so
//! what they cost is in the figures.
//! Not here: micro benches of single parts, which are criterion's, in `benches/`.

pub mod bank;
mod case;
pub mod figures;
pub mod flows;
mod folder;
pub mod gate;
mod harness;
pub mod history;
pub mod keyed;
pub mod load;
mod machine;
mod options;
pub mod paired;
pub mod partition;
pub mod runs;
pub mod stored;
pub mod suites;

pub use case::Case;
pub use folder::DataFolder;
pub use harness::{Harness, SEED};
pub use machine::{Machine, cpu_time, resident_bytes, written_bytes};
pub use options::{Options, Suite};
