//! Why a topology cannot work: all that is wrong with it, each with its place.

use std::path::PathBuf;

use millstream_operators::projection::ReadFault;

use crate::dataflow::DataflowFault;

/// One thing that is wrong with a topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyFault {
    /// The topology needs a name.
    #[error("the topology has no name")]
    NoName,
    /// A category that no stream id can have.
    #[error(
        "aggregate {category:?}: a category is not empty and has no '-', '@' or control character"
    )]
    Category {
        /// The category.
        category: &'static str,
    },
    /// A category whose streams the engine itself writes.
    #[error("aggregate {category:?}: this category belongs to the engine")]
    ReservedCategory {
        /// The category.
        category: &'static str,
    },
    /// Two aggregates of one category would write the same streams.
    #[error("two aggregates of category {category:?}")]
    SameCategory {
        /// The category.
        category: &'static str,
    },
    /// Two projections of one name and version would share their state; another version of a projection is its candidate.
    #[error("two projections named {name:?}: declare another version of one with .candidate(…)")]
    SameProjection {
        /// The name.
        name: &'static str,
    },
    /// A candidate is another version of a projection that the topology has.
    #[error(
        "version {version} of projection {name:?} is a candidate for nothing: add the version that it is to follow with .projection(…)"
    )]
    CandidateOfNone {
        /// The name.
        name: &'static str,
        /// The candidate's version.
        version: u32,
    },
    /// Two versions of a projection are told apart by their number.
    #[error(
        "projection {name:?} is declared twice as version {version}: give the candidate another VERSION"
    )]
    SameVersion {
        /// The name.
        name: &'static str,
        /// The version.
        version: u32,
    },
    /// Two tables of one name could not be told apart by a query.
    #[error("table {table:?} of projection {second:?} is one of {first:?} already")]
    SameTable {
        /// The table.
        table: &'static str,
        /// The projection that declared it first.
        first: &'static str,
        /// The other one.
        second: &'static str,
    },
    /// What a projection reads of another one cannot be read.
    #[error("projection {projection:?}: {fault}")]
    Reads {
        /// Name of the projection that reads.
        projection: &'static str,
        /// What is wrong.
        fault: ReadFault,
    },
    /// Events of several partitions have an order only where one actor sees them all.
    #[error(
        "projection {projection:?} wants events in the order in which they were recorded, and has an actor per partition, \
         each of which sees its own: let its rows be Rows::Global, or leave Projection::ORDER as it is"
    )]
    OrderByPartition {
        /// Name of the projection.
        projection: &'static str,
    },
    /// What some tables make of an event depends on where it ends.
    #[error(
        "projection {projection:?} wants batches of events, and has a table that is versioned or has a unique index, or an \
         outbox, or reads tables of others: leave Projection::BATCH as it is, or put that into a projection of its own"
    )]
    BatchOfEach {
        /// Name of the projection.
        projection: &'static str,
    },
    /// What some tables make of an event depends on those of other keys.
    #[error(
        "rows of projection {projection:?} are routed by key, and it has a table that is versioned or has a unique index, or an \
         outbox, or reads tables of others, or wants batches: let its rows be Rows::Global, or put that into a projection of \
         its own"
    )]
    RoutedTogether {
        /// Name of the projection.
        projection: &'static str,
    },
    /// An index is unique only where one actor sees all rows.
    #[error(
        "index {index:?} of table {table:?} cannot be kept unique: projection {projection:?} has an actor per partition; \
         let its rows be Rows::Global, or the index not be unique"
    )]
    UniqueByPartition {
        /// The projection.
        projection: &'static str,
        /// Its table.
        table: &'static str,
        /// The index.
        index: &'static str,
    },
    /// Somebody has to deliver what is sent.
    #[error(
        "outbox {outbox:?} of projection {projection:?} is delivered by nobody: add .deliver(…) for it"
    )]
    Undelivered {
        /// The projection.
        projection: &'static str,
        /// Its outbox.
        outbox: &'static str,
    },
    /// What is delivered has to be sent by somebody.
    #[error("outbox {outbox:?} is to be delivered, and no projection has one with such effects")]
    UnknownOutbox {
        /// The outbox.
        outbox: &'static str,
    },
    /// Two outboxes of one name, or two deliveries of one, could not be told apart.
    #[error("outbox {outbox:?} is declared, or delivered, twice")]
    SameOutbox {
        /// The outbox.
        outbox: &'static str,
    },
    /// The name is part of keys in the store.
    #[error(
        "outbox {outbox:?}: a name is not empty, not longer than 255 bytes and has no control character"
    )]
    OutboxName {
        /// The outbox.
        outbox: &'static str,
    },
    /// Something is wrong with a dataflow.
    #[error("dataflow {dataflow:?}: {fault}")]
    Dataflow {
        /// Its name.
        dataflow: String,
        /// What is wrong.
        fault: DataflowFault,
    },
    /// Two dataflows of one name would share their state.
    #[error("two dataflows named {dataflow:?}")]
    SameDataflow {
        /// The name.
        dataflow: String,
    },
    /// A table has one writer.
    #[error("dataflow {dataflow:?} writes table {table:?}, which is one of {owner} already")]
    TableTaken {
        /// The dataflow.
        dataflow: String,
        /// The table.
        table: &'static str,
        /// The projection or dataflow that declared it first.
        owner: String,
    },
    /// Two producers of one name would take each other's events for their own of an earlier run.
    #[error(
        "dataflow {second:?} appends to the log as producer {producer:?}, and so does {first:?}: give each a name of \
         its own, and streams of its own"
    )]
    SameProducer {
        /// The name.
        producer: String,
        /// The dataflow that declared it first.
        first: String,
        /// The other one.
        second: String,
    },
    /// Sinks of two dataflows into files of the same names would overwrite and delete each other's.
    #[error(
        "dataflows {first:?} and {second:?} both write files {prefix}-… into {}: give each sink a prefix of its own",
        .folder.display()
    )]
    SameFiles {
        /// The folder.
        folder: PathBuf,
        /// What the files' names begin with.
        prefix: String,
        /// The dataflow that was declared first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A source reads the events of a type, and nobody knows where they are.
    #[error(
        "dataflow {dataflow:?}, source {source_name:?}: no aggregate of this topology has events of type {event_type}: \
         say in which category they are with .category(\"…\")"
    )]
    UnknownEvents {
        /// The dataflow.
        dataflow: String,
        /// The source.
        source_name: String,
        /// The type.
        event_type: &'static str,
    },
    /// Versions count from 1.
    #[error("{part} {name:?} has version 0: versions count from 1")]
    VersionZero {
        /// What it is.
        part: &'static str,
        /// Its name.
        name: &'static str,
    },
}

/// Everything that is wrong with a topology, at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topology {name:?} cannot run: {}", list(.faults))]
pub struct InvalidTopology {
    /// Its name.
    pub name: String,
    /// What is wrong, in the order in which the parts were declared.
    pub faults: Vec<TopologyFault>,
}

fn list(faults: &[TopologyFault]) -> String {
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
