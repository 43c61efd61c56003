//! Handles of the write side: aggregates, the log writer, the stream index.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::catalog;
use super::labels::Labels;
use crate::event::PartitionId;
use crate::index::IndexStats;

/// What happened to the commands of one turn, counted in plain numbers by the actor: an atomic
/// operation per command would cost more than some decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AggregateTally {
    /// Commands that reached an aggregate, whatever became of them.
    pub commands: u64,
    /// Events that they caused.
    pub events: u64,
    /// Commands that the aggregate refused.
    pub rejections: u64,
    /// Commands whose expected version was not the actual one.
    pub conflicts: u64,
    /// Commands answered from the dedup window.
    pub repeats: u64,
    /// Commands whose decision panicked.
    pub panics: u64,
    /// Instances dropped from memory.
    pub passivations: u64,
    /// Snapshots taken.
    pub snapshots: u64,
}

/// Aggregates of one category. Labels: `category`, `partition`.
#[derive(Clone, Debug)]
pub struct AggregateMetrics {
    commands: Counter,
    events: Counter,
    rejections: Counter,
    conflicts: Counter,
    repeats: Counter,
    panics: Counter,
    activations: Counter,
    activation_seconds: Histogram,
    passivations: Counter,
    snapshots: Counter,
    resident_instances: Gauge,
    resident_bytes: Gauge,
}

impl AggregateMetrics {
    /// Takes the handles of `category` in `partition`.
    pub fn new(category: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("category", category, partition);
        Self {
            commands: labels.counter(catalog::AGGREGATE_COMMANDS_TOTAL),
            events: labels.counter(catalog::AGGREGATE_EVENTS_TOTAL),
            rejections: labels.counter(catalog::AGGREGATE_REJECTIONS_TOTAL),
            conflicts: labels.counter(catalog::AGGREGATE_CONFLICTS_TOTAL),
            repeats: labels.counter(catalog::AGGREGATE_REPEATS_TOTAL),
            panics: labels.counter(catalog::AGGREGATE_PANICS_TOTAL),
            activations: labels.counter(catalog::AGGREGATE_ACTIVATIONS_TOTAL),
            activation_seconds: labels.histogram(catalog::AGGREGATE_ACTIVATION_SECONDS),
            passivations: labels.counter(catalog::AGGREGATE_PASSIVATIONS_TOTAL),
            snapshots: labels.counter(catalog::AGGREGATE_SNAPSHOTS_TOTAL),
            resident_instances: labels.gauge(catalog::AGGREGATE_RESIDENT_INSTANCES),
            resident_bytes: labels.gauge(catalog::AGGREGATE_RESIDENT_BYTES),
        }
    }

    /// Adds the tally of one turn, which must be a new one each time.
    pub fn observe_turn(&self, tally: &AggregateTally) {
        // Most figures of most turns are zero; a branch is cheaper than an atomic operation.
        let add = |counter: &Counter, value| {
            if value > 0 {
                counter.increment(value);
            }
        };
        add(&self.commands, tally.commands);
        add(&self.events, tally.events);
        add(&self.rejections, tally.rejections);
        add(&self.conflicts, tally.conflicts);
        add(&self.repeats, tally.repeats);
        add(&self.panics, tally.panics);
        add(&self.passivations, tally.passivations);
        add(&self.snapshots, tally.snapshots);
    }

    /// Records that one instance was loaded, and how long that took.
    pub fn observe_activation(&self, elapsed: Duration) {
        self.activations.increment(1);
        self.activation_seconds.record(elapsed);
    }

    /// Shows what is in memory now.
    pub fn observe_resident(&self, instances: usize, bytes: u64) {
        self.resident_instances.set(instances as f64);
        self.resident_bytes.set(bytes as f64);
    }
}

/// One durable commit of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitSample {
    /// From the taking of the group to its being durable.
    pub elapsed: Duration,
    /// Frames of the group.
    pub frames: usize,
    /// Events in them.
    pub events: u64,
    /// Stored bytes of them.
    pub bytes: u64,
    /// Times that the disk was asked to keep what it was given; one for most stores.
    pub fsyncs: u64,
}

/// The log writer of an engine. Without labels.
#[derive(Clone, Debug)]
pub struct WriterMetrics {
    commit_seconds: Histogram,
    group_frames: Histogram,
    group_events: Histogram,
    queued_frames: Gauge,
    fsyncs: Counter,
    log_bytes: Counter,
    stopped: Gauge,
}

impl WriterMetrics {
    /// Takes the handles of the writer, and shows it as running.
    pub fn new() -> Self {
        let labels = Labels::none();
        let made = Self {
            commit_seconds: labels.histogram(catalog::WRITER_COMMIT_SECONDS),
            group_frames: labels.histogram(catalog::WRITER_GROUP_FRAMES),
            group_events: labels.histogram(catalog::WRITER_GROUP_EVENTS),
            queued_frames: labels.gauge(catalog::WRITER_QUEUED_FRAMES),
            fsyncs: labels.counter(catalog::WRITER_FSYNCS_TOTAL),
            log_bytes: labels.counter(catalog::WRITER_LOG_BYTES_TOTAL),
            stopped: labels.gauge(catalog::WRITER_STOPPED),
        };
        made.stopped.set(0);
        made
    }

    /// Records a commit that succeeded.
    pub fn observe_commit(&self, commit: &CommitSample) {
        self.commit_seconds.record(commit.elapsed);
        self.group_frames.record(commit.frames as f64);
        self.group_events.record(commit.events as f64);
        self.fsyncs.increment(commit.fsyncs);
        self.log_bytes.increment(commit.bytes);
    }

    /// Shows how many frames wait for the writer.
    pub fn observe_queue(&self, frames: usize) {
        self.queued_frames.set(frames as f64);
    }

    /// Shows that the writer has stopped for good.
    pub fn mark_stopped(&self) {
        self.stopped.set(1);
    }
}

impl Default for WriterMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The stream index of one partition. Label: `partition`.
#[derive(Clone, Debug)]
pub struct IndexMetrics {
    runs: Gauge,
    run_entries: Gauge,
    tail_entries: Gauge,
    run_bytes: Gauge,
    filter_bytes: Gauge,
    bloom_checks: Counter,
    bloom_false_positives: Counter,
    flush_bytes: Counter,
    merge_bytes: Counter,
}

impl IndexMetrics {
    /// Takes the handles of one partition's index.
    pub fn new(partition: PartitionId) -> Self {
        let labels = Labels::partition(partition);
        Self {
            runs: labels.gauge(catalog::INDEX_RUNS),
            run_entries: labels.gauge(catalog::INDEX_RUN_ENTRIES),
            tail_entries: labels.gauge(catalog::INDEX_TAIL_ENTRIES),
            run_bytes: labels.gauge(catalog::INDEX_RUN_BYTES),
            filter_bytes: labels.gauge(catalog::INDEX_FILTER_BYTES),
            bloom_checks: labels.counter(catalog::INDEX_BLOOM_CHECKS_TOTAL),
            bloom_false_positives: labels.counter(catalog::INDEX_BLOOM_FALSE_POSITIVES_TOTAL),
            flush_bytes: labels.counter(catalog::INDEX_FLUSH_BYTES_TOTAL),
            merge_bytes: labels.counter(catalog::INDEX_MERGE_BYTES_TOTAL),
        }
    }

    /// Shows the figures of the index. Its totals are taken over as they are, so calling twice counts
    /// nothing twice; those of an index opened anew show only once they pass the old ones.
    pub fn observe(&self, stats: &IndexStats) {
        self.runs.set(stats.level_runs.iter().sum::<usize>() as f64);
        self.run_entries.set(stats.run_entries as f64);
        self.tail_entries.set(stats.tail_entries as f64);
        self.run_bytes.set(stats.run_bytes as f64);
        self.filter_bytes.set(stats.filter_bytes as f64);
        self.bloom_checks.absolute(stats.bloom_checks_total);
        self.bloom_false_positives
            .absolute(stats.bloom_false_positives_total);
        self.flush_bytes.absolute(stats.flush_bytes_total);
        self.merge_bytes.absolute(stats.merge_bytes_total);
    }
}
