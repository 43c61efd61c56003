//! Parameters of the function that computes what is stored, where that depends on them.
//!
//! Stored as text beside the state, and only where there are any: what was stored without them is taken as it is.

#[cfg(test)]
mod tests;

use millstream_engine::checkpoint::{CheckpointError, Restoring};
use serde::{Deserialize, Serialize};

/// What a function says of itself; empty if it has no such parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Parameters(pub(crate) String);

impl Parameters {
    pub(crate) const fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// [`CheckpointError::Parameters`]: state of `kind` was stored with these, and the function now has others.
    pub(crate) fn check(
        self,
        kind: &str,
        now: String,
        restoring: &Restoring,
    ) -> Result<(), CheckpointError> {
        if self.are_none() || self.0 == now {
            return Ok(());
        }
        let now = if now.is_empty() {
            "none of that".to_owned()
        } else {
            now
        };
        Err(restoring.fail(CheckpointError::Parameters {
            kind: kind.to_owned(),
            stored: self.0,
            now,
        }))
    }
}
