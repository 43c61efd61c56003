//! Handles of the read side: projections, dead letters, the state writer.

use std::time::Duration;

use compact_str::CompactString;
use metrics::{Counter, Gauge, Histogram};

use super::catalog;
use super::labels::Labels;
use crate::event::PartitionId;

/// A derived query. Labels: `projection`, `derived`.
#[derive(Clone, Debug)]
pub struct DerivedMetrics {
    hits: Counter,
    misses: Counter,
}

impl DerivedMetrics {
    /// Takes the handles of the derived query `name` over `projection`.
    pub fn new(projection: &str, name: &str) -> Self {
        let labels = Labels::derived(projection, name);
        Self {
            hits: labels.counter(catalog::DERIVED_HITS_TOTAL),
            misses: labels.counter(catalog::DERIVED_MISSES_TOTAL),
        }
    }

    /// Counts an answer that was there.
    pub fn count_hit(&self) {
        self.hits.increment(1);
    }

    /// Counts an answer that had to be made.
    pub fn count_miss(&self) {
        self.misses.increment(1);
    }
}

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

/// One version of a projection. Labels: `projection`, `version`, `partition`.
#[derive(Clone, Debug)]
pub struct ProjectionMetrics {
    lag_events: Gauge,
    lag_seconds: Gauge,
    events: Counter,
    failures: Counter,
    parked_keys: Gauge,
    visible_seconds: Histogram,
    rows: Counter,
    flush_rows: Histogram,
    flush_seconds: Histogram,
}

impl ProjectionMetrics {
    /// Takes the handles of a version of `projection` in `partition`.
    pub fn new(projection: &str, version: u32, partition: PartitionId) -> Self {
        let labels = Labels::named("projection", projection, partition);
        let labels = labels.and("version", &version.to_string());
        Self {
            lag_events: labels.gauge(catalog::PROJECTION_LAG_EVENTS),
            lag_seconds: labels.gauge(catalog::PROJECTION_LAG_SECONDS),
            events: labels.counter(catalog::PROJECTION_EVENTS_TOTAL),
            failures: labels.counter(catalog::PROJECTION_FAILURES_TOTAL),
            parked_keys: labels.gauge(catalog::PROJECTION_PARKED_KEYS),
            visible_seconds: labels.histogram(catalog::PROJECTION_VISIBLE_SECONDS),
            rows: labels.counter(catalog::PROJECTION_ROWS_TOTAL),
            flush_rows: labels.histogram(catalog::PROJECTION_FLUSH_ROWS),
            flush_seconds: labels.histogram(catalog::PROJECTION_FLUSH_SECONDS),
        }
    }

    /// Counts the events applied by one batch.
    pub fn observe_batch(&self, events: u64) {
        self.events.increment(events);
    }

    /// Shows how far behind the log the projection is: events, and the age of the oldest of them
    /// (zero when there is none). To be told also while nothing is applied: a projection that hangs
    /// would show its last good lag for ever.
    pub fn observe_lag(&self, events: u64, age: Duration) {
        self.lag_events.set(events as f64);
        self.lag_seconds.set(age);
    }

    /// Records how long an event took from its `recorded_at` until its row could be read. One sample
    /// per frame, by its oldest event, is enough: its events were recorded together, and each sample
    /// is kept until the next scrape. Only while live; a rebuild would record the age of history.
    pub fn observe_visible(&self, since_recorded: Duration) {
        self.visible_seconds.record(since_recorded);
    }

    /// Counts events that user code failed on.
    pub fn count_failures(&self, events: u64) {
        self.failures.increment(events);
    }

    /// Shows how many keys are parked now.
    pub fn observe_parked(&self, keys: usize) {
        self.parked_keys.set(keys as f64);
    }

    /// Records one flush of rows and position.
    pub fn observe_flush(&self, rows: u64, elapsed: Duration) {
        self.rows.increment(rows);
        self.flush_rows.record(rows as f64);
        self.flush_seconds.record(elapsed);
    }
}

/// A version of a projection as a whole. Labels: `projection`, `version`.
#[derive(Clone, Debug)]
pub struct VersionMetrics {
    active: Gauge,
    events_left: Gauge,
    events_per_second: Gauge,
    seconds_left: Gauge,
}

impl VersionMetrics {
    /// Takes the handles of a version of `projection`.
    pub fn new(projection: &str, version: u32) -> Self {
        let labels = Labels::version(projection, version);
        Self {
            active: labels.gauge(catalog::PROJECTION_ACTIVE),
            events_left: labels.gauge(catalog::PROJECTION_REBUILD_LEFT_EVENTS),
            events_per_second: labels.gauge(catalog::PROJECTION_REBUILD_EVENTS_PER_SECOND),
            seconds_left: labels.gauge(catalog::PROJECTION_REBUILD_LEFT_SECONDS),
        }
    }

    /// Shows whether it answers queries.
    pub fn observe_active(&self, is_active: bool) {
        self.active.set(f64::from(u8::from(is_active)));
    }

    /// Shows how much is left until it has caught up, how fast it goes and how long that takes; zeros where that is not
    /// known, and once it has.
    pub fn observe_left(&self, events: u64, per_second: f64, left: Duration) {
        self.events_left.set(events as f64);
        self.events_per_second.set(per_second);
        self.seconds_left.set(left);
    }
}

/// What is parked or dead in one stage at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParkedNow<'a> {
    /// Keys in backoff or behind a dead letter.
    pub keys: u64,
    /// Events that queue behind a failing one of their key.
    pub events: u64,
    /// The failing ones, by class of cause; of classes that are not in it nothing waits.
    pub causes: &'a [ParkedCause<'a>],
}

/// What waits of one class of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedCause<'a> {
    /// The class.
    pub cause: &'a str,
    /// Dead letters that nobody has dealt with.
    pub dead_letters: u64,
    /// Time since the first failure of the event that has waited longest.
    pub oldest: Duration,
}

/// Classes of causes that have figures of their own in one stage and partition; later ones are `other`.
const CLASSES_MAX: usize = 16;
/// What the rest is counted as.
const OTHER: &str = "other";
/// There from the beginning, so that the first failure is an increase.
const ERROR: &str = "error";
/// Classes that every stage may have: there from the start, so that their first increase is seen as one.
const BUILT_IN: [&str; 4] = [ERROR, "panic", "unreadable", "not_tried"];

/// Dead letters and parking of one stage. Labels: `stage`, `partition`; those of letters also `cause`, a class of causes.
#[derive(Clone, Debug)]
pub struct DeadLetterMetrics {
    labels: Labels,
    parked_keys: Gauge,
    parked_events: Gauge,
    retries: Counter,
    skipped: Counter,
    classes: Vec<ClassMetrics>,
}

/// Of one class of causes.
#[derive(Clone, Debug)]
struct ClassMetrics {
    class: CompactString,
    dead_letters: Gauge,
    oldest_seconds: Gauge,
    added: Counter,
    redriven: Counter,
    discarded: Counter,
    /// What is shown next.
    next: (u64, Duration),
}

impl ClassMetrics {
    fn new(labels: &Labels, class: &str) -> Self {
        let labels = labels.and("cause", class);
        Self {
            class: class.into(),
            dead_letters: labels.gauge(catalog::DEAD_LETTERS),
            oldest_seconds: labels.gauge(catalog::DEAD_LETTERS_OLDEST_SECONDS),
            added: labels.counter(catalog::DEAD_LETTERS_ADDED_TOTAL),
            redriven: labels.counter(catalog::DEAD_LETTERS_REDRIVEN_TOTAL),
            discarded: labels.counter(catalog::DEAD_LETTERS_DISCARDED_TOTAL),
            next: (0, Duration::ZERO),
        }
    }
}

impl DeadLetterMetrics {
    /// Takes the handles of `stage` in `partition`.
    pub fn new(stage: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("stage", stage, partition);
        Self {
            parked_keys: labels.gauge(catalog::DEAD_LETTERS_PARKED_KEYS),
            parked_events: labels.gauge(catalog::DEAD_LETTERS_PARKED_EVENTS),
            retries: labels.counter(catalog::DEAD_LETTERS_RETRIES_TOTAL),
            skipped: labels.counter(catalog::DEAD_LETTERS_SKIPPED_TOTAL),
            classes: BUILT_IN
                .map(|class| ClassMetrics::new(&labels, class))
                .into(),
            labels,
        }
    }

    /// The handles of a class, or of `other` once there are as many as may be.
    fn class(&mut self, class: &str) -> &mut ClassMetrics {
        let found = |all: &[ClassMetrics], class: &str| all.iter().position(|of| of.class == class);
        let is_full = self.classes.len() >= CLASSES_MAX;
        let at = found(&self.classes, class).unwrap_or_else(|| {
            let class = if is_full { OTHER } else { class };
            found(&self.classes, class).unwrap_or_else(|| {
                self.classes.push(ClassMetrics::new(&self.labels, class));
                self.classes.len() - 1
            })
        });
        &mut self.classes[at]
    }

    /// Shows what is parked or dead now.
    pub fn observe(&mut self, now: ParkedNow<'_>) {
        self.parked_keys.set(now.keys as f64);
        self.parked_events.set(now.events as f64);
        for of in now.causes {
            let next = &mut self.class(of.cause).next;
            // Several may be `other`.
            *next = (next.0 + of.dead_letters, next.1.max(of.oldest));
        }
        for class in &mut self.classes {
            let (dead_letters, oldest) = std::mem::take(&mut class.next);
            class.dead_letters.set(dead_letters as f64);
            class.oldest_seconds.set(oldest);
        }
    }

    /// Counts events that became dead letters for this class of causes.
    pub fn count_added(&mut self, cause: &str, events: u64) {
        self.class(cause).added.increment(events);
    }

    /// Counts dead letters sent through their stage again.
    pub fn count_redriven(&mut self, cause: &str, events: u64) {
        self.class(cause).redriven.increment(events);
    }

    /// Counts dead letters given up.
    pub fn count_discarded(&mut self, cause: &str, events: u64) {
        self.class(cause).discarded.increment(events);
    }

    /// Counts items of a dataflow that were passed over, as the policy of their stage says.
    pub fn count_skipped(&self, items: u64) {
        self.skipped.increment(items);
    }

    /// Counts tries of failing events after the first.
    pub fn count_retries(&self, tries: u64) {
        self.retries.increment(tries);
    }
}

/// The writer of the state environment. Without labels.
#[derive(Clone, Debug)]
pub struct StateWriterMetrics {
    commit_seconds: Histogram,
    batches: Counter,
    bytes: Counter,
    stopped: Gauge,
}

impl StateWriterMetrics {
    /// Takes the handles of the state writer, and shows it as running.
    pub fn new() -> Self {
        let labels = Labels::none();
        let made = Self {
            commit_seconds: labels.histogram(catalog::STATE_COMMIT_SECONDS),
            batches: labels.counter(catalog::STATE_BATCHES_TOTAL),
            bytes: labels.counter(catalog::STATE_BYTES_TOTAL),
            stopped: labels.gauge(catalog::STATE_WRITER_STOPPED),
        };
        made.stopped.set(0);
        made
    }

    /// Records one commit of `batches` handed in by stages, `bytes` of keys and values together.
    pub fn observe_commit(&self, batches: u64, bytes: u64, elapsed: Duration) {
        self.commit_seconds.record(elapsed);
        self.batches.increment(batches);
        self.bytes.increment(bytes);
    }

    /// Shows that the writer has stopped for good.
    pub fn mark_stopped(&self) {
        self.stopped.set(1);
    }
}

impl Default for StateWriterMetrics {
    fn default() -> Self {
        Self::new()
    }
}
