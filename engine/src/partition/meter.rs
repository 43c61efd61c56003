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
}

/// What happened since the load was last shown.
#[derive(Debug, Default)]
struct Turns {
    items: u64,
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
        }
    }

    pub(super) fn waited(&self, wait: Duration) {
        self.mailbox.observe_wait(Some(wait));
    }

    /// Records a turn that took `items` between two moments.
    pub(super) fn turn(
        &mut self,
        items: usize,
        start: Duration,
        end: Duration,
        controller: &BatchController,
        mailbox: &Mailbox,
    ) {
        let elapsed = end.saturating_sub(start);
        self.batch.observe_batch(items, elapsed);
        self.partition.observe_turn(items as u64, items as u64);
        self.turns.items += items as u64;
        self.turns.busy += elapsed;
        let wall = end.saturating_sub(self.shown_at);
        if wall >= SHOW_EVERY {
            let turns = std::mem::take(&mut self.turns);
            self.load
                .observe(turns.items, turns.items, turns.busy, wall);
            self.partition.observe_load(&self.load);
            self.batch.observe_controller(controller);
            self.mailbox.observe(&mailbox.statistics());
            self.shown_at = end;
        }
    }
}
