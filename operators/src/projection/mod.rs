//! Projections: events in, rows out, and queries that say how fresh an answer must be.
//!
//! Place: the log's feed -> **projection** -> hot rows for readers, and `state/`. A [`Projection`] is a plain
//! function from an event to changes of its tables; [`ProjectionCore`] runs it as a stage, in one instance
//! per partition or one for all; [`TableReader`] answers queries on any thread, without a message.
//! Invariants: (1) rows and the position that explains them are stored in one transaction, so a restart
//! repeats and skips nothing; (2) an event's changes are applied all or none; (3) readers see rows as they
//! were after some whole batch, and a position is shown only after its rows; (4) events of a key whose
//! event failed wait behind it, in order, while others go on.
//! Not here: joins, windows.

mod applier;
mod board;
mod by_index;
mod changes;
mod compare;
mod config;
mod core;
mod decided;
mod decision;
mod derived;
mod enrich;
mod error;
mod following;
mod fresh;
mod handler;
mod hot;
mod in_memory;
mod index;
mod indexing;
mod kept;
mod key;
mod kit;
mod outbox;
mod owners;
mod pacer;
mod page;
mod parked;
mod past;
mod query;
mod range;
mod raw;
mod reader;
mod registering;
mod role;
mod route;
mod snapshot;
mod table;
mod tables;
mod verify;
mod versions;
mod wanted;
mod writer;

pub use self::core::{ProjectionCore, ProjectionParts};
pub use board::{Lag, ParkedStream, ProgressBoard};
pub use by_index::{ByIndex, IndexedRows};
pub use compare::{ComparedRow, ComparedTable, Comparison, compare};
pub use config::{FailurePolicy, ProjectionConfig, UnreadablePolicy};
pub(crate) use decision::ITEMS;
pub use decision::{DECISIONS, EDIT_BYTES_MAX, LetterDecision, LetterOrder};
pub use derived::{Derived, TrackedRows, TrackedTable};
pub use enrich::{LookupError, OpenReads, ReadFault, Reads, TableRead};
pub use error::{OpenProjectionError, QueryError, RowError};
pub use fresh::HandedOver;
pub use handler::{Handler, HandlerError, Of, Only};
pub use hot::HotRows;
pub use index::{AnyIndex, Index};
pub use key::{KeyPart, KeyPrefix, KeyValue, ParseKeyPartError, TableKey};
pub use kit::{Projected, project, same_by_key, same_in_batches};
#[doc(hidden)]
pub use outbox::{
    DeclaredOutbox, OpenOutlets, Outlet, Outlets, Sent, Undeclared, effects_of, tell_undeclared,
};
pub use outbox::{
    Deliver, Delivering, DeliveryConfig, DeliveryCore, DeliveryParts, Effect, EffectEvent,
    EffectId, EffectPlace, EffectsThat, GivenUp, GivenUpEffects, GivenUpId, ListedGivenUp, Outbox,
    OutboxMut, StoredCause, StoredEffect, StoredEffects,
};
pub use owners::Owners;
pub use pacer::Pacer;
pub use page::{Cursor, Page, Pages, ParseCursorError, RowOf, RowSource, SliceOf};
pub use past::{FailedEvent, PastTables, Replay, TableDiff};
pub use query::{Answer, Query};
pub use raw::RawTable;
pub use reader::{AnyReader, TableReader};
pub use registering::register;
pub use route::Route;
pub use snapshot::{Snapshot, TableSnapshot};
pub use table::{Row, Table};
#[doc(hidden)]
pub use tables::Taken;
pub use tables::{Places, TableSet};
pub use verify::{Looked, RowSample, TableCheck, Verification};
pub use versions::{
    ChangeCursor, Changes, ChangesError, ChangesFrom, FoundIn, ParseChangeCursorError, RawChange,
    RawChanges, RawChangesError, RawVersion, RawVersions, Retention, RowChange, RowHistory,
    RowVersion, Stamp, TableAt,
};
pub use wanted::{Envelope, Wanted};
pub(crate) use writer::Place;
pub use writer::TableMut;

use millstream_engine::codec::Event;
use millstream_engine::event::{Metadata, Position};
use millstream_engine::time::Timestamp;

/// Who owns the rows of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Each row belongs to the events of one partition: such as a row per stream. One actor per partition,
    /// so it scales with them. A key that events of two partitions write would have two owners: choose
    /// [`Global`](Self::Global) then.
    ByPartition,
    /// Rows may be written by events of any partition, and each event changes those of one key, which
    /// [`route`](Projection::route) gives. One actor reads all events, in the [`Order`] that the projection declares; where
    /// many come at once they are applied by several owners side by side, each of which has the rows of its keys. Their
    /// threads know no async runtime. Needs what batches need: see [`BATCH`](Projection::BATCH), which has to be 1.
    ByKey,
    /// Rows may be written by events of any partition. One actor applies them all, in the [`Order`] that the projection
    /// declares.
    Global,
}

/// In which order the events of several partitions come to a projection with [`Rows::Global`] or [`Rows::ByKey`]. Those of one partition come as
/// they were appended in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they are read: partition after partition, frame by frame, in a rebuild otherwise than live. For what does not
    /// depend on the order, such as counts and sums; nothing waits. The default.
    #[default]
    Arrival,
    /// As they were recorded: by time of their frame, and at the same time by partition. The same order live, in a rebuild and
    /// in a replay of the past, in which no effect comes before its cause: what was appended after somebody could see an
    /// event comes after it. An event waits until no other partition can record anything earlier any more, which takes
    /// about as long as a commit while they are at work. Events that waited behind one that failed come when they are freed.
    Recorded,
}

/// An event on its way into a projection.
#[derive(Debug)]
pub struct ProjectedEvent<'a, E> {
    /// Id of its stream without the category: `42` of `account-42`.
    pub id: &'a str,
    /// Its number in the stream.
    pub version: u64,
    /// Its place in the log.
    pub position: Position,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// When it happened.
    pub event_time: Timestamp,
    /// Where it came from.
    pub metadata: &'a Metadata,
    /// What happened.
    pub payload: &'a E,
    sight: &'a enrich::Sight,
}

// By hand: a derived one would ask that the payload, which is lent, can be copied.
impl<E> Clone for ProjectedEvent<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for ProjectedEvent<'_, E> {}

impl<'a, E> ProjectedEvent<'a, E> {
    /// The same event with another payload, such as a part of its own.
    #[must_use]
    #[inline]
    pub fn with<T>(&self, payload: &'a T) -> ProjectedEvent<'a, T> {
        ProjectedEvent {
            id: self.id,
            version: self.version,
            position: self.position,
            recorded_at: self.recorded_at,
            event_time: self.event_time,
            metadata: self.metadata,
            payload,
            sight: self.sight,
        }
    }
}

/// A read model: what each event changes in its tables. Several may share what they do, as [`Handler`]s.
pub trait Projection: Send + Sync + 'static {
    /// Its name, unique in a topology: the namespace of its tables and positions.
    const NAME: &'static str;
    /// Version of its tables and of what it does, from 1. A new one is built from the log, beside the old one; a topology
    /// that declares both switches from the one to the other when it is asked to.
    const VERSION: u32;
    /// Who owns its rows.
    const ROWS: Rows;
    /// In which order events of several partitions come.
    const ORDER: Order = Order::Arrival;
    /// Category of the events it reads.
    const CATEGORY: &'static str;
    /// The events.
    type Event: Event;
    /// Its tables: a [`Table`], an [`Outbox`], or a tuple of such.
    type Tables: TableSet;
    /// Why it can fail; [`std::convert::Infallible`] if it cannot.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Most events that [`project_batch`](Self::project_batch) is given at once. 1, the default, says that it is not called at
    /// all, and costs nothing. Events of a batch come from one frame of the log, so there may be far fewer. More than 1 needs
    /// tables that are not versioned and have no unique index, and no outboxes: what these make of an event depends on where it
    /// ends.
    const BATCH: usize = 1;

    /// The descriptions of its tables.
    fn tables(&self) -> Self::Tables;

    /// The key whose rows an event changes, of a projection with [`Rows::ByKey`]; others are not asked. That of its stream
    /// unless said otherwise.
    ///
    /// Law: whatever [`project`](Self::project) reads and changes for an event lies under keys that no event of another
    /// route reads or changes. [`same_by_key`] checks it, and `Engine::verify` on a whole log.
    fn route(&self, event: &ProjectedEvent<'_, Self::Event>) -> Route {
        Route::of(event.id)
    }

    /// Which events of its category it reads; all unless said otherwise. Asked once per start.
    fn wanted(&self) -> Wanted {
        Wanted::all()
    }

    /// Tables of other projections that it looks into, as of each event: see [`ProjectedEvent::look_up`]. None unless said
    /// otherwise. Asked whenever it starts. What it reads is part of what it is: reading another version raises its own.
    fn reads(&self) -> Reads {
        Reads::none()
    }

    /// Applies one event.
    ///
    /// # Errors
    /// What kept it from being applied. Nothing it changed counts then; the event's key is parked and the
    /// event tried again as the [`FailurePolicy`] says.
    fn project(
        &self,
        event: &ProjectedEvent<'_, Self::Event>,
        tables: &mut <Self::Tables as TableSet>::Writers,
    ) -> Result<(), Self::Error>;

    /// Applies many events at once, at least one: for a projection that gains by seeing them together, such as by one look-up
    /// for all events of a key. All of their changes are kept or none.
    ///
    /// Law: it leaves the rows that [`project`](Self::project) leaves, called for each in turn, and so does each way of cutting
    /// the events into batches. [`same_in_batches`] checks it; replays apply events one by one, so
    /// `Engine::verify` checks it on a whole log. How events are cut depends on how they were appended and is not
    /// the same live and in a rebuild. Events that failed, and those that wait behind them, come one by one.
    ///
    /// # Errors
    /// What kept a batch from being applied. Nothing of it counts then: its events are applied one by one, and what fails then
    /// is parked. A panic is the same.
    fn project_batch(
        &self,
        events: &[ProjectedEvent<'_, Self::Event>],
        tables: &mut <Self::Tables as TableSet>::Writers,
    ) -> Result<(), Self::Error> {
        events
            .iter()
            .try_for_each(|event| self.project(event, tables))
    }
}

#[cfg(test)]
mod tests;
