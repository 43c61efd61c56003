//! What a checkpoint holds of count windows beside the keys, and whether those fit the windows as they are now.

use std::fmt;

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Count;
use crate::parameters::Parameters;

/// Its kinds of state in checkpoints: of the windows, and of what is saved beside them.
pub(super) const KIND: &str = "count windows";
const BESIDE: &str = "watermark of count windows";

#[derive(Serialize, Deserialize)]
struct Saved {
    size: u64,
    every: u64,
    #[serde(default, skip_serializing_if = "Parameters::are_none")]
    parameters: Parameters,
    watermark: Timestamp,
}

/// As it is read: once it was the watermark alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    Saved(Saved),
    Watermark(Timestamp),
}

/// What was found beside the keys.
pub(super) struct Found {
    pub(super) watermark: Timestamp,
    /// Somewhere it is not said which windows the keys have.
    pub(super) is_unsaid: bool,
}

/// Sizes of windows.
struct Items(u64, u64);

impl fmt::Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(size, every) = self;
        write!(f, "{size} items every {every}")
    }
}

impl Count {
    pub(super) fn save(
        &self,
        parameters: String,
        watermark: Timestamp,
        saving: &mut Saving,
    ) -> Result<(), CheckpointError> {
        let &Self { size, every, .. } = self;
        let saved = Saved {
            size,
            every,
            parameters: Parameters(parameters),
            watermark,
        };
        saving.whole(BESIDE, &saved)
    }

    /// # Errors
    /// [`CheckpointError::Parameters`]: the windows that were stored have other numbers of items, or other parameters.
    pub(super) fn restore(
        &self,
        parameters: &str,
        restoring: &mut Restoring,
    ) -> Result<Found, CheckpointError> {
        let mut found = Found {
            watermark: Timestamp::MIN,
            is_unsaid: false,
        };
        for read in restoring.whole::<Read>(BESIDE)? {
            let watermark = match read {
                Read::Saved(saved) if (saved.size, saved.every) == (self.size, self.every) => {
                    let now = parameters.to_owned();
                    saved.parameters.check(KIND, now, restoring)?;
                    saved.watermark
                }
                Read::Saved(saved) => {
                    let stored = Items(saved.size, saved.every).to_string();
                    return Err(self.refuse(stored, restoring));
                }
                Read::Watermark(watermark) => {
                    found.is_unsaid = true;
                    watermark
                }
            };
            found.watermark = found.watermark.max(watermark);
        }
        Ok(found)
    }

    /// For windows of `stored`, which are not these.
    pub(super) fn refuse(&self, stored: String, restoring: &Restoring) -> CheckpointError {
        restoring.fail(CheckpointError::Parameters {
            kind: KIND.to_owned(),
            stored,
            now: Items(self.size, self.every).to_string(),
        })
    }
}
