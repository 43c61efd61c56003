//! How a dataflow runs.

use std::num::NonZeroUsize;

use millstream_engine::checkpoint::CheckpointOptions;
use millstream_engine::flow::EdgeOptions;
use millstream_engine::mailbox::MailboxLimits;

/// How a dataflow runs unless a part of it says otherwise.
#[derive(Clone, Debug)]
pub struct FlowOptions {
    /// Partitions of each stage. Default: one per processor, at most 16.
    pub partitions: usize,
    /// Batches between stages.
    pub edges: EdgeOptions,
    /// Batches (not items) that wait before each partition of a stage, and their bytes, shared out among the partitions that
    /// send to it (at least two batches each). Default: 64 and 1 MiB. More: longer bursts; less: fresher caches.
    pub mailbox: MailboxLimits,
    /// When checkpoints are taken, in an engine. Default: every ten seconds, and each start goes on from the last. `None`:
    /// never, so that each start begins anew.
    pub checkpoints: Option<CheckpointOptions>,
    /// Threads that the dataflow has for itself, beside those of the engine's runtime: for sinks and functions that may block
    /// or hang, which keep a thread of others otherwise until the watchdog sees it. Default: none. One more than there are
    /// partitions of what may hang lets the rest of the dataflow go on. Cost: threads that take turns with the engine's.
    pub own_threads: Option<NonZeroUsize>,
}

impl Default for FlowOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |number| number.get());
        Self {
            partitions: processors.min(16),
            edges: EdgeOptions::default(),
            mailbox: MailboxLimits {
                items_max: const { std::num::NonZeroU32::new(64).unwrap() },
                bytes_max: const { std::num::NonZeroU64::new(1 << 20).unwrap() },
            },
            checkpoints: Some(CheckpointOptions::default()),
            own_threads: None,
        }
    }
}
