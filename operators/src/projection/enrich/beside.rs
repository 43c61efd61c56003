//! What is replayed beside a projection, so that it can look up what it looks up when it runs.
//!
//! One that sees its own partition has a replay of the others for each partition, so that it finds in one what it would find in
//! the versions of that partition; one that sees all has one for all.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_engine::event::PartitionId;
use millstream_engine::log::StreamReader;
use millstream_engine::log::frame::{Frame, Record};

use super::companion::Companion;
use super::sight::{Scope, Sight};
use super::{Reads, TableRead};
use crate::past::{Cut, PastError};
use crate::projection::Projection;

/// The others, as far as they are read.
pub(in crate::projection) struct Beside {
    reads: Reads,
    scope: Scope,
    /// By partition, or under 0.
    lots: BTreeMap<u16, Lot>,
}

struct Lot {
    companions: Vec<Box<dyn Companion>>,
    sight: Sight,
}

impl Lot {
    fn of(reads: &Reads) -> Self {
        let (mut companions, mut names) = (Vec::new(), Vec::new());
        let mut sight = Sight::default();
        for read in reads.all() {
            let name = (read.of, read.version);
            let known = names.iter().position(|known| *known == name);
            let at = known.unwrap_or_else(|| {
                names.push(name);
                companions.push(read.make.companion());
                companions.len() - 1
            });
            // One that is not there is not seen, and told of when it is looked up.
            if let Some(seen) = companions[at]
                .hot(read.table)
                .and_then(|hot| read.make.shown(hot))
            {
                sight.add(read.table, seen);
            }
        }
        Self { companions, sight }
    }
}

impl Beside {
    /// What `projection` reads. One that reads itself over others does so up to here: a topology refuses it.
    pub(in crate::projection) fn of<P: Projection>(projection: &P) -> Self {
        Self {
            reads: projection.reads(),
            scope: Scope::of::<P>(),
            lots: BTreeMap::new(),
        }
    }

    /// Whether nothing is read.
    pub(in crate::projection) fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    fn lot(&mut self, partition: PartitionId) -> &mut Lot {
        let number = match self.scope {
            Scope::Partition => partition.0,
            Scope::All => 0,
        };
        let lot = self.lots.entry(number);
        lot.or_insert_with(|| Lot::of(&self.reads))
    }

    /// A partition is replayed up to a cut.
    pub(in crate::projection) fn enter(
        &mut self,
        streams: &dyn StreamReader,
        partition: PartitionId,
        cut: &Cut,
    ) -> Result<(), PastError> {
        if self.is_empty() {
            return Ok(());
        }
        let companions = self.lot(partition).companions.iter_mut();
        for companion in companions {
            companion.enter(streams, partition, cut)?;
        }
        Ok(())
    }

    /// A partition is done with.
    pub(in crate::projection) fn leave(&mut self, partition: PartitionId) {
        if self.scope == Scope::Partition {
            self.lots.remove(&partition.0);
        }
    }

    /// Takes the shapes of the frame whose records come next.
    pub(in crate::projection) fn begin(&mut self, partition: PartitionId, frame: &Frame) {
        if self.is_empty() {
            return;
        }
        for companion in &mut self.lot(partition).companions {
            companion.begin(partition, frame);
        }
    }

    /// Applies an event of it to all that want it.
    pub(in crate::projection) fn apply(
        &mut self,
        streams: &dyn StreamReader,
        partition: PartitionId,
        record: &Record<'_>,
    ) -> Result<(), PastError> {
        if self.is_empty() {
            return Ok(());
        }
        for companion in &mut self.lot(partition).companions {
            companion.apply(streams, partition, record)?;
        }
        Ok(())
    }

    /// Changes what is seen in a partition for `sight`, and back again.
    pub(in crate::projection) fn lend(&mut self, partition: PartitionId, sight: &mut Sight) {
        if !self.is_empty() {
            std::mem::swap(&mut self.lot(partition).sight, sight);
        }
    }
}

/// Rows that a test gives, of each table that is read.
pub(in crate::projection) type Given = (&'static str, Arc<dyn std::any::Any + Send + Sync>);

/// What a projection under test sees: rows that are given.
pub(in crate::projection) fn given(reads: &Reads) -> (Sight, Vec<Given>) {
    let (mut sight, mut all) = (Sight::default(), Vec::new());
    let each = |read: &TableRead| {
        let hot = read.make.nothing();
        if let Some(seen) = read.make.shown(Arc::clone(&hot)) {
            sight.add(read.table, seen);
            all.push((read.table, hot));
        }
    };
    reads.all().for_each(each);
    (sight, all)
}
