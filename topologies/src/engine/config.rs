//! Limits of an engine.

use std::time::Duration;

use millstream_engine::partition::{InvalidPartitionConfig, PartitionConfig};
use millstream_engine::stage::RestartPolicy;
use millstream_engine::state::StateOptions;
use serde::{Deserialize, Serialize};

/// Limits of an engine; checked once when it opens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Partitions of a new store, 1..=1,024; an existing one keeps its own, and asking for another number
    /// is an error. Default: what the store has, 4 for a new one. More: more cores can take part; less:
    /// larger frames.
    pub partitions: Option<u16>,
    /// Limits of each partition.
    pub partition: PartitionConfig,
    /// Limits of the log's file.
    pub log: LogConfig,
    /// Limits of the derived state.
    pub state: StateOptions,
    /// How often a stage that failed is started again.
    pub restart: RestartPolicy,
    /// Longest that a shutdown waits for one stage to handle what is queued. Default 30 s.
    pub shutdown_deadline: Duration,
}

/// Limits of the log's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Address space reserved for the log, in bytes, default 1 TiB; no disk is used by it. The log
    /// cannot outgrow it without being opened again.
    pub map_bytes_max: u64,
    /// Bytes by which the file grows ahead of its use. Default 64 MiB.
    pub preallocate_step_bytes: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            map_bytes_max: 1 << 40,
            preallocate_step_bytes: 64 << 20,
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            partitions: None,
            partition: PartitionConfig::default(),
            log: LogConfig::default(),
            state: StateOptions::default(),
            restart: RestartPolicy::default(),
            shutdown_deadline: Duration::from_secs(30),
        }
    }
}

/// Partitions of a new store that nobody said a number for.
pub(super) const PARTITIONS: u16 = 4;

impl EngineConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`InvalidPartitionConfig`] names the first field that is out of range.
    pub fn validate(&self) -> Result<(), InvalidPartitionConfig> {
        if self.partitions.is_some_and(|n| !(1..=1_024).contains(&n)) {
            return Err(InvalidPartitionConfig::Field {
                field: "partitions",
                wanted: "in 1..=1,024",
            });
        }
        self.partition.validate()
    }
}
