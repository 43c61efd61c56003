//! Tables of a projection that are in memory alone: for replays and the test kit. Nothing of them is ever stored.

use std::any::Any;
use std::sync::Arc;

use millstream_engine::state::TableId;

use super::{Places, TableSet};

/// What changes them, and what shows them.
pub(super) struct InMemory<T: TableSet> {
    pub(super) writers: T::Writers,
    /// As [`TableSet::hot`] made them.
    pub(super) hot: Vec<Arc<dyn Any + Send + Sync>>,
    /// Of the tables and then of what lies beside them.
    pub(super) ids: Vec<TableId>,
}

impl<T: TableSet> InMemory<T> {
    /// Empty ones.
    ///
    /// # Panics
    /// When a hand-written [`TableSet`] does not fit its own tables.
    pub(super) fn of(tables: &T) -> Self {
        let hot = tables.hot();
        let stored = tables.stored_names().len();
        let ids: Vec<_> = (1..).map(TableId).take(stored).collect();
        let writers = tables.writers(&Places {
            ids: &ids,
            store: None,
            hot: &hot,
            is_complete: true,
            actor: 0,
        });
        Self {
            writers: writers.expect("tables fit what they made themselves"),
            hot,
            ids,
        }
    }
}
