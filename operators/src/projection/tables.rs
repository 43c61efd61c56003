//! Tuples of tables: what a projection declares, and what its handler is given.

use std::any::Any;
use std::sync::Arc;

use millstream_engine::codec::EncodeError;
use millstream_engine::state::{StateStore, StateWrite, TableId};

use super::error::RowError;
use super::reader::HotRows;
use super::writer::TableMut;
use super::{ProgressBoard, Row, Table, TableKey, TableReader};

/// The tables of a projection: `(Table<K, R>,)` up to six of them.
pub trait TableSet: Send + Sync + 'static {
    /// What the handler changes rows with: a tuple of [`TableMut`], in the same order.
    type Writers: Send + 'static;

    /// Names of the tables, in order.
    fn names(&self) -> Vec<&'static str>;

    /// Fresh maps for readers, in order; each is an `Arc<HotRows<K, R>>`.
    #[doc(hidden)]
    fn hot(&self) -> Vec<Arc<dyn Any + Send + Sync>>;

    #[doc(hidden)]
    fn writers(
        &self,
        ids: &[TableId],
        store: Option<&StateStore>,
        hot: &[Arc<dyn Any + Send + Sync>],
        complete: bool,
    ) -> Option<Self::Writers>;

    /// Readers of the tables by name; each is a [`TableReader`](super::TableReader) of its table.
    #[doc(hidden)]
    fn readers(
        &self,
        ids: &[TableId],
        store: &StateStore,
        hot: &[Arc<dyn Any + Send + Sync>],
        board: &Arc<ProgressBoard>,
    ) -> Option<Vec<(&'static str, Arc<dyn Any + Send + Sync>)>>;

    #[doc(hidden)]
    fn keep(writers: &mut Self::Writers) -> Result<(), RowError>;

    #[doc(hidden)]
    fn undo(writers: &mut Self::Writers);

    #[doc(hidden)]
    fn publish(writers: &mut Self::Writers) -> usize;

    #[doc(hidden)]
    fn unstored(writers: &Self::Writers) -> usize;

    #[doc(hidden)]
    fn store(writers: &mut Self::Writers, writes: &mut Vec<StateWrite>) -> Result<(), EncodeError>;

    #[doc(hidden)]
    fn rows(writers: &Self::Writers) -> usize;

    #[doc(hidden)]
    fn shrink(writers: &mut Self::Writers);
}

macro_rules! table_set {
    ($($key:ident $row:ident $at:tt),+) => {
        impl<$($key: TableKey, $row: Row),+> TableSet for ($(Table<$key, $row>,)+) {
            type Writers = ($(TableMut<$key, $row>,)+);

            fn names(&self) -> Vec<&'static str> {
                vec![$(self.$at.name()),+]
            }

            fn hot(&self) -> Vec<Arc<dyn Any + Send + Sync>> {
                vec![$({
                    let hot: Arc<HotRows<$key, $row>> = Arc::default();
                    hot
                }),+]
            }

            fn writers(
                &self,
                ids: &[TableId],
                store: Option<&StateStore>,
                hot: &[Arc<dyn Any + Send + Sync>],
                complete: bool,
            ) -> Option<Self::Writers> {
                Some(($({
                    let hot = Arc::clone(hot.get($at)?).downcast::<HotRows<$key, $row>>().ok()?;
                    TableMut::new(*ids.get($at)?, store.cloned(), hot, complete)
                },)+))
            }

            fn readers(
                &self,
                ids: &[TableId],
                store: &StateStore,
                hot: &[Arc<dyn Any + Send + Sync>],
                board: &Arc<ProgressBoard>,
            ) -> Option<Vec<(&'static str, Arc<dyn Any + Send + Sync>)>> {
                Some(vec![$({
                    let hot = Arc::clone(hot.get($at)?).downcast::<HotRows<$key, $row>>().ok()?;
                    let reader =
                        TableReader::new(*ids.get($at)?, store.clone(), hot, Arc::clone(board));
                    let reader: Arc<dyn Any + Send + Sync> = Arc::new(reader);
                    (self.$at.name(), reader)
                }),+])
            }

            #[inline]
            fn keep(writers: &mut Self::Writers) -> Result<(), RowError> {
                // All are asked before any keeps its changes: they are undone together.
                $(writers.$at.check()?;)+
                $(writers.$at.keep();)+
                Ok(())
            }

            fn undo(writers: &mut Self::Writers) {
                $(writers.$at.undo();)+
            }

            fn publish(writers: &mut Self::Writers) -> usize {
                0 $(+ writers.$at.publish())+
            }

            fn unstored(writers: &Self::Writers) -> usize {
                0 $(+ writers.$at.unstored())+
            }

            fn store(writers: &mut Self::Writers, writes: &mut Vec<StateWrite>) -> Result<(), EncodeError> {
                $(writers.$at.store(writes)?;)+
                Ok(())
            }

            fn rows(writers: &Self::Writers) -> usize {
                0 $(+ writers.$at.rows())+
            }

            fn shrink(writers: &mut Self::Writers) {
                $(writers.$at.shrink();)+
            }
        }
    };
}

table_set!(K0 R0 0);
table_set!(K0 R0 0, K1 R1 1);
table_set!(K0 R0 0, K1 R1 1, K2 R2 2);
table_set!(K0 R0 0, K1 R1 1, K2 R2 2, K3 R3 3);
table_set!(K0 R0 0, K1 R1 1, K2 R2 2, K3 R3 3, K4 R4 4);
table_set!(K0 R0 0, K1 R1 1, K2 R2 2, K3 R3 3, K4 R4 4, K5 R5 5);
