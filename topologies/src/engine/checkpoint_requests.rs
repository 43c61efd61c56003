//! Requests of the command line that a dataflow of the running engine answers: to take a savepoint, or delete one.
//!
//! Place: `checkpoint create|delete` -> [`asking`](super::asking) -> **here** -> the dataflow.

use millstream_engine::checkpoint::Epoch;
use serde::{Deserialize, Serialize};

use super::{Engine, asking};

/// What such questions are called.
pub(crate) const KIND: &str = "checkpoint";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) dataflow: String,
    pub(crate) action: Action,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Take a savepoint.
    Create,
    /// Delete one.
    Delete(Epoch),
}

/// Has tasks take up what was asked.
pub(super) fn take_up(engine: &Engine) {
    asking::take_up(engine, KIND, answer);
}

/// The checkpoint that was taken or deleted, or why not.
async fn answer(engine: Engine, request: Request) -> Result<Epoch, String> {
    let name = &request.dataflow;
    let found = engine.dataflows().iter().find(|flow| flow.name() == name);
    let dataflow = found.ok_or_else(|| format!("the engine runs no dataflow {name:?}"))?;
    match request.action {
        Action::Create => dataflow
            .savepoint()
            .await
            .map_err(|error| error.to_string()),
        Action::Delete(epoch) => {
            let deleted = dataflow.delete_savepoint(epoch).await;
            deleted.map(|()| epoch).map_err(|error| error.to_string())
        }
    }
}
