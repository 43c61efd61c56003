//! What joins two stages: the lanes between their partitions, and what both sides share.
//!
//! An [`Edge`] is made when a dataflow is declared and connected when it is started, once the receiving stage's
//! mailboxes exist. The sending partition then takes its row of lanes, the receiving one its column.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};

use super::fence::Fence;
use super::message::Message;
use super::resources::Resources;
use crate::batch::{Batch, BatchLimits};
use crate::checkpoint::StageLink;
use crate::event::PartitionId;
use crate::mailbox::{LaneReceiver, LaneSender, Mailbox, MailboxLimits};
use crate::time::Clock;

/// Emptied batches kept for reuse, per edge.
const SPARES: usize = 64;

/// How many items a batch has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchSize {
    /// As many as the receiver's controller finds best, within these limits.
    Dynamic(BatchLimits),
    /// Always so many under load; for measurements.
    Fixed(NonZeroUsize),
}

impl Default for BatchSize {
    fn default() -> Self {
        Self::Dynamic(BatchLimits {
            // A message costs the receiver a microsecond or two, which the model sees; that it also finds its tables
            // in the cache when it works on one batch for longer shows only in `benches ... nexmark --batch`.
            items_min: 4_096,
            items_max: 16_384,
            ..BatchLimits::default()
        })
    }
}

/// How an edge batches and how often it tells the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeOptions {
    /// Items per batch. Default: dynamic.
    pub batch: BatchSize,
    /// Longest that items and watermarks wait in the sender while it goes on working. Milliseconds, default
    /// 5. An idle sender keeps nothing. More: fuller batches; less: earlier results.
    pub linger_ms_max: u64,
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self {
            batch: BatchSize::default(),
            linger_ms_max: 5,
        }
    }
}

impl EdgeOptions {
    pub(super) fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms_max)
    }
}

/// Which partition of a stage an operator works in, and with what.
#[derive(Clone)]
pub struct Wiring {
    /// Name of the stage, as logs and metrics have it. One that was not given to it depends on the stages before it.
    pub stage: Arc<str>,
    /// What its state is found by in a checkpoint. What is outside and outlives a version of the dataflow is named by this:
    /// it goes with the state.
    pub identity: Arc<str>,
    /// Number of this partition, from 0.
    pub partition: usize,
    /// How many partitions the stage has.
    pub partitions: usize,
    /// The stage's: what waits for something that does not come through a lane has it woken then.
    pub mailbox: Arc<Mailbox>,
    /// The engine's clock.
    pub clock: Arc<dyn Clock>,
    /// What sources and sinks need of the engine.
    pub resources: Arc<Resources>,
    /// If checkpoints are taken.
    pub checkpoints: Option<StageLink>,
}

impl Wiring {
    /// The partition as metrics name it.
    pub fn partition_id(&self) -> PartitionId {
        PartitionId(u16::try_from(self.partition).unwrap_or(u16::MAX))
    }

    /// What keeps the run from doing anything once it is given up. One of its own where nobody gives it up.
    pub fn fence(&self) -> Arc<Fence> {
        self.resources.get::<Fence>().unwrap_or_default()
    }
}

impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wiring({}/{})", self.stage, self.partition)
    }
}

/// The sending end of one lane, and how many items its receiver likes in a batch.
pub(super) struct Link<T> {
    pub(super) sender: LaneSender<Message<T>>,
    pub(super) wanted: Arc<AtomicUsize>,
}

/// The receiving end of one lane.
pub(super) struct Port<T> {
    pub(super) receiver: LaneReceiver<Message<T>>,
    pub(super) wanted: Arc<AtomicUsize>,
}

struct Ends<T> {
    /// By sending partition.
    links: Vec<Vec<Link<T>>>,
    /// By receiving partition.
    ports: Vec<Vec<Port<T>>>,
}

/// The lanes from one stage to another.
pub struct Edge<T> {
    options: EdgeOptions,
    spare: Sender<Batch<T>>,
    spares: Receiver<Batch<T>>,
    ends: Mutex<Ends<T>>,
}

impl<T: Send + 'static> Edge<T> {
    /// An edge that joins nothing yet.
    pub fn new(options: EdgeOptions) -> Arc<Self> {
        let (spare, spares) = bounded(SPARES);
        let ends = Ends {
            links: Vec::new(),
            ports: Vec::new(),
        };
        Arc::new(Self {
            options,
            spare,
            spares,
            ends: Mutex::new(ends),
        })
    }

    /// Makes the lanes from `senders` partitions to those that own `mailboxes`: from each to the one of its
    /// number if `one_to_one` (both have as many partitions then), else from each to all. Each lane has a bound of its
    /// own, `limits`: one that is held for a barrier must not keep the others' barriers out.
    ///
    /// # Panics
    /// If `one_to_one` and the numbers differ: whoever declared the edge has checked.
    pub fn connect(
        &self,
        senders: usize,
        mailboxes: &[Arc<Mailbox>],
        one_to_one: bool,
        limits: MailboxLimits,
    ) {
        assert!(
            !one_to_one || senders == mailboxes.len(),
            "lanes one to one need as many senders as receivers"
        );
        let start = match &self.options.batch {
            BatchSize::Dynamic(limits) => limits.items_min,
            BatchSize::Fixed(items) => items.get(),
        };
        let mut links: Vec<Vec<Link<T>>> = (0..senders).map(|_| Vec::new()).collect();
        let mut ports = Vec::new();
        for (number, mailbox) in mailboxes.iter().enumerate() {
            let wanted = Arc::new(AtomicUsize::new(start));
            let mut column = Vec::new();
            for (sender, row) in links.iter_mut().enumerate() {
                if one_to_one && sender != number {
                    continue;
                }
                let (sender, receiver) = mailbox.own_lane(limits);
                let wanted = Arc::clone(&wanted);
                row.push(Link {
                    sender,
                    wanted: Arc::clone(&wanted),
                });
                column.push(Port { receiver, wanted });
            }
            ports.push(column);
        }
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = Ends { links, ports };
    }

    pub(super) fn options(&self) -> &EdgeOptions {
        &self.options
    }

    /// The lanes of one sending partition, once; empty for whoever comes second.
    pub(super) fn take_links(&self, partition: usize) -> Vec<Link<T>> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.links
            .get_mut(partition)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// The lanes of one receiving partition, once; empty for whoever comes second.
    pub(super) fn take_ports(&self, partition: usize) -> Vec<Port<T>> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.ports
            .get_mut(partition)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// An empty batch: one that was used before, or one that allocates at its first item.
    pub(super) fn spare_batch(&self) -> Batch<T> {
        self.spares.try_recv().unwrap_or_default()
    }

    /// Gives an emptied batch back.
    pub(super) fn recycle(&self, batch: Batch<T>) {
        debug_assert!(batch.is_empty(), "only emptied batches are reused");
        // Full: there are enough.
        let _ = self.spare.try_send(batch);
    }
}

impl<T> Link<T> {
    pub(super) fn wanted_items(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }
}

impl<T> fmt::Debug for Edge<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}
