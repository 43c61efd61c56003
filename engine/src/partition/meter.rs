//! What a partition shows of itself: load, batches, mailbox.
//!
//! Counters are touched once per turn; figures that take more than a store are shown once a second.

use std::time::Duration;

use crate::batch::BatchController;
use crate::event::PartitionId;
use crate::mailbox::Mailbox;
use crate::metrics::{BatchMetrics, LoadMeter, MailboxMetrics, PartitionMetrics};

/// Time between two looks at what changes slowly.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// Busy share below which a partition counts as idle.
const AT_REST: f64 = 0.001;
/// Name of the stage in labels.
const STAGE: &str = "partition";

#[derive(Debug)]
pub(super) struct Meter {
    partition: PartitionMetrics,
    mailbox: MailboxMetrics,
    batch: BatchMetrics,
    load: LoadMeter,
    shown_at: Duration,
    turns: Turns,
    /// Items that were left after the last turn.
    left: usize,
}

/// What happened since the load was last shown.
#[derive(Debug, Default)]
struct Turns {
    arrived: u64,
    served: u64,
    busy: Duration,
}

impl Meter {
    pub(super) fn new(partition: PartitionId, now: Duration) -> Self {
        Self {
            partition: PartitionMetrics::new(partition),
            mailbox: MailboxMetrics::new(STAGE, partition),
            batch: BatchMetrics::new(STAGE, partition),
            load: LoadMeter::new(),
            shown_at: now,
            turns: Turns::default(),
            left: 0,
        }
    }

    pub(super) fn waited(&self, wait: Duration) {
        self.mailbox.observe_wait(Some(wait));
    }

    /// Records a turn that took `items` between two moments and left `left` of what had arrived.
    pub(super) fn turn(&mut self, items: usize, left: usize, start: Duration, end: Duration) {
        let elapsed = end.saturating_sub(start);
        let arrived = (items + left).saturating_sub(self.left) as u64;
        self.left = left;
        self.batch.observe_batch(items, elapsed);
        self.partition.observe_turn(arrived, items as u64);
        self.turns.arrived += arrived;
        self.turns.served += items as u64;
        self.turns.busy += elapsed;
    }

    /// Shows what changes slowly, once a second, also while nothing comes. Gives whether there is more to
    /// show: figures that have not come to rest yet.
    pub(super) fn show(
        &mut self,
        now: Duration,
        controller: &BatchController,
        mailbox: &Mailbox,
    ) -> bool {
        let wall = now.saturating_sub(self.shown_at);
        if wall >= SHOW_EVERY {
            let turns = std::mem::take(&mut self.turns);
            self.load
                .observe(turns.arrived, turns.served, turns.busy, wall);
            self.partition.observe_load(&self.load);
            self.batch.observe_controller(controller);
            self.mailbox.observe(&mailbox.statistics());
            self.shown_at = now;
        }
        self.turns.served > 0 || self.load.busy_share() > AT_REST
    }
}
