//! When checkpoints are taken.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often and how patiently. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointOptions {
    /// Time from the end of one to the beginning of the next. Default 10 s. Less: less to do again after a failure, and
    /// results that wait for a checkpoint come sooner; more: less to write.
    pub interval_ms: u64,
    /// The same where one is asked for, or an ended stage waits for it. Default 100 ms.
    pub pause_ms_min: u64,
    /// Time after which one is given up. Default 10 min.
    pub timeout_ms: u64,
    /// How many complete ones are kept, savepoints not counted. Default 2.
    pub retained: usize,
    /// How many may be given up in a row before the dataflow stops. Default: any number; the metrics tell.
    pub failures_max: Option<u32>,
    /// Names of stages that the dataflow no longer has, or has under another name, and whose stored state may go. Default:
    /// none, so that a start from a checkpoint with state of such a stage is refused.
    pub drop_stages: Vec<String>,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self {
            interval_ms: 10_000,
            pause_ms_min: 100,
            timeout_ms: 600_000,
            retained: 2,
            failures_max: None,
            drop_stages: Vec::new(),
        }
    }
}

impl CheckpointOptions {
    pub(super) const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    pub(super) const fn pause(&self) -> Duration {
        Duration::from_millis(self.pause_ms_min)
    }

    pub(super) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
