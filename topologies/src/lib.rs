//! Millstream: event sourcing, CQRS and stream processing in one engine.
//!
//! Start with [`Topology`], which says what runs, and [`Engine`], which runs it.

pub mod catalog;
pub mod cli;
pub mod dataflow;
mod engine;
pub mod money;
pub mod server;
#[cfg(feature = "sql")]
pub mod sql;
mod topology;

pub use engine::{
    DeadLetters, DecideError, Engine, EngineBuilder, EngineConfig, LogConfig, OpenError,
    PartitionProgress, ProjectedError, ProjectionVersion, ReadEventsError, Rebuild, RebuildError,
    RowAt, ShutdownError, SnapshotQuery, StallPolicy, StoredEvent, StuckPartition, TableAtError,
    TableAtQuery, VerifyError, VersionProgress, WatchdogConfig, read_all, read_partition,
    read_stream,
};
pub use millstream_engine::event::{TokenKey, UnsealError};
pub use millstream_engine::runtime::{Runtime, RuntimeConfig};
pub use topology::{InvalidTopology, Topology, TopologyBuilder, TopologyFault};

/// What most programs need. Functions of windows are in [`function`](millstream_operators::function), such as
/// `function::sum`: names as short as theirs are a program's own.
pub mod prelude {
    pub use crate::dataflow::{Dataflow, Driver, Feed, Flow};
    pub use crate::{Engine, EngineConfig, Topology};
    pub use millstream_engine::codec::{Event, Upcasters};
    pub use millstream_engine::event::{Recorded, StreamId, Token};
    pub use millstream_engine::flow::{Ascending, BoundedOutOfOrderness, Punctuated};
    pub use millstream_engine::partition::{Appender, CommandId, Expected, NewEvent};
    pub use millstream_engine::time::Timestamp;
    pub use millstream_operators::aggregate::{
        Ack, Aggregate, AggregateConfig, CommandError, CommandOptions, Decision, given,
    };
    pub use millstream_operators::function;
    pub use millstream_operators::past::{At, PastError};
    pub use millstream_operators::projection::{
        ChangeCursor, ChangesFrom, DeliveryConfig, Effect, Envelope, Handler, HandlerError, Index,
        Order, Outbox, OutboxMut, ProjectedEvent, Projection, ProjectionConfig, Reads, Retention,
        Route, Rows, Table, TableMut, TableSet, Wanted, project,
    };
    pub use millstream_operators::window::{
        Count, Global, Revision, Session, Sliding, Trigger, Tumbling, Window, Windowed,
    };
}

/// The README's program, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The guide's programs, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/dataflows.md")]
struct Guide;

/// The guide to changes of projections, likewise.
#[cfg(doctest)]
#[doc = include_str!("../../docs/projections.md")]
struct Projections;

/// The guide to queries, likewise.
#[cfg(doctest)]
#[doc = include_str!("../../docs/queries.md")]
struct Queries;
