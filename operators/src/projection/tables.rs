//! What a projection's `Tables` may be: a table, an outbox, or a tuple of such, which may be tuples themselves.
//!
//! Place: a projection declares a **`TableSet`**; whoever runs it asks the set, which asks its parts in order. So projections
//! are put together from smaller [`Handler`](super::Handler)s with tables of their own.
//! Cost: nothing of its own; each call is one that the compiler knows.

mod of_table;
mod taken;
mod tuples;

use std::any::Any;
use std::sync::Arc;

use millstream_engine::codec::EncodeError;
use millstream_engine::event::Offset;
use millstream_engine::state::{StateStore, StateWrite, TableId};

pub use taken::Taken;

use super::error::RowError;
use super::fresh::HandedOver;
use super::outbox::{DeclaredOutbox, Outlet, Sent};
use super::reader::AnyReader;
use super::verify::{Looked, TableCheck};
use super::versions::Stamp;
use super::writer::middle;
use super::{PastTables, ProgressBoard, QueryError};

/// What the writers of a projection's tables are made from.
#[doc(hidden)]
#[derive(Debug)]
pub struct Places<'p> {
    /// Of the tables and then of what lies beside them, as [`TableSet::stored_names`] names them.
    pub ids: &'p [TableId],
    /// Stored rows; none in the test kit.
    pub store: Option<&'p StateStore>,
    /// As [`TableSet::hot`] made them.
    pub hot: &'p [Arc<dyn Any + Send + Sync>],
    /// Nothing was ever stored.
    pub is_complete: bool,
    /// Which of the projection's actors.
    pub actor: u16,
}

/// The readers of tables by name; each is a [`TableReader`](super::TableReader) of its table.
type Readers = Vec<(&'static str, Arc<dyn AnyReader>)>;

/// The tables of a projection: a [`Table`](super::Table), an [`Outbox`](super::Outbox), or a tuple of up to six sets.
pub trait TableSet: Send + Sync + 'static {
    /// What the handler changes rows with and sends effects to: a [`TableMut`](super::TableMut), an
    /// [`OutboxMut`](super::OutboxMut), or a tuple of what the sets in it have, in the same order.
    type Writers: Send + 'static;

    /// Whether there are outboxes.
    #[doc(hidden)]
    const HAS_OUTBOXES: bool;

    /// Names of the tables, in order.
    fn names(&self) -> Vec<&'static str>;

    /// Names of what lies beside them, in order.
    #[doc(hidden)]
    fn names_beside(&self) -> Vec<String>;

    /// Names under which they are stored: the tables', and then of what lies beside each of them.
    #[doc(hidden)]
    fn stored_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.names().into_iter().map(str::to_owned).collect();
        names.extend(self.names_beside());
        names
    }

    /// Whether each table keeps versions of its rows, in order.
    #[doc(hidden)]
    fn versioned(&self) -> Vec<bool>;

    /// Tables with an index that has to be unique, and the index.
    #[doc(hidden)]
    fn unique_indexes(&self) -> Vec<(&'static str, &'static str)>;

    /// Whether events may not be applied in batches: what is made of an event depends on where it ends.
    #[doc(hidden)]
    fn need_each_event(&self) -> bool;

    /// Fresh maps for readers, in order; each is an `Arc<HotRows<K, R>>`.
    #[doc(hidden)]
    fn hot(&self) -> Vec<Arc<dyn Any + Send + Sync>>;

    #[doc(hidden)]
    fn writers(&self, places: &Places<'_>) -> Option<Self::Writers> {
        let mut taken = Taken::new(self.names().len(), places.ids, places.hot)?;
        self.take_writers(&mut taken, places)
    }

    #[doc(hidden)]
    fn take_writers(&self, taken: &mut Taken<'_>, places: &Places<'_>) -> Option<Self::Writers>;

    #[doc(hidden)]
    fn readers(
        &self,
        ids: &[TableId],
        store: &StateStore,
        hot: &[Arc<dyn Any + Send + Sync>],
        board: &Arc<ProgressBoard>,
    ) -> Option<Readers> {
        let mut taken = Taken::new(self.names().len(), ids, hot)?;
        self.take_readers(&mut taken, store, board)
    }

    #[doc(hidden)]
    fn take_readers(
        &self,
        taken: &mut Taken<'_>,
        store: &StateStore,
        board: &Arc<ProgressBoard>,
    ) -> Option<Readers>;

    /// Compares each table with the same one made anew.
    #[doc(hidden)]
    fn verify(
        &self,
        looked: &Looked<'_>,
        past: &PastTables,
    ) -> Result<Vec<TableCheck>, QueryError> {
        let mut checks = Vec::new();
        self.verify_into(looked, past, &mut checks)?;
        Ok(checks)
    }

    /// Adds what is found about each table; those in front of it have been added.
    #[doc(hidden)]
    fn verify_into(
        &self,
        looked: &Looked<'_>,
        past: &PastTables,
        checks: &mut Vec<TableCheck>,
    ) -> Result<(), QueryError>;

    /// The outboxes, in order.
    #[doc(hidden)]
    fn outboxes(&self) -> Vec<DeclaredOutbox>;

    /// Has what is sent go out this way; it is silent without.
    #[doc(hidden)]
    fn connect(writers: &mut Self::Writers, outlet: &Outlet);

    /// Says which event is applied next, to tables that keep versions; and up to where its partition had been read, if it is
    /// freed late.
    #[doc(hidden)]
    fn begin(writers: &mut Self::Writers, stamp: &Stamp, late: Option<Offset>);

    /// Says of which stream the event is that is applied next, to outboxes.
    #[doc(hidden)]
    fn come_from(writers: &mut Self::Writers, id: &str);

    /// Whether it pays to [foresee](Self::foresee) rows.
    #[doc(hidden)]
    fn foresees(writers: &mut Self::Writers) -> bool;

    /// Has the rows at hand that events of these streams probably touch.
    #[doc(hidden)]
    fn foresee(writers: &Self::Writers, streams: &[u64]);

    /// Says of which stream the event is that is applied next, to tables that foresee.
    #[doc(hidden)]
    fn of_stream(writers: &mut Self::Writers, stream: &str);

    /// Effects that were sent and not handed to the store.
    #[doc(hidden)]
    fn effects(writers: &Self::Writers) -> usize;

    /// Takes what was sent and kept for whoever looks, in the test kit.
    #[doc(hidden)]
    fn take_sent(writers: &mut Self::Writers, into: &mut Vec<Sent>);

    /// Whether what was changed since the last event, or the last events, can be kept.
    #[doc(hidden)]
    fn check(writers: &mut Self::Writers) -> Result<(), RowError>;

    /// Keeps what was [checked](Self::check).
    #[doc(hidden)]
    fn keep_checked(writers: &mut Self::Writers);

    #[doc(hidden)]
    #[inline]
    fn keep(writers: &mut Self::Writers) -> Result<(), RowError> {
        // All are asked before any keeps its changes: they are undone together.
        Self::check(writers)?;
        Self::keep_checked(writers);
        Ok(())
    }

    #[doc(hidden)]
    fn undo(writers: &mut Self::Writers);

    #[doc(hidden)]
    fn publish(writers: &mut Self::Writers) -> usize;

    #[doc(hidden)]
    fn unstored(writers: &Self::Writers) -> usize;

    /// Bytes of versions and effects that were kept and not handed to the store.
    #[doc(hidden)]
    fn pending_bytes(writers: &Self::Writers) -> usize;

    #[doc(hidden)]
    fn store(
        writers: &mut Self::Writers,
        writes: &mut Vec<StateWrite>,
    ) -> Result<Vec<HandedOver>, EncodeError>;

    #[doc(hidden)]
    fn rows(writers: &Self::Writers) -> usize;

    /// When each row was used.
    #[doc(hidden)]
    fn uses(writers: &Self::Writers, into: &mut Vec<u64>);

    /// Lets rows go that were used no later than this.
    #[doc(hidden)]
    fn let_go(writers: &mut Self::Writers, used: u64);

    /// Lets at least half of the rows go, those that were used longest ago.
    #[doc(hidden)]
    fn shrink(writers: &mut Self::Writers) {
        let mut uses = Vec::with_capacity(Self::rows(writers));
        Self::uses(writers, &mut uses);
        let used = middle(&mut uses);
        Self::let_go(writers, used);
    }
}
