//! Tuples of tables: what a projection declares, and what its handler is given.

use std::any::Any;
use std::sync::Arc;

use millstream_engine::codec::EncodeError;
use millstream_engine::event::Offset;
use millstream_engine::state::{StateStore, StateWrite, TableId};

use super::error::RowError;
use super::fresh::HandedOver;
use super::hot::HotRows;
use super::reader::AnyReader;
use super::verify::{self, Looked, TableCheck};
use super::versions::Stamp;
use super::writer::{Place, TableMut, middle};
use super::{PastTables, ProgressBoard, QueryError, Row, Table, TableKey, TableReader};

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

/// The tables of a projection: `(Table<K, R>,)` up to six of them.
pub trait TableSet: Send + Sync + 'static {
    /// What the handler changes rows with: a tuple of [`TableMut`], in the same order.
    type Writers: Send + 'static;

    /// Names of the tables, in order.
    fn names(&self) -> Vec<&'static str>;

    /// Names under which they are stored: the tables', and then of what lies beside each of them.
    #[doc(hidden)]
    fn stored_names(&self) -> Vec<String>;

    /// Whether each table keeps versions of its rows, in order.
    #[doc(hidden)]
    fn versioned(&self) -> Vec<bool>;

    /// Tables with an index that has to be unique, and the index.
    #[doc(hidden)]
    fn unique_indexes(&self) -> Vec<(&'static str, &'static str)>;

    /// Fresh maps for readers, in order; each is an `Arc<HotRows<K, R>>`.
    #[doc(hidden)]
    fn hot(&self) -> Vec<Arc<dyn Any + Send + Sync>>;

    #[doc(hidden)]
    fn writers(&self, places: &Places<'_>) -> Option<Self::Writers>;

    /// Readers of the tables by name; each is a [`TableReader`](super::TableReader) of its table.
    #[doc(hidden)]
    fn readers(
        &self,
        ids: &[TableId],
        store: &StateStore,
        hot: &[Arc<dyn Any + Send + Sync>],
        board: &Arc<ProgressBoard>,
    ) -> Option<Vec<(&'static str, Arc<dyn AnyReader>)>>;

    /// Compares each table with the same one made anew.
    #[doc(hidden)]
    fn verify(&self, looked: &Looked<'_>, past: &PastTables)
    -> Result<Vec<TableCheck>, QueryError>;

    /// Says which event is applied next, to tables that keep versions; and up to where its partition had been read, if it is
    /// freed late.
    #[doc(hidden)]
    fn begin(writers: &mut Self::Writers, stamp: &Stamp, late: Option<Offset>);

    #[doc(hidden)]
    fn keep(writers: &mut Self::Writers) -> Result<(), RowError>;

    #[doc(hidden)]
    fn undo(writers: &mut Self::Writers);

    #[doc(hidden)]
    fn publish(writers: &mut Self::Writers) -> usize;

    #[doc(hidden)]
    fn unstored(writers: &Self::Writers) -> usize;

    /// Bytes of versions that were kept and not handed to the store.
    #[doc(hidden)]
    fn version_bytes(writers: &Self::Writers) -> usize;

    #[doc(hidden)]
    fn store(
        writers: &mut Self::Writers,
        writes: &mut Vec<StateWrite>,
    ) -> Result<Vec<HandedOver>, EncodeError>;

    #[doc(hidden)]
    fn rows(writers: &Self::Writers) -> usize;

    /// Lets at least half of the rows go, those that were used longest ago.
    #[doc(hidden)]
    fn shrink(writers: &mut Self::Writers);
}

/// Takes the next `count` ids off the front.
fn take_ids<'i>(ids: &mut &'i [TableId], count: usize) -> Option<&'i [TableId]> {
    let (own, rest) = ids.split_at_checked(count)?;
    *ids = rest;
    Some(own)
}

macro_rules! table_set {
    ($($key:ident $row:ident $at:tt),+) => {
        impl<$($key: TableKey, $row: Row),+> TableSet for ($(Table<$key, $row>,)+) {
            type Writers = ($(TableMut<$key, $row>,)+);

            fn names(&self) -> Vec<&'static str> {
                vec![$(self.$at.name()),+]
            }

            fn stored_names(&self) -> Vec<String> {
                let mut names: Vec<_> = self.names().into_iter().map(str::to_owned).collect();
                $(names.extend(self.$at.beside());)+
                names
            }

            fn versioned(&self) -> Vec<bool> {
                vec![$(self.$at.retention().is_some()),+]
            }

            fn unique_indexes(&self) -> Vec<(&'static str, &'static str)> {
                let mut names = Vec::new();
                $(
                    let unique = self.$at.indexes().iter().filter(|index| index.is_unique());
                    names.extend(unique.map(|index| (self.$at.name(), index.name())));
                )+
                names
            }

            fn hot(&self) -> Vec<Arc<dyn Any + Send + Sync>> {
                vec![$({
                    let hot = Arc::new(HotRows::<$key, $row>::of(&self.$at));
                    hot
                }),+]
            }

            fn writers(&self, places: &Places<'_>) -> Option<Self::Writers> {
                let mut rest = places.ids;
                let tables = take_ids(&mut rest, [$($at),+].len())?;
                Some(($({
                    let hot = Arc::clone(places.hot.get($at)?);
                    TableMut::new(Place {
                        table: &self.$at,
                        id: tables[$at],
                        beside: take_ids(&mut rest, self.$at.beside_count())?,
                        store: places.store.cloned(),
                        hot: hot.downcast::<HotRows<$key, $row>>().ok()?,
                        is_complete: places.is_complete,
                        actor: places.actor,
                    })
                },)+))
            }

            fn readers(
                &self,
                ids: &[TableId],
                store: &StateStore,
                hot: &[Arc<dyn Any + Send + Sync>],
                board: &Arc<ProgressBoard>,
            ) -> Option<Vec<(&'static str, Arc<dyn AnyReader>)>> {
                let mut rest = ids;
                let tables = take_ids(&mut rest, [$($at),+].len())?;
                Some(vec![$({
                    let hot = Arc::clone(hot.get($at)?).downcast::<HotRows<$key, $row>>().ok()?;
                    let beside = take_ids(&mut rest, self.$at.beside_count())?;
                    let reader = TableReader::new(
                        &self.$at, tables[$at], beside, store.clone(), hot, Arc::clone(board),
                    );
                    let reader: Arc<dyn AnyReader> = Arc::new(reader);
                    (self.$at.name(), reader)
                }),+])
            }

            fn verify(
                &self,
                looked: &Looked<'_>,
                past: &PastTables,
            ) -> Result<Vec<TableCheck>, QueryError> {
                Ok(vec![$(verify::check(&self.$at, $at, looked, past)?),+])
            }

            #[inline]
            fn begin(writers: &mut Self::Writers, stamp: &Stamp, late: Option<Offset>) {
                $(writers.$at.begin(stamp, late);)+
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

            fn version_bytes(writers: &Self::Writers) -> usize {
                0 $(+ writers.$at.version_bytes())+
            }

            fn store(
                writers: &mut Self::Writers,
                writes: &mut Vec<StateWrite>,
            ) -> Result<Vec<HandedOver>, EncodeError> {
                let mut handed_over = Vec::new();
                $(handed_over.extend(writers.$at.store(writes)?);)+
                Ok(handed_over)
            }

            fn rows(writers: &Self::Writers) -> usize {
                0 $(+ writers.$at.rows())+
            }

            fn shrink(writers: &mut Self::Writers) {
                let mut uses = Vec::with_capacity(Self::rows(writers));
                $(writers.$at.uses(&mut uses);)+
                let used = middle(&mut uses);
                $(writers.$at.shrink(used);)+
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
