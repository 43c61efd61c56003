//! Limits of an engine.

use std::time::Duration;

use millstream_engine::log::MAP_BYTES_DEFAULT;
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
    /// What is done about stages that hang.
    pub watchdog: WatchdogConfig,
    /// Longest that a shutdown waits for one stage to handle what is queued, or for a writer to end. Default 30 s.
    pub shutdown_deadline: Duration,
}

/// What is done about a stage whose step does not come back, or that makes no step although something waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchdogConfig {
    /// How long a stage may not go on before it is reported. Default 30 s; `None` switches it off. A step should take a
    /// millisecond: less finds hanging code sooner, more lets slow code be.
    pub stalled_after: Option<Duration>,
    /// What is done besides. Default: [`StallPolicy::Restart`].
    pub policy: StallPolicy,
}

/// What is done about a stage of a dataflow that does not go on, besides reporting it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StallPolicy {
    /// The dataflow begins again from its last checkpoint without what hangs, as after a failure and as often.
    #[default]
    Restart,
    /// Nothing.
    Report,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self {
            stalled_after: Some(Duration::from_secs(30)),
            policy: StallPolicy::default(),
        }
    }
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
            map_bytes_max: MAP_BYTES_DEFAULT,
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
            watchdog: WatchdogConfig::default(),
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
