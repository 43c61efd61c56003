//! Tuples of tables: what a projection declares, and what its handler is given.

use std::any::Any;
use std::sync::Arc;

use millstream_engine::codec::EncodeError;
use millstream_engine::event::Offset;
use millstream_engine::state::{StateStore, StateWrite, TableId};

use super::error::RowError;
use super::fresh::HandedOver;
use super::member::{Member, Taken};
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

/// The tables of a projection: a tuple of up to six, each a [`Table`](super::Table) or an [`Outbox`](super::Outbox).
pub trait TableSet: Send + Sync + 'static {
    /// What the handler changes rows with and sends effects to: a tuple of [`TableMut`](super::TableMut) and
    /// [`OutboxMut`](super::OutboxMut), in the same order.
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

    /// Whether events may not be applied in batches.
    #[doc(hidden)]
    fn need_each_event(&self) -> bool;

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

    /// Whether there are outboxes.
    #[doc(hidden)]
    const HAS_OUTBOXES: bool;

    /// The outboxes, in order.
    #[doc(hidden)]
    fn outboxes(&self) -> Vec<DeclaredOutbox>;

    /// Has what is sent go out this way; it is silent without.
    #[doc(hidden)]
    fn connect(writers: &mut Self::Writers, outlet: &Outlet);

    /// Says of which stream the event is that is applied next, to outboxes.
    #[doc(hidden)]
    fn come_from(writers: &mut Self::Writers, id: &str);

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

macro_rules! table_set {
    ($($member:ident $at:tt),+) => {
        impl<$($member: Member),+> TableSet for ($($member,)+) {
            type Writers = ($($member::Writer,)+);

            const HAS_OUTBOXES: bool = $(!$member::IS_TABLE)||+;

            fn names(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(names.extend(self.$at.table());)+
                names
            }

            fn stored_names(&self) -> Vec<String> {
                let mut names: Vec<_> = self.names().into_iter().map(str::to_owned).collect();
                $(names.extend(self.$at.names_beside());)+
                names
            }

            fn versioned(&self) -> Vec<bool> {
                let mut all = Vec::new();
                $(all.extend(self.$at.versioned());)+
                all
            }

            fn unique_indexes(&self) -> Vec<(&'static str, &'static str)> {
                let mut names = Vec::new();
                $(names.extend(self.$at.unique_indexes());)+
                names
            }

            fn need_each_event(&self) -> bool {
                $(self.$at.needs_each_event())||+
            }

            fn hot(&self) -> Vec<Arc<dyn Any + Send + Sync>> {
                let mut hot = Vec::new();
                $(hot.extend(self.$at.hot());)+
                hot
            }

            fn writers(&self, places: &Places<'_>) -> Option<Self::Writers> {
                let mut taken = Taken::new(self.names().len(), places.ids, places.hot)?;
                Some(($(self.$at.writer(&mut taken, places)?,)+))
            }

            fn readers(
                &self,
                ids: &[TableId],
                store: &StateStore,
                hot: &[Arc<dyn Any + Send + Sync>],
                board: &Arc<ProgressBoard>,
            ) -> Option<Vec<(&'static str, Arc<dyn AnyReader>)>> {
                let mut taken = Taken::new(self.names().len(), ids, hot)?;
                let mut readers = Vec::new();
                $(readers.extend(self.$at.reader(&mut taken, store, board)?);)+
                Some(readers)
            }

            fn verify(
                &self,
                looked: &Looked<'_>,
                past: &PastTables,
            ) -> Result<Vec<TableCheck>, QueryError> {
                let mut checks = Vec::new();
                $(
                    let at = checks.len();
                    checks.extend(self.$at.verify(at, looked, past)?);
                )+
                Ok(checks)
            }

            fn outboxes(&self) -> Vec<DeclaredOutbox> {
                let mut outboxes = Vec::new();
                $(outboxes.extend(self.$at.outbox());)+
                outboxes
            }

            fn connect(writers: &mut Self::Writers, outlet: &Outlet) {
                $($member::connect(&mut writers.$at, outlet);)+
            }

            #[inline]
            fn begin(writers: &mut Self::Writers, stamp: &Stamp, late: Option<Offset>) {
                $($member::begin(&mut writers.$at, stamp, late);)+
            }

            #[inline]
            fn come_from(writers: &mut Self::Writers, id: &str) {
                $($member::come_from(&mut writers.$at, id);)+
            }

            fn effects(writers: &Self::Writers) -> usize {
                0 $(+ if $member::IS_TABLE { 0 } else { $member::unstored(&writers.$at) })+
            }

            fn take_sent(writers: &mut Self::Writers, into: &mut Vec<Sent>) {
                $($member::take_sent(&mut writers.$at, into);)+
            }

            #[inline]
            fn check(writers: &mut Self::Writers) -> Result<(), RowError> {
                $($member::check(&mut writers.$at)?;)+
                Ok(())
            }

            #[inline]
            fn keep_checked(writers: &mut Self::Writers) {
                $($member::keep(&mut writers.$at);)+
            }

            fn undo(writers: &mut Self::Writers) {
                $($member::undo(&mut writers.$at);)+
            }

            fn publish(writers: &mut Self::Writers) -> usize {
                0 $(+ $member::publish(&mut writers.$at))+
            }

            fn unstored(writers: &Self::Writers) -> usize {
                0 $(+ $member::unstored(&writers.$at))+
            }

            fn version_bytes(writers: &Self::Writers) -> usize {
                0 $(+ $member::pending_bytes(&writers.$at))+
            }

            fn store(
                writers: &mut Self::Writers,
                writes: &mut Vec<StateWrite>,
            ) -> Result<Vec<HandedOver>, EncodeError> {
                let mut handed_over = Vec::new();
                $(handed_over.extend($member::store(&mut writers.$at, writes)?);)+
                Ok(handed_over)
            }

            fn rows(writers: &Self::Writers) -> usize {
                0 $(+ $member::rows(&writers.$at))+
            }

            fn shrink(writers: &mut Self::Writers) {
                let mut uses = Vec::with_capacity(Self::rows(writers));
                $($member::uses(&writers.$at, &mut uses);)+
                let used = middle(&mut uses);
                $($member::shrink(&mut writers.$at, used);)+
            }
        }
    };
}

table_set!(M0 0);
table_set!(M0 0, M1 1);
table_set!(M0 0, M1 1, M2 2);
table_set!(M0 0, M1 1, M2 2, M3 3);
table_set!(M0 0, M1 1, M2 2, M3 3, M4 4);
table_set!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5);
