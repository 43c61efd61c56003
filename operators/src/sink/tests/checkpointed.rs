//! Tables of dataflows with checkpoints.

use millstream_engine::checkpoint::{Epoch, Part, Restoring, SavedPart, Saving};
use millstream_engine::flow::{exchange_hash, target_of};
use millstream_engine::state::{
    StateOptions, StateStore, StateWrite, StateWriterHandle, SteppedStateWriter, stepped,
};

use super::super::table_part::{self, TABLE_STATE};
use super::*;
use crate::progress::tests::{KEYS, Slow, assert_is_no_hang};
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

    fn table(&self) -> millstream_engine::state::TableId {
        self.access.places["numbers"].id
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

/// Story: after a start in another number of partitions the first sink alone took over the rows that a checkpoint has and nobody had
/// stored yet. Another one could come to the barrier of a savepoint before these were stored, and its part, which says that it has all
/// rows, was without them: a start from it deleted them.
#[test]
fn savepoints_have_the_rows_that_were_taken_over_in_other_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    let keys = |partition, partitions| {
        let is_of = move |key: &u64| target_of(exchange_hash(key), partitions) == partition;
        (0..100).filter(is_of)
    };
    let saves = [0, 1].map(|partition| {
        let mut sink = world.sink(partition, 2, 1_000);
        keys(partition, 2).for_each(|key| put(&mut sink, key, key));
        vec![(Epoch(1), save(&mut sink, Epoch(1), false))]
    });
    let mut sinks = [0, 1, 2].map(|partition| {
        let mut sink = world.sink(partition, 3, 1_000);
        let mut restoring = Restoring::of_saves(&saves, partition, 3);
        sink.restore(&mut restoring).unwrap();
        sink
    });
    // The first one is the last to have its turn.
    for partition in [1, 2, 0] {
        let sink = &mut sinks[partition];
        sink.before_barrier(&mut Discard);
        while sink.is_blocked() {
            world.turn(sink);
        }
        let parts = vec![(Epoch(2), save(sink, Epoch(2), true))];
        let mut saved = Restoring::of_saves(&[parts], 0, 1);
        let part = saved.parts(TABLE_STATE).unwrap().remove(0).remove(0);
        let bytes = SavedPart::bytes(part).unwrap();
        assert!(table_part::has_all_rows(bytes.first().copied()));
        let table = world.table();
        let rows = table_part::read(table, &bytes[1..]).unwrap().into_iter();
        let rows = rows.map(|row| match row {
            StateWrite::PutRow { key, .. } => u64::from_be_bytes(key.try_into().unwrap()),
            other => panic!("{other:?}"),
        });
        let mut rows: Vec<u64> = rows.collect();
        rows.sort_unstable();
        assert_eq!(
            rows,
            keys(partition, 3).collect::<Vec<_>>(),
            "of {partition}"
        );
    }
    let expected: Vec<_> = (0..100).map(|key| (key, key)).collect();
    assert_eq!(world.reader().rows().unwrap(), expected);
}

/// Rows in the store.
fn stored(world: &World) -> u64 {
    world.access.store.count(world.table()).unwrap()
}

/// Story: whatever a table had changed between two checkpoints went to the state in one transaction, for which all others waited.
/// Method: the writer is stepped; between two parts another run begins from the checkpoint.
#[test]
fn rows_of_a_checkpoint_are_stored_in_parts_and_all_of_them_after_a_start_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    let (mut sink, reader) = (world.sink(0, 1, 100), world.reader());
    let rows: Vec<_> = (0..10_000).map(|key| (key, key + 1)).collect();
    rows.iter()
        .for_each(|(key, row)| put(&mut sink, *key, *row));
    sink.before_barrier(&mut Discard);
    world.turn(&mut sink);
    let saves = [vec![(Epoch(1), save(&mut sink, Epoch(1), false))]];
    sink.checkpointed(Epoch(1)).unwrap();
    sink.begin(&turn(&world.clock));
    sink.flush(true).unwrap();
    while world.steps.step() {}
    assert_eq!(stored(&world), 4_096);
    // What is on its way counts as not stored until all of it is: it stays where readers find it.
    sink.flush(true).unwrap();
    assert_eq!(
        (in_memory(&sink), reader.rows().unwrap()),
        (10_000, rows.clone())
    );
    drop(sink);
    while world.steps.step() {}
    assert_eq!(stored(&world), 8_192);

    let mut sink = world.sink(0, 1, 100);
    sink.restore(&mut Restoring::of_saves(&saves, 0, 1))
        .unwrap();
    sink.before_barrier(&mut Discard);
    let mut turns = 0;
    while sink.is_blocked() {
        world.turn(&mut sink);
        turns += 1;
    }
    assert_eq!((stored(&world), turns), (10_000, 3));
    assert_eq!(reader.rows().unwrap(), rows);
}

/// As at the end of its input without checkpoints.
#[test]
fn an_end_waits_until_all_parts_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    let mut sink = world.sink(0, 1, 100_000);
    sink.have_checkpoints(false);
    (0..10_000).for_each(|key| put(&mut sink, key, key));
    sink.end(&mut Discard);
    sink.flush(true).unwrap();
    let mut turns = 0;
    while sink.is_blocked() {
        world.turn(&mut sink);
        turns += 1;
    }
    assert_eq!((stored(&world), turns), (10_000, 3));
}

/// Story: a savepoint of a large table was taken for code that hangs.
#[tokio::test]
async fn all_rows_are_read_without_seeming_to_hang() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    let mut sink = world.sink(0, 1, 10_000);
    sink.have_checkpoints(false);
    (0..KEYS).for_each(|key| put(&mut sink, key, key));
    sink.end(&mut Discard);
    sink.flush(true).unwrap();
    while sink.is_blocked() {
        world.turn(&mut sink);
    }
    let (store, table) = (world.access.store.clone(), world.table());
    let write_all = move |slow: &Slow| {
        let owns = |_: &[u8]| {
            slow.result();
            true
        };
        let none = std::iter::empty();
        table_part::write_all((&store, table), owns, none, &mut Vec::new()).unwrap();
    };
    assert_is_no_hang(write_all).await;
}
