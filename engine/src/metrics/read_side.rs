//! Handles of the read side: projections, their derived queries, the state writer.

use std::time::Duration;

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
    /// each time that rows are shown, by the oldest of their events, is enough: no row of the same took
    /// longer, and each sample is kept until the next scrape. Only for events appended since the projection began,
    /// which excludes the age of history in a rebuild, and only of the version that answers.
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
