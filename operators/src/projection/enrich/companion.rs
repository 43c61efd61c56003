//! A projection that is read, replayed beside the one that reads it.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use millstream_engine::event::PartitionId;
use millstream_engine::log::StreamReader;
use millstream_engine::log::frame::{Frame, Record};

use super::Beside;
use crate::failing::Failure;
use crate::past::{Cut, PastError};
use crate::projection::applier::Applier;
use crate::projection::decided::{Decided, Fate};
use crate::projection::in_memory::InMemory;
use crate::projection::past::decisions;
use crate::projection::{Projection, TableSet};

/// A projection in a replay of another one. It shows its rows after each event.
pub(super) trait Companion {
    /// A partition is replayed up to a cut.
    fn enter(
        &mut self,
        streams: &dyn StreamReader,
        partition: PartitionId,
        cut: &Cut,
    ) -> Result<(), PastError>;
    /// Takes the shapes of the frame whose records come next.
    fn begin(&mut self, partition: PartitionId, frame: &Frame);
    /// Applies an event of it, if it is one of the projection's.
    fn apply(
        &mut self,
        streams: &dyn StreamReader,
        partition: PartitionId,
        record: &Record<'_>,
    ) -> Result<(), PastError>;
    /// The rows of a table.
    fn hot(&self, table: &'static str) -> Option<Arc<dyn Any + Send + Sync>>;
}

/// One of them.
pub(super) struct Replayed<Q: Projection> {
    applier: Applier<Q>,
    names: Vec<&'static str>,
    hot: Vec<Arc<dyn Any + Send + Sync>>,
    decided: BTreeMap<PartitionId, Decided>,
    parked: HashSet<(PartitionId, String)>,
    beside: Beside,
    begun: Result<(), Vec<String>>,
}

impl<Q: Projection> Replayed<Q> {
    pub(super) fn new(projection: Arc<Q>) -> Self {
        let tables = projection.tables();
        let InMemory { writers, hot, .. } = InMemory::of(&tables);
        let beside = Beside::of(&*projection);
        Self {
            applier: Applier::new(projection, writers),
            names: tables.names(),
            hot,
            decided: BTreeMap::new(),
            parked: HashSet::new(),
            beside,
            begun: Ok(()),
        }
    }
}

impl<Q: Projection> Companion for Replayed<Q> {
    fn enter(
        &mut self,
        streams: &dyn StreamReader,
        partition: PartitionId,
        cut: &Cut,
    ) -> Result<(), PastError> {
        let decided = decisions::<Q>(streams, partition, cut)?;
        self.decided.insert(partition, decided);
        self.beside.enter(streams, partition, cut)
    }

    fn begin(&mut self, partition: PartitionId, frame: &Frame) {
        self.begun = self.applier.begin(frame).map_err(Failure::causes);
        self.beside.begin(partition, frame);
    }

    fn apply(
        &mut self,
        streams: &dyn StreamReader,
        partition: PartitionId,
        record: &Record<'_>,
    ) -> Result<(), PastError> {
        self.beside.apply(streams, partition, record)?;
        let decided = self.decided.get(&partition);
        let fate = decided.map_or(Fate::Kept, |own| own.fate(record.stream, record.offset));
        let waits = || (partition, record.stream.to_owned());
        if !self.applier.wants(record)
            || fate == Fate::Discarded
            || (!self.parked.is_empty() && self.parked.contains(&waits()))
        {
            return Ok(());
        }
        let edit = fate.payload(streams, partition)?;
        self.beside.lend(partition, &mut self.applier.sight);
        let (applier, edit) = (&mut self.applier, edit.as_deref());
        let is_applied = (self.begun.is_ok() || edit.is_some())
            && applier.apply_as(edit, partition, record, None).is_ok();
        self.beside.lend(partition, &mut self.applier.sight);
        if is_applied {
            Q::Tables::publish(&mut self.applier.writers);
        } else {
            self.parked.insert(waits());
        }
        Ok(())
    }

    fn hot(&self, table: &'static str) -> Option<Arc<dyn Any + Send + Sync>> {
        let at = self.names.iter().position(|name| *name == table)?;
        self.hot.get(at).map(Arc::clone)
    }
}
