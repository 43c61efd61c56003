//! Tuples of sets: each part is asked in its turn.

use std::any::Any;
use std::sync::Arc;

use millstream_engine::codec::EncodeError;
use millstream_engine::event::Offset;
use millstream_engine::state::{StateStore, StateWrite};

use super::super::error::RowError;
use super::super::fresh::HandedOver;
use super::super::outbox::{DeclaredOutbox, Outlet, Sent};
use super::super::verify::{Looked, TableCheck};
use super::super::versions::Stamp;
use super::super::{PastTables, ProgressBoard, QueryError};
use super::{Places, Readers, TableSet, Taken};

macro_rules! table_set {
    ($($set:ident $at:tt),+) => {
        impl<$($set: TableSet),+> TableSet for ($($set,)+) {
            type Writers = ($($set::Writers,)+);

            const HAS_OUTBOXES: bool = $($set::HAS_OUTBOXES)||+;

            fn names(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(names.extend(self.$at.names());)+
                names
            }

            fn names_beside(&self) -> Vec<String> {
                let mut names = Vec::new();
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
                $(self.$at.need_each_event())||+
            }

            fn hot(&self) -> Vec<Arc<dyn Any + Send + Sync>> {
                let mut hot = Vec::new();
                $(hot.extend(self.$at.hot());)+
                hot
            }

            fn take_writers(&self, taken: &mut Taken<'_>, places: &Places<'_>) -> Option<Self::Writers> {
                Some(($(self.$at.take_writers(taken, places)?,)+))
            }

            fn take_readers(
                &self,
                taken: &mut Taken<'_>,
                store: &StateStore,
                board: &Arc<ProgressBoard>,
            ) -> Option<Readers> {
                let mut readers = Vec::new();
                $(readers.extend(self.$at.take_readers(taken, store, board)?);)+
                Some(readers)
            }

            fn verify_into(
                &self,
                looked: &Looked<'_>,
                past: &PastTables,
                checks: &mut Vec<TableCheck>,
            ) -> Result<(), QueryError> {
                $(self.$at.verify_into(looked, past, checks)?;)+
                Ok(())
            }

            fn outboxes(&self) -> Vec<DeclaredOutbox> {
                let mut outboxes = Vec::new();
                $(outboxes.extend(self.$at.outboxes());)+
                outboxes
            }

            fn connect(writers: &mut Self::Writers, outlet: &Outlet) {
                $($set::connect(&mut writers.$at, outlet);)+
            }

            #[inline]
            fn begin(writers: &mut Self::Writers, stamp: &Stamp, late: Option<Offset>) {
                $($set::begin(&mut writers.$at, stamp, late);)+
            }

            #[inline]
            fn come_from(writers: &mut Self::Writers, id: &str) {
                $($set::come_from(&mut writers.$at, id);)+
            }

            #[inline]
            fn foresees(writers: &mut Self::Writers) -> bool {
                // Each is asked: it takes the occasion to fit itself to its rows.
                false $(| $set::foresees(&mut writers.$at))+
            }

            fn foresee(writers: &Self::Writers, streams: &[u64]) {
                $($set::foresee(&writers.$at, streams);)+
            }

            #[inline]
            fn of_stream(writers: &mut Self::Writers, stream: &str) {
                $($set::of_stream(&mut writers.$at, stream);)+
            }

            fn effects(writers: &Self::Writers) -> usize {
                0 $(+ $set::effects(&writers.$at))+
            }

            fn take_sent(writers: &mut Self::Writers, into: &mut Vec<Sent>) {
                $($set::take_sent(&mut writers.$at, into);)+
            }

            #[inline]
            fn check(writers: &mut Self::Writers) -> Result<(), RowError> {
                $($set::check(&mut writers.$at)?;)+
                Ok(())
            }

            #[inline]
            fn keep_checked(writers: &mut Self::Writers) {
                $($set::keep_checked(&mut writers.$at);)+
            }

            fn undo(writers: &mut Self::Writers) {
                $($set::undo(&mut writers.$at);)+
            }

            fn publish(writers: &mut Self::Writers) -> usize {
                0 $(+ $set::publish(&mut writers.$at))+
            }

            fn unstored(writers: &Self::Writers) -> usize {
                0 $(+ $set::unstored(&writers.$at))+
            }

            fn pending_bytes(writers: &Self::Writers) -> usize {
                0 $(+ $set::pending_bytes(&writers.$at))+
            }

            fn store(
                writers: &mut Self::Writers,
                writes: &mut Vec<StateWrite>,
            ) -> Result<Vec<HandedOver>, EncodeError> {
                let mut handed_over = Vec::new();
                $(handed_over.extend($set::store(&mut writers.$at, writes)?);)+
                Ok(handed_over)
            }

            fn rows(writers: &Self::Writers) -> usize {
                0 $(+ $set::rows(&writers.$at))+
            }

            fn uses(writers: &Self::Writers, into: &mut Vec<u64>) {
                $($set::uses(&writers.$at, into);)+
            }

            fn let_go(writers: &mut Self::Writers, used: u64) {
                $($set::let_go(&mut writers.$at, used);)+
            }
        }
    };
}

table_set!(S0 0);
table_set!(S0 0, S1 1);
table_set!(S0 0, S1 1, S2 2);
table_set!(S0 0, S1 1, S2 2, S3 3);
table_set!(S0 0, S1 1, S2 2, S3 3, S4 4);
table_set!(S0 0, S1 1, S2 2, S3 3, S4 4, S5 5);
