//! A table as a set of its own.

use std::any::Any;
use std::sync::Arc;

use millstream_engine::codec::EncodeError;
use millstream_engine::event::Offset;
use millstream_engine::state::{StateStore, StateWrite};

use super::super::error::RowError;
use super::super::fresh::HandedOver;
use super::super::hot::HotRows;
use super::super::outbox::{DeclaredOutbox, Outlet, Sent};
use super::super::verify::{self, Looked, TableCheck};
use super::super::versions::Stamp;
use super::super::writer::{Place, TableMut};
use super::super::{
    PastTables, Places, ProgressBoard, QueryError, Row, Table, TableKey, TableReader,
};
use super::{Readers, TableSet, Taken};

impl<K: TableKey, R: Row> TableSet for Table<K, R> {
    type Writers = TableMut<K, R>;

    const HAS_OUTBOXES: bool = false;

    fn names(&self) -> Vec<&'static str> {
        vec![self.name()]
    }

    fn names_beside(&self) -> Vec<String> {
        self.beside()
    }

    fn versioned(&self) -> Vec<bool> {
        vec![self.retention().is_some()]
    }

    fn unique_indexes(&self) -> Vec<(&'static str, &'static str)> {
        let unique = self.indexes().iter().filter(|index| index.is_unique());
        unique.map(|index| (self.name(), index.name())).collect()
    }

    fn need_each_event(&self) -> bool {
        self.retention().is_some() || !TableSet::unique_indexes(self).is_empty()
    }

    fn hot(&self) -> Vec<Arc<dyn Any + Send + Sync>> {
        vec![Arc::new(HotRows::<K, R>::of(self))]
    }

    fn take_writers(&self, taken: &mut Taken<'_>, places: &Places<'_>) -> Option<Self::Writers> {
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

    fn take_readers(
        &self,
        taken: &mut Taken<'_>,
        store: &StateStore,
        board: &Arc<ProgressBoard>,
    ) -> Option<Readers> {
        let own = taken.table(self)?;
        let board = Arc::clone(board);
        let reader = TableReader::new(self, own.id, own.beside, store.clone(), own.hot, board);
        Some(vec![(self.name(), Arc::new(reader))])
    }

    fn verify_into(
        &self,
        looked: &Looked<'_>,
        past: &PastTables,
        checks: &mut Vec<TableCheck>,
    ) -> Result<(), QueryError> {
        checks.push(verify::check(self, checks.len(), looked, past)?);
        Ok(())
    }

    fn outboxes(&self) -> Vec<DeclaredOutbox> {
        Vec::new()
    }

    fn connect(_: &mut Self::Writers, _: &Outlet) {}

    #[inline]
    fn begin(writer: &mut Self::Writers, stamp: &Stamp, late: Option<Offset>) {
        writer.begin(stamp, late);
    }

    #[inline]
    fn come_from(_: &mut Self::Writers, _: &str) {}

    #[inline]
    fn foresees(writer: &mut Self::Writers) -> bool {
        writer.foresees()
    }

    fn foresee(writer: &Self::Writers, streams: &[u64]) {
        writer.foresee(streams);
    }

    #[inline]
    fn of_stream(writer: &mut Self::Writers, stream: &str) {
        writer.of_stream(stream);
    }

    fn effects(_: &Self::Writers) -> usize {
        0
    }

    fn take_sent(_: &mut Self::Writers, _: &mut Vec<Sent>) {}

    #[inline]
    fn check(writer: &mut Self::Writers) -> Result<(), RowError> {
        writer.check()
    }

    #[inline]
    fn keep_checked(writer: &mut Self::Writers) {
        writer.keep();
    }

    fn undo(writer: &mut Self::Writers) {
        writer.undo();
    }

    fn publish(writer: &mut Self::Writers) -> usize {
        writer.publish()
    }

    fn unstored(writer: &Self::Writers) -> usize {
        writer.unstored()
    }

    fn pending_bytes(writer: &Self::Writers) -> usize {
        writer.version_bytes()
    }

    fn store(
        writer: &mut Self::Writers,
        writes: &mut Vec<StateWrite>,
    ) -> Result<Vec<HandedOver>, EncodeError> {
        Ok(writer.store(writes)?.into_iter().collect())
    }

    fn rows(writer: &Self::Writers) -> usize {
        writer.rows()
    }

    fn uses(writer: &Self::Writers, into: &mut Vec<u64>) {
        writer.uses(into);
    }

    fn let_go(writer: &mut Self::Writers, used: u64) {
        writer.shrink(used);
    }
}
