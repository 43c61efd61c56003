//! Where the tables of a dataflow are: made by whoever runs it, found by its table sinks and by readers.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use millstream_engine::state::{StateStore, StateWriterHandle, TableId};

use crate::projection::{AnyReader, HotRows, ProgressBoard, Row, Table, TableKey, TableReader};

/// Where one table of a dataflow lives, without its types.
#[derive(Clone)]
pub struct TablePlace {
    pub(super) id: TableId,
    /// An `Arc<HotRows<K, R>>`.
    pub(super) hot: Arc<dyn Any + Send + Sync>,
    pub(super) board: Arc<ProgressBoard>,
    /// A `TableReader<K, R>`.
    reader: Arc<dyn AnyReader>,
    /// Has that reader read another table.
    move_reader: Arc<dyn Fn(TableId) + Send + Sync>,
}

impl TablePlace {
    /// The place of `table` under `id`, where nothing is stored yet.
    #[must_use]
    pub fn new<K: TableKey, R: Row>(table: &Table<K, R>, id: TableId, store: &StateStore) -> Self {
        let hot = Arc::new(HotRows::of(table));
        let board = ProgressBoard::without_positions(table.name());
        let reader = TableReader::new(
            table,
            id,
            &[],
            store.clone(),
            Arc::clone(&hot),
            Arc::clone(&board),
        );
        let (moved, left) = (reader.clone(), Arc::clone(&hot));
        Self {
            id,
            hot,
            board,
            reader: Arc::new(reader),
            move_reader: Arc::new(move |id| {
                // First: rows of the one before are none of that one, which has none in memory yet.
                left.forget_all();
                moved.read_from(id);
            }),
        }
    }

    /// This place for a table that may have been made anew: its readers read that one from now on, and nothing that
    /// a run before had in memory.
    #[must_use]
    pub fn moved_to(&self, place: &Self) -> Self {
        (self.move_reader)(place.id);
        Self {
            id: place.id,
            ..self.clone()
        }
    }

    /// Its reader, a [`TableReader`] of its types.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn AnyReader> {
        Arc::clone(&self.reader)
    }
}

/// The tables of one dataflow and what stores their rows: a value of the
/// [`Resources`](millstream_engine::flow::Resources).
#[derive(Clone)]
pub struct TableAccess {
    /// Stored rows.
    pub store: StateStore,
    /// Stores rows.
    pub writer: StateWriterHandle,
    /// Places by the table's name.
    pub places: HashMap<&'static str, TablePlace>,
}

impl fmt::Debug for TablePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TablePlace")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TableAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableAccess")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}
