//! What is given out to the parts of a set of tables, in order.

use std::any::Any;
use std::sync::Arc;

use millstream_engine::state::TableId;

use super::super::hot::HotRows;
use super::super::{Row, Table, TableKey};

/// What is given out to the parts of a set, in order.
#[doc(hidden)]
#[derive(Debug)]
pub struct Taken<'t> {
    tables: &'t [TableId],
    beside: &'t [TableId],
    hot: &'t [Arc<dyn Any + Send + Sync>],
}

/// What belongs to one table.
pub(super) struct OfTable<'t, K: TableKey, R: 'static> {
    pub(super) id: TableId,
    pub(super) beside: &'t [TableId],
    pub(super) hot: Arc<HotRows<K, R>>,
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

    /// What belongs to the next table.
    pub(super) fn table<K: TableKey, R: Row>(
        &mut self,
        table: &Table<K, R>,
    ) -> Option<OfTable<'t, K, R>> {
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
