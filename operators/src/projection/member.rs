//! What a projection's `Tables` may be made of: tables, and outboxes.
//!
//! Place: a tuple of members is a [`TableSet`](super::TableSet), which asks each of them in order. Cost: nothing of its own;
//! each call is one that the compiler knows.

use std::any::Any;
use std::sync::Arc;

use millstream_engine::codec::EncodeError;
use millstream_engine::event::Offset;
use millstream_engine::state::{StateStore, StateWrite, TableId};

use super::error::RowError;
use super::fresh::HandedOver;
use super::hot::HotRows;
use super::outbox::{DeclaredOutbox, Outlet, Sent};
use super::reader::AnyReader;
use super::verify::{self, Looked, TableCheck};
use super::versions::Stamp;
use super::writer::{Place, TableMut};
use super::{PastTables, Places, ProgressBoard, QueryError, Row, Table, TableKey, TableReader};

/// What is given out to the members of a tuple, in order.
#[doc(hidden)]
#[derive(Debug)]
pub struct Taken<'t> {
    tables: &'t [TableId],
    beside: &'t [TableId],
    hot: &'t [Arc<dyn Any + Send + Sync>],
}

/// What belongs to one table.
struct OfTable<'t, K: TableKey, R: 'static> {
    id: TableId,
    beside: &'t [TableId],
    hot: Arc<HotRows<K, R>>,
}

impl<'t> Taken<'t> {
    /// The ids of so many tables and of what lies beside them, and their maps.
    pub(super) fn new(
        tables: usize,
        ids: &'t [TableId],
        hot: &'t [Arc<dyn Any + Send + Sync>],
    ) -> Option<Self> {
        let (tables, beside) = ids.split_at_checked(tables)?;
        Some(Self {
            tables,
            beside,
            hot,
        })
    }

    fn table<K: TableKey, R: Row>(&mut self, table: &Table<K, R>) -> Option<OfTable<'t, K, R>> {
        let (id, tables) = self.tables.split_first()?;
        let (hot, maps) = self.hot.split_first()?;
        let (beside, rest) = self.beside.split_at_checked(table.beside_count())?;
        (self.tables, self.hot, self.beside) = (tables, maps, rest);
        Some(OfTable {
            id: *id,
            beside,
            hot: Arc::clone(hot).downcast().ok()?,
        })
    }
}

/// One member of a projection's `Tables`: a [`Table`] or an [`Outbox`](super::Outbox).
#[doc(hidden)]
pub trait Member: Send + Sync + 'static {
    type Writer: Send + 'static;
    const IS_TABLE: bool;

    fn table(&self) -> Option<&'static str>;
    fn outbox(&self) -> Option<DeclaredOutbox>;
    fn names_beside(&self) -> Vec<String>;
    /// Whether it keeps versions of its rows, if it is a table.
    fn versioned(&self) -> Option<bool>;
    fn unique_indexes(&self) -> Vec<(&'static str, &'static str)>;
    /// Whether what it makes of an event depends on where the event ends.
    fn needs_each_event(&self) -> bool;
    fn hot(&self) -> Option<Arc<dyn Any + Send + Sync>>;
    fn writer(&self, taken: &mut Taken<'_>, places: &Places<'_>) -> Option<Self::Writer>;
    /// `None` if the tables are another projection's.
    fn reader(
        &self,
        taken: &mut Taken<'_>,
        store: &StateStore,
        board: &Arc<ProgressBoard>,
    ) -> Option<Option<(&'static str, Arc<dyn AnyReader>)>>;
    fn verify(
        &self,
        at: usize,
        looked: &Looked<'_>,
        past: &PastTables,
    ) -> Result<Option<TableCheck>, QueryError>;
    fn connect(writer: &mut Self::Writer, outlet: &Outlet);
    fn begin(writer: &mut Self::Writer, stamp: &Stamp, late: Option<Offset>);
    fn come_from(writer: &mut Self::Writer, id: &str);
    fn take_sent(writer: &mut Self::Writer, into: &mut Vec<Sent>);
    fn check(writer: &mut Self::Writer) -> Result<(), RowError>;
    fn keep(writer: &mut Self::Writer);
    fn undo(writer: &mut Self::Writer);
    fn publish(writer: &mut Self::Writer) -> usize;
    fn unstored(writer: &Self::Writer) -> usize;
    fn pending_bytes(writer: &Self::Writer) -> usize;
    fn store(
        writer: &mut Self::Writer,
        writes: &mut Vec<StateWrite>,
    ) -> Result<Option<HandedOver>, EncodeError>;
    fn rows(writer: &Self::Writer) -> usize;
    fn uses(writer: &Self::Writer, into: &mut Vec<u64>);
    fn shrink(writer: &mut Self::Writer, used: u64);
}

impl<K: TableKey, R: Row> Member for Table<K, R> {
    type Writer = TableMut<K, R>;
    const IS_TABLE: bool = true;

    fn table(&self) -> Option<&'static str> {
        Some(self.name())
    }

    fn outbox(&self) -> Option<DeclaredOutbox> {
        None
    }

    fn names_beside(&self) -> Vec<String> {
        self.beside()
    }

    fn versioned(&self) -> Option<bool> {
        Some(self.retention().is_some())
    }

    fn unique_indexes(&self) -> Vec<(&'static str, &'static str)> {
        let unique = self.indexes().iter().filter(|index| index.is_unique());
        unique.map(|index| (self.name(), index.name())).collect()
    }

    fn needs_each_event(&self) -> bool {
        self.retention().is_some() || !Member::unique_indexes(self).is_empty()
    }

    fn hot(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(HotRows::<K, R>::of(self)))
    }

    fn writer(&self, taken: &mut Taken<'_>, places: &Places<'_>) -> Option<Self::Writer> {
        let own = taken.table(self)?;
        Some(TableMut::new(Place {
            table: self,
            id: own.id,
            beside: own.beside,
            store: places.store.cloned(),
            hot: own.hot,
            is_complete: places.is_complete,
            actor: places.actor,
        }))
    }

    fn reader(
        &self,
        taken: &mut Taken<'_>,
        store: &StateStore,
        board: &Arc<ProgressBoard>,
    ) -> Option<Option<(&'static str, Arc<dyn AnyReader>)>> {
        let own = taken.table(self)?;
        let board = Arc::clone(board);
        let reader = TableReader::new(self, own.id, own.beside, store.clone(), own.hot, board);
        Some(Some((self.name(), Arc::new(reader))))
    }

    fn verify(
        &self,
        at: usize,
        looked: &Looked<'_>,
        past: &PastTables,
    ) -> Result<Option<TableCheck>, QueryError> {
        verify::check(self, at, looked, past).map(Some)
    }

    fn connect(_: &mut Self::Writer, _: &Outlet) {}

    #[inline]
    fn begin(writer: &mut Self::Writer, stamp: &Stamp, late: Option<Offset>) {
        writer.begin(stamp, late);
    }

    #[inline]
    fn come_from(_: &mut Self::Writer, _: &str) {}

    fn take_sent(_: &mut Self::Writer, _: &mut Vec<Sent>) {}

    #[inline]
    fn check(writer: &mut Self::Writer) -> Result<(), RowError> {
        writer.check()
    }

    #[inline]
    fn keep(writer: &mut Self::Writer) {
        writer.keep();
    }

    fn undo(writer: &mut Self::Writer) {
        writer.undo();
    }

    fn publish(writer: &mut Self::Writer) -> usize {
        writer.publish()
    }

    fn unstored(writer: &Self::Writer) -> usize {
        writer.unstored()
    }

    fn pending_bytes(writer: &Self::Writer) -> usize {
        writer.version_bytes()
    }

    fn store(
        writer: &mut Self::Writer,
        writes: &mut Vec<StateWrite>,
    ) -> Result<Option<HandedOver>, EncodeError> {
        writer.store(writes)
    }

    fn rows(writer: &Self::Writer) -> usize {
        writer.rows()
    }

    fn uses(writer: &Self::Writer, into: &mut Vec<u64>) {
        writer.uses(into);
    }

    fn shrink(writer: &mut Self::Writer, used: u64) {
        writer.shrink(used);
    }
}
