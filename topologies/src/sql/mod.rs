//! SQL over the log, its streams and the tables of projections and dataflows, by DataFusion.
//!
//! Place: a running engine ([`Engine::sql`](crate::Engine::sql)) or a data folder ([`SqlSession::open`], `millstream sql`)
//! -> **session** -> DataFusion's frames and record batches, or text and files ([`SqlFormat`]). Invariants: (1) nothing is
//! written: what would change, create or copy anything is refused; (2) a session sees the log as it ended when it began,
//! and the tables of a running projection as they were when the first of them was first asked for; (3) no row is left out for
//! what it holds: what cannot be shown as it is stands as JSON text, or is an error.
//! Threads: reads run on threads for work that blocks, the rest on the caller's runtime. Bounds: batches of some
//! thousand rows, a few of them ahead; sorts, groups and joins within [`SqlOptions::memory_bytes`], beyond which they
//! go through files or fail. Cost: a feature of its own, `sql`, off by default: it takes DataFusion, and minutes of
//! compiling. Not here: writing, materialized answers.

mod at_rest;
mod catalog;
mod constraint;
mod error;
mod events;
mod functions;
mod output;
mod plan;
mod ranges;
mod rows;
mod session;

pub use error::SqlError;
pub use output::{SqlFormat, write_to};
pub use session::{SqlOptions, SqlSession};

pub(crate) use catalog::{Opened, TableName, Tables};
pub(crate) use rows::RowsOf;

/// The library that parses and runs queries, as this one uses it: its frames and record batches are in the answers.
pub use datafusion;
