//! Why a query gave no answer.

use std::path::PathBuf;

use datafusion::common::DataFusionError;
use millstream_engine::log::LogError;
use millstream_engine::state::StateError;

/// Why a query gave no answer, or not all of it. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The query is wrong, asks for something that is refused, or failed while it ran; the message says which.
    #[error("{}", message(.0))]
    Query(#[source] DataFusionError),
    /// The folder holds no log.
    #[error("{} holds no event log: there is no {}", folder.display(), file.display())]
    NoLog {
        /// What was to be the data folder.
        folder: PathBuf,
        /// What it lacks.
        file: PathBuf,
    },
    /// The log.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The derived state.
    #[error("the state: {0}")]
    State(#[from] StateError),
    /// The answer could not be written.
    #[error("the answer could not be written: {0}")]
    Output(#[from] std::io::Error),
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        Self::Query(error)
    }
}

/// The cause, without the steps of the plan that it came through.
fn message(error: &DataFusionError) -> String {
    error.strip_backtrace()
}
