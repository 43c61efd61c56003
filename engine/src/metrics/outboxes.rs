//! Handles of outboxes: what waits in them, and what their deliveries did.

use std::time::Duration;

use metrics::{Counter, Gauge};

use super::catalog;
use super::labels::Labels;
use crate::event::PartitionId;

/// What waits in one partition of an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxNow {
    /// Effects.
    pub effects: u64,
    /// Bytes of them, as they are stored.
    pub bytes: u64,
    /// Since when the event of the oldest of them is in the log; zero when there is none.
    pub oldest: Duration,
}

/// An outbox. Labels: `projection`, `outbox`; those of what waits also `partition`.
///
/// Shown by whoever looks at all outboxes, not by their deliveries: the figures of one that was given up would stand still.
#[derive(Clone, Debug)]
pub struct OutboxMetrics {
    full: Gauge,
    partitions: Vec<[Gauge; 3]>,
}

impl OutboxMetrics {
    /// Takes the handles of `outbox` of `projection` in so many partitions.
    pub fn new(projection: &str, outbox: &str, partitions: u16) -> Self {
        let of_partition = |partition| {
            let labels = Labels::named("projection", projection, partition).and("outbox", outbox);
            [
                labels.gauge(catalog::OUTBOX_EFFECTS),
                labels.gauge(catalog::OUTBOX_BYTES),
                labels.gauge(catalog::OUTBOX_OLDEST_SECONDS),
            ]
        };
        let labels = Labels::outbox(projection, outbox);
        labels.gauge(catalog::OUTBOX_UNDECLARED_EFFECTS).set(0.0);
        Self {
            full: labels.gauge(catalog::OUTBOX_FULL),
            partitions: (0..partitions).map(PartitionId).map(of_partition).collect(),
        }
    }

    /// Shows what waits in a partition.
    pub fn observe(&self, partition: PartitionId, now: OutboxNow) {
        if let Some([effects, bytes, oldest]) = self.partitions.get(usize::from(partition.0)) {
            effects.set(now.effects as f64);
            bytes.set(now.bytes as f64);
            oldest.set(now.oldest);
        }
    }

    /// Shows whether it has all that it may.
    pub fn observe_full(&self, is_full: bool) {
        self.full.set(f64::from(u8::from(is_full)));
    }
}

/// Shows how many effects wait in an outbox that was not declared at a start. Labels: `projection`, `outbox`.
pub fn observe_undeclared(projection: &str, outbox: &str, effects: u64) {
    let gauge = Labels::outbox(projection, outbox).gauge(catalog::OUTBOX_UNDECLARED_EFFECTS);
    gauge.set(effects as f64);
}

/// Delivery of one partition of an outbox. Labels: `projection`, `outbox`, `partition`.
#[derive(Clone, Debug)]
pub struct DeliveryMetrics {
    delivered: Counter,
    failures: Counter,
    given_up: Counter,
}

impl DeliveryMetrics {
    /// Takes the handles of `outbox` of `projection` in `partition`.
    pub fn new(projection: &str, outbox: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("projection", projection, partition).and("outbox", outbox);
        Self {
            delivered: labels.counter(catalog::OUTBOX_DELIVERED_TOTAL),
            failures: labels.counter(catalog::OUTBOX_FAILURES_TOTAL),
            given_up: labels.counter(catalog::OUTBOX_GIVEN_UP_TOTAL),
        }
    }

    /// Counts effects that were delivered.
    pub fn count_delivered(&self, effects: u64) {
        self.delivered.increment(effects);
    }

    /// Counts calls that failed.
    pub fn count_failures(&self, calls: u64) {
        self.failures.increment(calls);
    }

    /// Counts effects that were put aside.
    pub fn count_given_up(&self, effects: u64) {
        self.given_up.increment(effects);
    }
}
