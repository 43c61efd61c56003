//! Handles of what flows: load of partitions, mailboxes, batches.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::labels::Labels;
use super::{LoadMeter, catalog, skew};
use crate::batch::BatchController;
use crate::checkpoint::CheckpointFigures;
use crate::event::PartitionId;
use crate::flow::StageLoad;
use crate::mailbox::MailboxStatistics;
use crate::time::Timestamp;

/// Load of one partition. Label: `partition`.
#[derive(Clone, Debug)]
pub struct PartitionMetrics {
    arrived: Counter,
    served: Counter,
    arrivals_per_second: Gauge,
    service_seconds: Gauge,
    utilisation: Gauge,
    busy: Gauge,
    stalled: Gauge,
}

impl PartitionMetrics {
    /// Takes the handles of one partition.
    pub fn new(partition: PartitionId) -> Self {
        let labels = Labels::partition(partition);
        Self {
            arrived: labels.counter(catalog::PARTITION_ARRIVED_TOTAL),
            served: labels.counter(catalog::PARTITION_SERVED_TOTAL),
            arrivals_per_second: labels.gauge(catalog::PARTITION_ARRIVALS_PER_SECOND),
            service_seconds: labels.gauge(catalog::PARTITION_SERVICE_SECONDS),
            utilisation: labels.gauge(catalog::PARTITION_UTILISATION_RATIO),
            busy: labels.gauge(catalog::PARTITION_BUSY_RATIO),
            stalled: labels.gauge(catalog::PARTITION_STALLED_SECONDS),
        }
    }

    /// Counts the items of one turn.
    pub fn observe_turn(&self, arrived: u64, served: u64) {
        self.arrived.increment(arrived);
        self.served.increment(served);
    }

    /// Shows how long the present turn goes on already; zero while turns end in time. Told by somebody else
    /// than the partition, which cannot while it is stuck.
    pub fn observe_stalled(&self, busy: Duration) {
        self.stalled.set(busy);
    }

    /// Shows what the partition's meter says now.
    pub fn observe_load(&self, meter: &LoadMeter) {
        self.arrivals_per_second.set(meter.arrivals_per_second());
        self.service_seconds.set(meter.service_seconds());
        self.utilisation.set(meter.utilisation());
        self.busy.set(meter.busy_share());
    }
}

/// Shows the skew of what was stored since the last look, in events, one figure per partition. Called by whoever sees all of
/// them, about once a second: it looks its gauge up each time. Without labels.
pub fn observe_skew(events_stored: &[f64]) {
    Labels::none()
        .gauge(catalog::PARTITION_SKEW_RATIO)
        .set(skew(events_stored));
}

/// One mailbox. Labels: `stage`, `partition`.
#[derive(Clone, Debug)]
pub struct MailboxMetrics {
    items: Gauge,
    credits: Gauge,
    limit_credits: Gauge,
    wait_seconds: Histogram,
    refused: Counter,
    backpressure_waits: Counter,
    backpressure_microseconds: Counter,
}

impl MailboxMetrics {
    /// Takes the handles of the mailbox of `stage` in `partition`.
    pub fn new(stage: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("stage", stage, partition);
        Self {
            items: labels.gauge(catalog::MAILBOX_ITEMS),
            credits: labels.gauge(catalog::MAILBOX_CREDITS),
            limit_credits: labels.gauge(catalog::MAILBOX_LIMIT_CREDITS),
            wait_seconds: labels.histogram(catalog::MAILBOX_WAIT_SECONDS),
            refused: labels.counter(catalog::MAILBOX_REFUSED_TOTAL),
            backpressure_waits: labels.counter(catalog::MAILBOX_BACKPRESSURE_WAITS_TOTAL),
            backpressure_microseconds: labels
                .counter(catalog::MAILBOX_BACKPRESSURE_MICROSECONDS_TOTAL),
        }
    }

    /// Records what [`Mailbox::begin_turn`](crate::mailbox::Mailbox::begin_turn) gave.
    pub fn observe_wait(&self, waited: Option<Duration>) {
        if let Some(waited) = waited {
            self.wait_seconds.record(waited);
        }
    }

    /// Shows the figures of the mailbox. Its totals are taken over as they are, so calling twice counts
    /// nothing twice; those of a mailbox made anew show only once they pass the old ones.
    pub fn observe(&self, figures: &MailboxStatistics) {
        self.items.set(figures.items as f64);
        self.credits.set(figures.credits_used);
        self.limit_credits.set(figures.credits_total);
        self.refused.absolute(figures.refused_total);
        self.backpressure_waits.absolute(figures.waits_total);
        let waited = u64::try_from(figures.waited.as_micros()).unwrap_or(u64::MAX);
        self.backpressure_microseconds.absolute(waited);
    }
}

/// The batches of one receiver. Labels: `stage`, `partition`.
#[derive(Clone, Debug)]
pub struct BatchMetrics {
    items: Histogram,
    seconds: Histogram,
    fixed_seconds: Gauge,
    item_seconds: Gauge,
    target_items: Gauge,
}

impl BatchMetrics {
    /// Takes the handles of the batches of `stage` in `partition`.
    pub fn new(stage: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("stage", stage, partition);
        Self {
            items: labels.histogram(catalog::BATCH_ITEMS),
            seconds: labels.histogram(catalog::BATCH_SECONDS),
            fixed_seconds: labels.gauge(catalog::BATCH_FIXED_SECONDS),
            item_seconds: labels.gauge(catalog::BATCH_ITEM_SECONDS),
            target_items: labels.gauge(catalog::BATCH_TARGET_ITEMS),
        }
    }

    /// Records one batch; an empty one is none.
    pub fn observe_batch(&self, items: usize, elapsed: Duration) {
        if items > 0 {
            self.items.record(items as f64);
            self.seconds.record(elapsed);
        }
    }

    /// Shows F, V and n of the controller.
    pub fn observe_controller(&self, controller: &BatchController) {
        self.fixed_seconds.set(controller.fixed_seconds());
        self.item_seconds.set(controller.item_seconds());
        self.target_items.set(controller.target_items() as f64);
    }
}

/// One partition of a stage of a dataflow. Labels: `stage`, `partition`.
#[derive(Clone, Debug)]
pub struct StageMetrics {
    items: Counter,
    busy: Counter,
    idle: Counter,
    blocked: Counter,
    state_items: Gauge,
    labels: Labels,
    /// Taken with the first watermark: zero would be a time.
    watermark: OnceLock<Gauge>,
}

impl StageMetrics {
    /// Takes the handles of `stage` in `partition`.
    pub fn new(stage: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("stage", stage, partition);
        Self {
            items: labels.counter(catalog::STAGE_ITEMS_TOTAL),
            busy: labels.counter(catalog::STAGE_BUSY_MICROSECONDS_TOTAL),
            idle: labels.counter(catalog::STAGE_IDLE_MICROSECONDS_TOTAL),
            blocked: labels.counter(catalog::STAGE_BLOCKED_MICROSECONDS_TOTAL),
            state_items: labels.gauge(catalog::STAGE_STATE_ITEMS),
            watermark: OnceLock::new(),
            labels,
        }
    }

    /// Shows the totals as they are; calling twice counts nothing twice.
    pub fn observe(&self, load: &StageLoad) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.items.absolute(load.items_total);
        self.busy.absolute(micros(load.busy));
        self.idle.absolute(micros(load.idle));
        self.blocked.absolute(micros(load.blocked));
        self.state_items.set(load.state_items as f64);
        // The end of the input is no time of any event.
        if let Some(watermark) = load.watermark.filter(|mark| *mark < Timestamp::MAX) {
            let gauge = || self.labels.gauge(catalog::STAGE_WATERMARK_SECONDS);
            let seconds = watermark.0 as f64 / 1e6;
            self.watermark.get_or_init(gauge).set(seconds);
        }
    }
}

/// A stage that was seen not to go on, of a dataflow or not. Labels: `stage`, `partition`.
#[derive(Clone, Debug)]
pub struct StallMetrics {
    stalled: Gauge,
}

impl StallMetrics {
    /// Takes the handle of `stage` in `partition`.
    pub fn new(stage: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("stage", stage, partition);
        Self {
            stalled: labels.gauge(catalog::STAGE_STALLED_SECONDS),
        }
    }

    /// Shows for how long; zero: it goes on.
    pub fn observe(&self, span: Duration) {
        self.stalled.set(span.as_secs_f64());
    }
}

/// The circuit breaker of one partition of a stage. Labels: `stage`, `partition`.
#[derive(Clone, Debug)]
pub struct BreakerMetrics {
    state: Gauge,
    opened: Counter,
}

impl BreakerMetrics {
    /// Takes the handles of `stage` in `partition`.
    pub fn new(stage: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("stage", stage, partition);
        Self {
            state: labels.gauge(catalog::BREAKER_STATE),
            opened: labels.counter(catalog::BREAKER_OPENED_TOTAL),
        }
    }

    /// Shows its state: 0 closed, 1 half open, 2 open.
    pub fn observe(&self, state: u8) {
        self.state.set(f64::from(state));
    }

    /// Counts that it opened.
    pub fn count_opened(&self) {
        self.opened.increment(1);
    }
}

/// One dataflow. Label: `dataflow`.
#[derive(Clone, Debug)]
pub struct DataflowMetrics {
    failed: Gauge,
    restarts: Counter,
}

impl DataflowMetrics {
    /// Takes the handle of the dataflow `name`.
    pub fn new(name: &str) -> Self {
        let labels = Labels::dataflow(name);
        Self {
            failed: labels.gauge(catalog::DATAFLOW_FAILED),
            restarts: labels.counter(catalog::DATAFLOW_RESTARTS_TOTAL),
        }
    }

    /// Counts a beginning from the last checkpoint after a failure.
    pub fn count_restart(&self) {
        self.restarts.increment(1);
    }

    /// Shows whether it has failed.
    pub fn observe(&self, failed: bool) {
        self.failed.set(f64::from(u8::from(failed)));
    }
}

/// Checkpoints of one dataflow. Label: `dataflow`.
#[derive(Clone, Debug)]
pub struct CheckpointMetrics {
    completed: Counter,
    failed: Counter,
    seconds: Histogram,
    alignment_seconds: Histogram,
    written_bytes: Counter,
    bytes: Gauge,
}

impl CheckpointMetrics {
    /// Takes the handles of the dataflow `name`.
    pub fn new(name: &str) -> Self {
        let labels = Labels::dataflow(name);
        Self {
            completed: labels.counter(catalog::CHECKPOINTS_COMPLETED_TOTAL),
            failed: labels.counter(catalog::CHECKPOINTS_FAILED_TOTAL),
            seconds: labels.histogram(catalog::CHECKPOINT_SECONDS),
            alignment_seconds: labels.histogram(catalog::CHECKPOINT_ALIGNMENT_SECONDS),
            written_bytes: labels.counter(catalog::CHECKPOINT_WRITTEN_BYTES_TOTAL),
            bytes: labels.gauge(catalog::CHECKPOINT_BYTES),
        }
    }

    /// Counts one that is complete, and what it took.
    pub fn observe_completed(&self, figures: &CheckpointFigures) {
        self.completed.increment(1);
        self.seconds.record(figures.duration);
        self.written_bytes.increment(figures.bytes_written);
        self.bytes.set(figures.bytes as f64);
    }

    /// Counts one that was given up.
    pub fn count_failed(&self) {
        self.failed.increment(1);
    }

    /// Records how long a partition waited for the last of its barriers.
    pub fn observe_alignment(&self, elapsed: Duration) {
        self.alignment_seconds.record(elapsed);
    }
}

/// Late items of one stage that are only counted. Labels: `stage`, `partition`.
#[derive(Clone, Debug)]
pub struct LateMetrics {
    items: Counter,
}

impl LateMetrics {
    /// Takes the handle of `stage` in `partition`.
    pub fn new(stage: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("stage", stage, partition);
        Self {
            items: labels.counter(catalog::LATE_ITEMS_TOTAL),
        }
    }

    /// Counts late items.
    pub fn count(&self, items: u64) {
        self.items.increment(items);
    }
}

/// What a source passed over because it could not be read. Labels: `stage`, `partition`.
#[derive(Clone, Debug)]
pub struct UnreadableMetrics {
    items: Counter,
}

impl UnreadableMetrics {
    /// Takes the handle of `stage` in `partition`.
    pub fn new(stage: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("stage", stage, partition);
        Self {
            items: labels.counter(catalog::SOURCE_UNREADABLE_TOTAL),
        }
    }

    /// Counts what was passed over.
    pub fn count(&self, items: u64) {
        self.items.increment(items);
    }
}
