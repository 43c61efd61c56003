//! Tables of dataflows with checkpoints.

use millstream_engine::checkpoint::{Epoch, Part, Saving};
use millstream_engine::state::{
    StateOptions, StateStore, StateWriterHandle, SteppedStateWriter, stepped,
};

use super::*;
use crate::projection::{Table, TableReader};

const NUMBERS: Table<u64, u64> = Table::named("numbers");

/// A state with the table, whose writer does nothing unless it is told to.
struct World {
    clock: Arc<ManualClock>,
    access: TableAccess,
    steps: SteppedStateWriter,
}

impl World {
    fn new(folder: &Path) -> Self {
        let options = StateOptions {
            map_bytes_max: 1 << 30,
            ..StateOptions::default()
        };
        let (store, mut writer) = StateStore::open(folder, options).unwrap();
        let registered = writer.register_projection("numbers", 1, &["numbers"]);
        let place = TablePlace::new(&NUMBERS, registered.unwrap().tables[0], &store);
        let (writer, steps): (StateWriterHandle, _) = stepped(writer);
        Self {
            clock: Arc::new(ManualClock::new(Timestamp::EPOCH)),
            access: TableAccess {
                store,
                writer,
                places: [("numbers", place)].into(),
            },
            steps,
        }
    }

    /// One of the sinks of a stage, at work.
    fn sink(&self, partition: usize, partitions: usize, hot_rows_max: usize) -> Sink {
        let options = TableSinkOptions {
            hot_rows_max,
            ..TableSinkOptions::default()
        };
        let mut sink = TableSink::new(NUMBERS, options);
        let resources = Resources::new().with(self.access.clone());
        let wiring = Wiring {
            partition,
            partitions,
            resources: Arc::new(resources),
            ..wiring(&self.clock)
        };
        sink.open(&wiring).unwrap();
        sink.have_checkpoints(true);
        sink
    }

    fn reader(&self) -> TableReader<u64, u64> {
        let reader = self.access.places["numbers"].reader();
        let reader = reader.as_any().downcast_ref::<TableReader<u64, u64>>();
        reader.unwrap().clone()
    }

    /// A turn, and all that it hands over is stored.
    fn turn(&self, sink: &mut Sink) {
        sink.begin(&turn(&self.clock));
        sink.flush(true).unwrap();
        while self.steps.step() {}
        sink.flush(true).unwrap();
    }
}

type Sink = TableSink<u64, u64>;

fn put(sink: &mut Sink, key: u64, row: u64) {
    sink.item(Timestamp::EPOCH, (key, Some(row)), &mut Discard);
}

/// A barrier comes; what is given for its checkpoint.
fn save(sink: &mut Sink, epoch: Epoch, is_savepoint: bool) -> Vec<Part> {
    let mut saving = Saving::new(epoch).of_savepoint(is_savepoint);
    sink.save(&mut saving).unwrap();
    saving.into_parts()
}

fn in_memory(sink: &Sink) -> usize {
    let mut items = Vec::new();
    sink.state_items(&mut items);
    items.iter().map(|(_, rows)| rows).sum()
}

/// Story: rows were let go only while nothing was to be stored. With checkpoints and items that went on coming that was never, so
/// that a sink kept every row that it had ever had.
#[test]
fn rows_that_are_stored_leave_memory_while_items_come() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    let (mut sink, reader) = (world.sink(0, 1, 10), world.reader());
    let mut expected = std::collections::BTreeMap::new();
    for round in 1..=50 {
        let mut put = |sink: &mut Sink, key, row| {
            put(sink, key, row);
            expected.insert(key, row);
        };
        for key in 10 * round..10 * round + 10 {
            put(&mut sink, key, round);
        }
        sink.before_barrier(&mut Discard);
        world.turn(&mut sink);
        save(&mut sink, Epoch(round), false);
        // Behind the barrier: one that is new or stored, one that was let go, and one that the checkpoint has otherwise.
        for key in [0, 5 * round, 10 * round] {
            put(&mut sink, key, 1_000 + round);
        }
        sink.checkpointed(Epoch(round)).unwrap();
        world.turn(&mut sink);
        assert!(in_memory(&sink) <= 10, "{round}: {}", in_memory(&sink));
        for (key, row) in &expected {
            assert_eq!(reader.get(key).unwrap(), Some(*row), "{key} in {round}");
        }
    }
    let expected: Vec<_> = expected.into_iter().collect();
    assert_eq!(reader.rows().unwrap(), expected);
}
