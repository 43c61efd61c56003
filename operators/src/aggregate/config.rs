//! Limits of the aggregates of one type.

use serde::{Deserialize, Serialize};

/// Limits of one aggregate type in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AggregateConfig {
    /// Memory of resident instances before some are passivated. Bytes, default 256 MiB. An estimate: places
    /// are counted exactly, heap memory by encoded size. Those whose events are being written stay; where they alone
    /// take more than half of it, the others may take the other half beside them.
    pub resident_bytes_max: u64,
    /// Time without a command after which an instance may be passivated. Seconds, default 600.
    pub idle_seconds_max: u32,
    /// Time that an activation should take at most, which bounds the events between two snapshots.
    /// Microseconds, default 5,000. More: fewer snapshots; less: faster first commands.
    pub reload_target_us: u64,
}

impl Default for AggregateConfig {
    fn default() -> Self {
        Self {
            resident_bytes_max: 256 << 20,
            idle_seconds_max: 600,
            reload_target_us: 5_000,
        }
    }
}
