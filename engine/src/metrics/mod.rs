//! What the engine tells about itself: every metric name, and the handles that record them.
//!
//! Place: above everything that counts (mailboxes, batches, the index); the parts that run take a
//! handle struct at their start and record once per batch, commit or scrape, never once per event.
//! Invariants: (1) each name stands once in [`ALL`], with unit and help; (2) labels are `stage`,
//! `partition`, `category`, `projection`, `outbox`, `derived` and `dataflow`, whose values a topology fixes: nothing of a stream, key or
//! caller ever becomes a label.
//! Threads: handles may be used from any thread.
//! Failure: none. Handles are bound to the recorder that is installed when they are made; made
//! before, they record nothing, for ever. So install the recorder first.
//! Cost: making a handle allocates and looks names up; recording is an atomic operation per figure.
//! Not here: the recorder and its HTTP listener, see `millstream::server`.

mod catalog;
mod clock;
mod dead_letters;
mod flow;
mod labels;
mod load;
mod memory;
mod outboxes;
mod read_side;
#[cfg(test)]
mod tests;
mod threads;
mod write_side;

pub use catalog::*;
pub use clock::ClockMetrics;
pub use dead_letters::{DeadLetterMetrics, ParkedCause, ParkedNow};
pub use flow::{
    BatchMetrics, BreakerMetrics, CheckpointMetrics, DataflowMetrics, LateMetrics, MailboxMetrics,
    PartitionMetrics, StageMetrics, StallMetrics, UnreadableMetrics, observe_skew,
};
pub use load::{LoadMeter, skew};
pub use memory::StateMemoryMetrics;
pub use outboxes::{DeliveryMetrics, OutboxMetrics, OutboxNow, observe_undeclared};
pub use read_side::{DerivedMetrics, ProjectionMetrics, StateWriterMetrics, VersionMetrics};
pub use threads::ThreadMetrics;
pub use write_side::{AggregateMetrics, AggregateTally, CommitSample, IndexMetrics, WriterMetrics};

/// Gives the recorder in force unit and help of each metric. Once, after it was installed and before
/// the first scrape; again changes nothing.
pub fn describe_all() {
    for metric in ALL {
        let Metric { name, help, .. } = *metric;
        let unit = match metric.unit {
            Unit::Seconds => metrics::Unit::Seconds,
            Unit::Microseconds => metrics::Unit::Microseconds,
            Unit::Bytes => metrics::Unit::Bytes,
            Unit::PerSecond => metrics::Unit::CountPerSecond,
            Unit::Count | Unit::Ratio | Unit::Flag => metrics::Unit::Count,
        };
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}
