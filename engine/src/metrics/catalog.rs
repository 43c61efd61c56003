//! Every metric of the engine: name, kind, unit and help text, once each.
//!
//! The macro makes a constant of each line and a row of [`ALL`], so that neither can be without the
//! other. Names end in their unit; of a counter, `_total` follows it. `deploy/` is checked against
//! this table by a test. A name is a contract with dashboards and alerts: change it as one changes a format.

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows, and starts at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples, counted by size.
    Histogram,
}

/// What one of a metric's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A number of things; the name says which.
    Count,
    /// Seconds, with a fraction.
    Seconds,
    /// Whole microseconds: time in a counter, whose value is a whole number in the `metrics` crate.
    Microseconds,
    /// Bytes.
    Bytes,
    /// Things per second; the name says which.
    PerSecond,
    /// A share or a quotient: 1 is the whole.
    Ratio,
    /// 0 for no, 1 for yes.
    Flag,
}

/// One row of [`ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name as exported.
    pub name: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// What one of its value is.
    pub unit: Unit,
    /// One sentence for whoever looks at it, without a full stop.
    pub help: &'static str,
}

macro_rules! catalog {
    ($($constant:ident = $name:literal, $kind:ident, $unit:ident, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: &str = $name;
        )*

        /// All metrics of the engine, by group.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $constant, kind: Kind::$kind, unit: Unit::$unit, help: $help },)*
        ];
    };
}

// Labels: `partition`.
catalog! {
    PARTITION_ARRIVED_TOTAL = "millstream_partition_arrived_total", Counter, Count,
        "Items that arrived in the mailbox of the partition";
    PARTITION_SERVED_TOTAL = "millstream_partition_served_total", Counter, Count,
        "Items that the partition has dealt with";
    PARTITION_ARRIVALS_PER_SECOND = "millstream_partition_arrivals_per_second", Gauge, PerSecond,
        "Arrival rate of the partition, mean of about the last ten seconds";
    PARTITION_SERVICE_SECONDS = "millstream_partition_service_seconds", Gauge, Seconds,
        "Mean time that the partition works on one item";
    PARTITION_UTILISATION_RATIO = "millstream_partition_utilisation_ratio", Gauge, Ratio,
        "Arrival rate times service time: at 1 and above the partition cannot keep up";
    PARTITION_BUSY_RATIO = "millstream_partition_busy_ratio", Gauge, Ratio,
        "Share of the time that the partition was working";
    PARTITION_STALLED_SECONDS = "millstream_partition_stalled_seconds", Gauge, Seconds,
        "How long the partition's present turn goes on, if longer than a second: an aggregate that does not return";
    // No label.
    PARTITION_SKEW_RATIO = "millstream_partition_skew_ratio", Gauge, Ratio,
        "Events stored since the last look, a second before, in the partition that got most of them, over the mean of all: 1 is even";

    // Labels: `stage`, `partition`.
    MAILBOX_ITEMS = "millstream_mailbox_items", Gauge, Count,
        "Items waiting in the lanes of the mailbox";
    MAILBOX_CREDITS = "millstream_mailbox_credits", Gauge, Count,
        "Credits in use: what is queued or on its way in, in units of the mailbox's bound";
    MAILBOX_LIMIT_CREDITS = "millstream_mailbox_limit_credits", Gauge, Count,
        "Credits that the mailbox has in all";
    MAILBOX_WAIT_SECONDS = "millstream_mailbox_wait_seconds", Histogram, Seconds,
        "Time from a wake-up's first item to the turn that looks at it";
    MAILBOX_REFUSED_TOTAL = "millstream_mailbox_refused_total", Counter, Count,
        "Items handed back because the mailbox was full";
    MAILBOX_BACKPRESSURE_WAITS_TOTAL = "millstream_mailbox_backpressure_waits_total", Counter, Count,
        "Sends that had to wait for room in the mailbox";
    MAILBOX_BACKPRESSURE_MICROSECONDS_TOTAL =
        "millstream_mailbox_backpressure_microseconds_total", Counter, Microseconds,
        "Time that senders have waited for room in the mailbox, all together";
    BATCH_ITEMS = "millstream_batch_items", Histogram, Count,
        "Items per batch";
    BATCH_SECONDS = "millstream_batch_seconds", Histogram, Seconds,
        "Time to work through one batch";
    BATCH_FIXED_SECONDS = "millstream_batch_fixed_seconds", Gauge, Seconds,
        "F of the fitted cost F + n V: what a batch costs before its first item";
    BATCH_ITEM_SECONDS = "millstream_batch_item_seconds", Gauge, Seconds,
        "V of the fitted cost F + n V: what each item of a batch costs";
    BATCH_TARGET_ITEMS = "millstream_batch_target_items", Gauge, Count,
        "n that the batch controller aims at under backlog";

    // No label: an engine has one log writer.
    WRITER_COMMIT_SECONDS = "millstream_writer_commit_seconds", Histogram, Seconds,
        "Time to make one group of frames durable";
    WRITER_GROUP_FRAMES = "millstream_writer_group_frames", Histogram, Count,
        "Frames per commit of the log";
    WRITER_GROUP_EVENTS = "millstream_writer_group_events", Histogram, Count,
        "Events per commit of the log";
    WRITER_QUEUED_FRAMES = "millstream_writer_queued_frames", Gauge, Count,
        "Frames handed to the log writer and not yet taken by it";
    WRITER_FSYNCS_TOTAL = "millstream_writer_fsyncs_total", Counter, Count,
        "Times that the log was forced to disk: two for each commit, its data and then what makes them valid";
    WRITER_LOG_BYTES_TOTAL = "millstream_writer_log_bytes_total", Counter, Bytes,
        "Bytes of frames made durable";
    WRITER_STOPPED = "millstream_writer_stopped", Gauge, Flag,
        "Whether the log writer has stopped for good after a failure: the process must be restarted";

    // Labels: `category`, `partition`.
    AGGREGATE_COMMANDS_TOTAL = "millstream_aggregate_commands_total", Counter, Count,
        "Commands that reached an aggregate, whatever became of them";
    AGGREGATE_EVENTS_TOTAL = "millstream_aggregate_events_total", Counter, Count,
        "Events that commands have caused";
    AGGREGATE_REJECTIONS_TOTAL = "millstream_aggregate_rejections_total", Counter, Count,
        "Commands that the aggregate refused";
    AGGREGATE_CONFLICTS_TOTAL = "millstream_aggregate_conflicts_total", Counter, Count,
        "Commands whose expected version was not the actual one";
    AGGREGATE_REPEATS_TOTAL = "millstream_aggregate_repeats_total", Counter, Count,
        "Commands answered from the dedup window because their id was seen before";
    AGGREGATE_PANICS_TOTAL = "millstream_aggregate_panics_total", Counter, Count,
        "Commands whose decision panicked";
    AGGREGATE_ACTIVATIONS_TOTAL = "millstream_aggregate_activations_total", Counter, Count,
        "Instances loaded into memory";
    AGGREGATE_ACTIVATION_SECONDS = "millstream_aggregate_activation_seconds", Histogram, Seconds,
        "Time to load one instance: its snapshot and the rest of its stream";
    AGGREGATE_PASSIVATIONS_TOTAL = "millstream_aggregate_passivations_total", Counter, Count,
        "Instances dropped from memory because they were idle or memory was short";
    AGGREGATE_SNAPSHOTS_TOTAL = "millstream_aggregate_snapshots_total", Counter, Count,
        "Snapshots taken";
    AGGREGATE_RESIDENT_INSTANCES = "millstream_aggregate_resident_instances", Gauge, Count,
        "Instances in memory";
    AGGREGATE_RESIDENT_BYTES = "millstream_aggregate_resident_bytes", Gauge, Bytes,
        "Estimated memory of the instances";

    // Labels: `projection`, `version`, `partition`.
    PROJECTION_LAG_EVENTS = "millstream_projection_lag_events", Gauge, Count,
        "Durable events of the partition that the projection has not applied yet";
    PROJECTION_LAG_SECONDS = "millstream_projection_lag_seconds", Gauge, Seconds,
        "Age of the oldest event not applied yet, 0 when there is none";
    PROJECTION_EVENTS_TOTAL = "millstream_projection_events_total", Counter, Count,
        "Events that the projection has applied";
    PROJECTION_FAILURES_TOTAL = "millstream_projection_failures_total", Counter, Count,
        "Events that the projection failed on, each try counted, and batches";
    PROJECTION_PARKED_KEYS = "millstream_projection_parked_keys", Gauge, Count,
        "Keys that wait behind an event the projection fails on";
    PROJECTION_VISIBLE_SECONDS = "millstream_projection_visible_seconds", Histogram, Seconds,
        "Time from the recording of an event to the moment its row can be read: the longest of each time that rows are shown, of events appended since the projection began";
    PROJECTION_ROWS_TOTAL = "millstream_projection_rows_total", Counter, Count,
        "Rows written or deleted by flushes";
    PROJECTION_FLUSH_ROWS = "millstream_projection_flush_rows", Histogram, Count,
        "Rows per flush";
    PROJECTION_FLUSH_SECONDS = "millstream_projection_flush_seconds", Histogram, Seconds,
        "Time to write one flush of rows and position";
    // Labels: `projection`, `version`.
    PROJECTION_ACTIVE = "millstream_projection_active", Gauge, Flag,
        "Whether this version of the projection answers queries";
    PROJECTION_REBUILD_LEFT_EVENTS = "millstream_projection_rebuild_left_events", Gauge, Count,
        "Durable events that a version of the projection which does not answer queries has not applied yet";
    PROJECTION_REBUILD_EVENTS_PER_SECOND =
        "millstream_projection_rebuild_events_per_second", Gauge, PerSecond,
        "Events per second by which such a version comes further, those that it passes over included; 0 once it has caught up";
    PROJECTION_REBUILD_LEFT_SECONDS = "millstream_projection_rebuild_left_seconds", Gauge, Seconds,
        "Estimate of the time until such a version has caught up; 0 once it has, and while there is no estimate";

    // Labels: `projection`, `derived`.
    DERIVED_HITS_TOTAL = "millstream_derived_hits_total", Counter, Count,
        "Answers of derived queries that were there and still held";
    DERIVED_MISSES_TOTAL = "millstream_derived_misses_total", Counter, Count,
        "Answers of derived queries that had to be made";

    // Labels: `projection`, `outbox`, `partition`.
    OUTBOX_EFFECTS = "millstream_outbox_effects", Gauge, Count,
        "Effects that are stored and not delivered yet";
    OUTBOX_BYTES = "millstream_outbox_bytes", Gauge, Bytes,
        "Bytes of the effects that are stored and not delivered yet";
    OUTBOX_OLDEST_SECONDS = "millstream_outbox_oldest_seconds", Gauge, Seconds,
        "How long the oldest effect has waited that is not delivered yet and can be read";
    OUTBOX_DELIVERED_TOTAL = "millstream_outbox_delivered_total", Counter, Count,
        "Effects that were delivered";
    OUTBOX_FAILURES_TOTAL = "millstream_outbox_failures_total", Counter, Count,
        "Calls for an effect that failed, each try counted";
    OUTBOX_GIVEN_UP_TOTAL = "millstream_outbox_given_up_total", Counter, Count,
        "Effects that were put aside after their last try";
    // Labels: `projection`, `outbox`.
    OUTBOX_FULL = "millstream_outbox_full", Gauge, Flag,
        "Whether the outbox has all the effects that it may, so that its projection waits with applying further events";
    OUTBOX_UNDECLARED_EFFECTS = "millstream_outbox_undeclared_effects", Gauge, Count,
        "Effects that wait in an outbox that the program did not declare at its start: nobody sends them";

    // Labels: `stage`, `partition`; `cause`, a class of causes, of letters, their age and what comes and goes.
    DEAD_LETTERS = "millstream_dead_letters", Gauge, Count,
        "Dead letters that nobody has redriven or discarded yet";
    DEAD_LETTERS_ADDED_TOTAL = "millstream_dead_letters_added_total", Counter, Count,
        "Events that became dead letters";
    DEAD_LETTERS_REDRIVEN_TOTAL = "millstream_dead_letters_redriven_total", Counter, Count,
        "Dead letters sent through their stage again";
    DEAD_LETTERS_DISCARDED_TOTAL = "millstream_dead_letters_discarded_total", Counter, Count,
        "Dead letters given up by somebody's decision or by their projection's limits";
    DEAD_LETTERS_OLDEST_SECONDS = "millstream_dead_letters_oldest_seconds", Gauge, Seconds,
        "Time since the first failure of the event that has waited longest, 0 when none waits";
    DEAD_LETTERS_RETRIES_TOTAL = "millstream_dead_letters_retries_total", Counter, Count,
        "Tries of failing events after the first";
    DEAD_LETTERS_SKIPPED_TOTAL = "millstream_dead_letters_skipped_total", Counter, Count,
        "Items of a dataflow that failed, or found no room behind one that did, and were passed over as their policy says";
    DEAD_LETTERS_PARKED_KEYS = "millstream_dead_letters_parked_keys", Gauge, Count,
        "Keys of the stage that are parked, in backoff or behind a dead letter";
    DEAD_LETTERS_PARKED_EVENTS = "millstream_dead_letters_parked_events", Gauge, Count,
        "Events that queue behind a failing one of their key";

    // Labels: `stage`, `partition`.
    STAGE_ITEMS_TOTAL = "millstream_stage_items_total", Counter, Count,
        "Items that the stage of a dataflow has taken in";
    STAGE_BUSY_MICROSECONDS_TOTAL = "millstream_stage_busy_microseconds_total", Counter, Microseconds,
        "Time that the stage was at work";
    STAGE_IDLE_MICROSECONDS_TOTAL = "millstream_stage_idle_microseconds_total", Counter, Microseconds,
        "Time that the stage had no input";
    STAGE_BLOCKED_MICROSECONDS_TOTAL =
        "millstream_stage_blocked_microseconds_total", Counter, Microseconds,
        "Time that the stage's output had no room: what follows it is slower";
    STAGE_STATE_ITEMS = "millstream_stage_state_items", Gauge, Count,
        "Entries of keyed state that the stage holds";
    STAGE_WATERMARK_SECONDS = "millstream_stage_watermark_seconds", Gauge, Seconds,
        "Event time up to which the input of the stage is complete, since 1970; not shown before there is one, and no longer moved at the end of the input";
    STAGE_STALLED_SECONDS = "millstream_stage_stalled_seconds", Gauge, Seconds,
        "How long the stage has not gone on: code in it hangs, or its thread is held by another; 0 while it goes on";
    BREAKER_STATE = "millstream_breaker_state", Gauge, Count,
        "Whether the stage calls what is outside: 0 it does, 1 it tries one call, 2 it does not after failures";
    BREAKER_OPENED_TOTAL = "millstream_breaker_opened_total", Counter, Count,
        "Times that the stage stopped calling what is outside because calls failed one after the other";
    LATE_ITEMS_TOTAL = "millstream_late_items_total", Counter, Count,
        "Items that came too late for their window and had nowhere else to go";
    SOURCE_UNREADABLE_TOTAL = "millstream_source_unreadable_total", Counter, Count,
        "Events or lines that a source passed over because they could not be read";
    // Label: `dataflow`.
    DATAFLOW_FAILED = "millstream_dataflow_failed", Gauge, Flag,
        "Whether the dataflow has failed: it gives nothing out until the process is started again";
    DATAFLOW_RESTARTS_TOTAL = "millstream_dataflow_restarts_total", Counter, Count,
        "Times that the dataflow began again from its last checkpoint because a stage had failed";
    CHECKPOINTS_COMPLETED_TOTAL = "millstream_checkpoints_completed_total", Counter, Count,
        "Checkpoints of the dataflow that were completed";
    CHECKPOINTS_FAILED_TOTAL = "millstream_checkpoints_failed_total", Counter, Count,
        "Checkpoints of the dataflow that were given up";
    CHECKPOINT_SECONDS = "millstream_checkpoint_seconds", Histogram, Seconds,
        "Time from the beginning of a checkpoint until it was complete";
    CHECKPOINT_ALIGNMENT_SECONDS = "millstream_checkpoint_alignment_seconds", Histogram, Seconds,
        "Time from the first barrier of a checkpoint to the last, at each partition of a stage with several senders";
    CHECKPOINT_WRITTEN_BYTES_TOTAL = "millstream_checkpoint_written_bytes_total", Counter, Bytes,
        "Bytes of state that were written for checkpoints";
    CHECKPOINT_BYTES = "millstream_checkpoint_bytes", Gauge, Bytes,
        "Bytes of state that the last complete checkpoint consists of";

    // Labels: `partition`.
    INDEX_RUNS = "millstream_index_runs", Gauge, Count,
        "Live sorted runs of the stream index";
    INDEX_RUN_ENTRIES = "millstream_index_run_entries", Gauge, Count,
        "Entries in live runs of the stream index";
    INDEX_TAIL_ENTRIES = "millstream_index_tail_entries", Gauge, Count,
        "Entries of the stream index that are in memory only";
    INDEX_RUN_BYTES = "millstream_index_run_bytes", Gauge, Bytes,
        "Stored size of live runs of the stream index";
    INDEX_FILTER_BYTES = "millstream_index_filter_bytes", Gauge, Bytes,
        "Memory of the Bloom filters of the stream index";
    INDEX_BLOOM_CHECKS_TOTAL = "millstream_index_bloom_checks_total", Counter, Count,
        "Times that the Bloom filter of a run was asked";
    INDEX_BLOOM_FALSE_POSITIVES_TOTAL = "millstream_index_bloom_false_positives_total", Counter, Count,
        "Times that a Bloom filter let a stream pass that its run did not have";
    INDEX_FLUSH_BYTES_TOTAL = "millstream_index_flush_bytes_total", Counter, Bytes,
        "Bytes written by flushes of the stream index";
    INDEX_MERGE_BYTES_TOTAL = "millstream_index_merge_bytes_total", Counter, Bytes,
        "Bytes written by merges of the stream index";

    // No label: an engine has one state writer.
    STATE_COMMIT_SECONDS = "millstream_state_commit_seconds", Histogram, Seconds,
        "Time of one commit of the state environment";
    STATE_BATCHES_TOTAL = "millstream_state_batches_total", Counter, Count,
        "Batches of changes committed to the state environment";
    STATE_BYTES_TOTAL = "millstream_state_bytes_total", Counter, Bytes,
        "Bytes of keys and values committed to the state environment";
    STATE_WRITER_STOPPED = "millstream_state_writer_stopped", Gauge, Flag,
        "Whether the state writer has stopped for good after a failure: projections stand still until the process is restarted";

    // No label: an engine has one clock.
    RECORDED_TIME_AHEAD_SECONDS = "millstream_recorded_time_ahead_seconds", Gauge, Seconds,
        "How far the time at which events are recorded is ahead of the machine's clock";

    // No label: the threads of a runtime that has spares.
    RUNTIME_HUNG_THREADS = "millstream_runtime_hung_threads", Gauge, Count,
        "Threads whose step has not come back for a tenth of a second";
    RUNTIME_SPARE_THREADS = "millstream_runtime_spare_threads", Gauge, Count,
        "Threads that are held in reserve for those that hang next";

    // No label: the memory of all state of a topology, if it is bounded.
    STATE_MEMORY_BYTES = "millstream_state_memory_bytes", Gauge, Bytes,
        "Memory that state of operators takes, by estimate";
    STATE_MEMORY_LIMIT_BYTES = "millstream_state_memory_limit_bytes", Gauge, Bytes,
        "Memory that state of operators may take: what is more lies on disk";
    STATE_PAGES_WRITTEN_TOTAL = "millstream_state_pages_written_total", Counter, Count,
        "Pages of state that were put on disk";
    STATE_PAGES_READ_TOTAL = "millstream_state_pages_read_total", Counter, Count,
        "Pages of state that were read back from disk";
}
