//! What can be seen of a dataflow that a driver steps.

use millstream_engine::flow::{StageLoad, StageMeter};
use millstream_engine::state::{DeadLetter, StateError};
use millstream_operators::projection::{Row, Table, TableKey, TableReader};

use super::Driver;
use crate::dataflow::pressure;

impl Driver {
    /// Reads a table that the dataflow writes. What an idle sink took is in it.
    pub fn table<K: TableKey, R: Row>(&self, table: &Table<K, R>) -> Option<TableReader<K, R>> {
        let place = self.tables.as_ref()?.places.get(table.name())?;
        place.reader().as_any().downcast_ref().cloned()
    }

    /// Up to `limit` late items, and items that failed, that were kept as dead letters, by partition and number.
    ///
    /// # Errors
    /// [`StateError`]: they cannot be read.
    pub fn late_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StateError> {
        let letters = self.letters.as_ref();
        letters.map_or(Ok(Vec::new()), |letters| {
            let owner = Some(letters.owner);
            letters.store.dead_letters(owner, None, limit)
        })
    }

    /// A stage's name as figures have it.
    fn full(&self, stage: &str) -> String {
        format!("{}/{stage}", self.name)
    }

    /// Entries of keyed state now, over all partitions of the stage named `stage`, such as `window`.
    pub fn state_items(&self, stage: &str) -> usize {
        let loads = self.loads().into_iter();
        let name = self.full(stage);
        let of_stage = loads.filter(|load| load.stage == name);
        of_stage.map(|load| load.state_items).sum()
    }

    /// Items that came too late for the operators of the stage named `stage` and were only counted.
    pub fn late_items(&self, stage: &str) -> u64 {
        let counts = self.late.counts().into_iter();
        let name = self.full(stage);
        let of_stage = counts.filter(|(counted, _)| *counted == name);
        of_stage.map(|(_, items)| items).sum()
    }

    /// What each partition of each stage has done, with the state that it holds.
    pub fn loads(&self) -> Vec<StageLoad> {
        let meters = self.stages.iter().filter_map(|stage| stage.meter.as_ref());
        meters.map(StageMeter::load).collect()
    }

    /// The partition of a stage that has held the others back since the start, as
    /// [`DataflowHandle::bottleneck`](crate::dataflow::DataflowHandle::bottleneck) tells it.
    pub fn bottleneck(&self) -> Option<StageLoad> {
        pressure::bottleneck(&self.loads(), &self.edges)
    }
}
