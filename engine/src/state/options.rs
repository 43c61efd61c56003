//! Limits of the state environment and its writer.

use serde::{Deserialize, Serialize};

/// Limits of the state environment and its writer, fixed while it is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateOptions {
    /// Address space reserved for the file, in bytes, default 256 GiB; no disk is used by it. The state
    /// cannot outgrow it without being opened again.
    pub map_bytes_max: u64,
    /// Bytes by which the file grows ahead of its use, default 64 MiB, 0 to 1 GiB; 0 leaves it to LMDB.
    pub preallocate_step_bytes: u64,
    /// Reads at the same moment in all processes, default 1,024.
    pub max_readers: u32,
    /// Bytes of leaf pages checked at open, default 64 MiB. More: damage is found at open; less: a
    /// faster open.
    pub check_bytes_max: u64,
    /// Batches that wait for the writer before callers do, default 256, at least 1. More: bursts; less:
    /// memory and latency.
    pub queue_batches: usize,
    /// Memory of batches from submission to answer before callers wait, in bytes, default 64 MiB. A larger
    /// batch is taken when nothing else is on its way. More: bursts; less: memory.
    pub queue_bytes_max: u64,
    /// Bytes of one commit group, default 64 MiB, each write counted as its bytes and a page. A larger
    /// batch is a group of its own. More: fewer syncs; less: shorter commits. LMDB spills above 500 MiB.
    pub group_bytes_max: u64,
    /// Snapshots over this size in bytes are stored as changes where that pays, default 64 KiB.
    pub snapshot_delta_bytes_min: usize,
    /// Stored parts of one snapshot, the full one and changes to it: default 8, 1 to 255. More: fewer
    /// bytes written; less: faster reads. 1 stores no changes.
    pub snapshot_links_max: u8,
    /// Earlier snapshots of a stream that are kept beside the newest, spread over its events: default 16. Questions
    /// about an aggregate's past replay at most about 2/16 of its events, or two snapshot intervals. More: faster
    /// answers about the past; less: disk, of which each takes the size of the state. 0 keeps none, and the past
    /// before the newest snapshot is replayed from the stream's beginning.
    pub snapshot_earlier_max: u16,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            map_bytes_max: 256 << 30,
            preallocate_step_bytes: 64 << 20,
            max_readers: 1_024,
            check_bytes_max: 64 << 20,
            queue_batches: 256,
            queue_bytes_max: 64 << 20,
            group_bytes_max: 64 << 20,
            snapshot_delta_bytes_min: 64 << 10,
            snapshot_links_max: 8,
            snapshot_earlier_max: 16,
        }
    }
}
