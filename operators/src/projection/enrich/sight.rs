//! What a projection sees of others while it applies an event.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::StreamReader;

use super::stored::Stored;
use super::{LookupError, OpenReads, Reads, late};
use crate::projection::{
    HotRows, Order, ProgressBoard, ProjectedEvent, Projection, Row, Rows, Table, TableKey,
};

/// Which events come before one of a projection's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::projection) enum Scope {
    /// Those of its partition.
    Partition,
    /// Those of all partitions that were recorded before it.
    All,
}

impl Scope {
    pub(in crate::projection) const fn of<P: Projection>() -> Self {
        match (P::ROWS, P::ORDER) {
            (Rows::Global, Order::Recorded) => Self::All,
            _ => Self::Partition,
        }
    }
}

/// The place of an event.
#[derive(Debug, Default)]
pub(super) struct Moment {
    pub(super) partition: PartitionId,
    /// Offset by partition behind the last event that counts.
    pub(super) ends: Vec<Offset>,
    /// Later ones were applied already.
    pub(super) is_late: bool,
}

/// Where rows of a table are looked up.
#[expect(clippy::large_enum_variant, reason = "a few per projection")]
pub(super) enum Seen<K: TableKey, R: Row> {
    /// In the versions of its rows.
    Stored(Stored<K, R>),
    /// In memory, where rows are as of the event already.
    Shown(Arc<HotRows<K, R>>),
}

/// All that a projection sees of others.
#[derive(Default)]
pub(in crate::projection) struct Sight {
    tables: Vec<(&'static str, RefCell<Box<dyn Any + Send>>)>,
    boards: Vec<Arc<ProgressBoard>>,
    moment: RefCell<Moment>,
    /// For the place of an event that is late in the order of all; not found yet.
    log: Option<Arc<dyn StreamReader>>,
    is_unplaced: Cell<bool>,
    fault: RefCell<Option<LookupError>>,
}

impl fmt::Debug for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables: Vec<_> = self.tables.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Sight")
            .field("tables", &tables)
            .finish_non_exhaustive()
    }
}

impl Sight {
    /// What a projection that runs sees; `None` if these are not the readers of what it reads.
    pub(in crate::projection) fn stored(
        reads: &Reads,
        open: &OpenReads,
        scope: Scope,
        log: &Arc<dyn StreamReader>,
    ) -> Option<Self> {
        if reads.all.len() != open.0.len() {
            return None;
        }
        let mut own = Self {
            log: (scope == Scope::All).then(|| Arc::clone(log)),
            ..Self::default()
        };
        own.moment.get_mut().ends = vec![Offset(0); usize::from(log.partitions())];
        for (read, reader) in reads.all.iter().zip(&open.0) {
            let is_global = read.rows == Rows::Global;
            let (seen, board) = read.make.stored(&**reader, scope, is_global)?;
            own.tables.push((read.table, RefCell::new(seen)));
            if !own.boards.iter().any(|known| Arc::ptr_eq(known, &board)) {
                own.boards.push(board);
            }
        }
        Some(own)
    }

    /// Adds a table whose rows are in memory.
    pub(super) fn add(&mut self, table: &'static str, seen: Box<dyn Any + Send>) {
        self.tables.push((table, RefCell::new(seen)));
    }

    /// Boards of those that are read, each once.
    pub(in crate::projection) fn boards(&self) -> &[Arc<ProgressBoard>] {
        &self.boards
    }

    /// How far each partition is, before the events of a frame.
    pub(in crate::projection) fn stand(
        &mut self,
        ends: impl Iterator<Item = (PartitionId, Offset)>,
    ) {
        let moment = self.moment.get_mut();
        for (partition, end) in ends {
            if let Some(own) = moment.ends.get_mut(usize::from(partition.0)) {
                *own = end;
            }
        }
    }

    /// An event is applied next.
    #[inline]
    pub(in crate::projection) fn begin(
        &mut self,
        partition: PartitionId,
        offset: Offset,
        is_late: bool,
    ) {
        self.fault.get_mut().take();
        if self.tables.is_empty() {
            return;
        }
        let moment = self.moment.get_mut();
        (moment.partition, moment.is_late) = (partition, is_late);
        if let Some(end) = moment.ends.get_mut(usize::from(partition.0)) {
            *end = offset.plus(1);
        }
        self.is_unplaced.set(is_late && self.log.is_some());
    }

    /// That all rows could be looked up.
    #[inline]
    pub(in crate::projection) fn check(&self) -> Result<(), LookupError> {
        self.fault.borrow().clone().map_or(Ok(()), Err)
    }

    /// What kept rows of the last event from being looked up.
    #[inline]
    pub(in crate::projection) fn take_fault(&mut self) -> Option<LookupError> {
        self.fault.get_mut().take()
    }

    fn look_up<K: TableKey, R: Row>(&self, table: &'static str, key: &K) -> Option<R> {
        match self.find(table, key) {
            Ok(row) => row,
            Err(fault) => {
                self.fault.borrow_mut().get_or_insert(fault);
                None
            }
        }
    }

    fn find<K: TableKey, R: Row>(
        &self,
        table: &'static str,
        key: &K,
    ) -> Result<Option<R>, LookupError> {
        let undeclared = || LookupError::Undeclared { table };
        let mut tables = self.tables.iter();
        let found = tables.find(|(name, _)| *name == table);
        let mut seen = found.ok_or_else(undeclared)?.1.borrow_mut();
        let seen = seen.downcast_mut::<Seen<K, R>>().ok_or_else(undeclared)?;
        match seen {
            Seen::Shown(hot) => Ok(hot.get(key)),
            Seen::Stored(stored) => {
                if let Some(log) = self.log.as_ref().filter(|_| self.is_unplaced.get()) {
                    late::place(&**log, &mut self.moment.borrow_mut())?;
                    self.is_unplaced.set(false);
                }
                stored.get(&self.moment.borrow(), key)
            }
        }
    }
}

impl<E> ProjectedEvent<'_, E> {
    /// The row under `key` of another projection's table, as of this event; `None` when there was none. The projection names
    /// the table in [`Projection::reads`].
    ///
    /// What cannot be answered is no `None`: nothing that the event changes counts then, and the projection stops with a
    /// [`LookupError`].
    #[must_use]
    pub fn look_up<K: TableKey, R: Row>(&self, table: &Table<K, R>, key: &K) -> Option<R> {
        self.sight.look_up(table.name(), key)
    }
}
