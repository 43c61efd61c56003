//! A versioned projection over a log of two partitions, stepped by hand, with an actor for all or one for each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::codec::Event;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::frame::Encoding;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_engine::time::Timestamp;
use millstream_operators::past::At;
use millstream_operators::projection::{
    OpenReads, Owners, ProgressBoard, ProjectedEvent, Projection, ProjectionConfig, RawVersions,
    Replay, Retention, Rows, Snapshot, Table, TableMut, TableReader, TableSnapshot,
};
use serde::{Deserialize, Serialize};

use crate::support::{
    CannotBear, Declared, Ground, Moods, NewEvent, Opening, Running, config, token_before,
};

const PARTITIONS: u16 = 2;
const LISTS: Table<String, Vec<u32>> = Table::named("lists");
const PLAIN: Table<String, u32> = Table::named("plain");

pub(crate) type ListRows = BTreeMap<String, Vec<u32>>;
pub(crate) type Reader = TableReader<String, Vec<u32>>;

/// What an event adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Noted {
    Value(u32),
}

impl Event for Noted {
    const ENCODING: Encoding = Encoding::Json;
}

/// Keeps the values of each stream, and those of all streams of a partition by whether they are odd; fails on some. 0
/// removes the rows that it would change.
pub(crate) struct Lists<const GLOBAL: bool> {
    moods: Moods,
    retention: Retention,
}

impl<const GLOBAL: bool> Projection for Lists<GLOBAL> {
    const NAME: &'static str = "lists";
    const VERSION: u32 = 1;
    const ROWS: Rows = if GLOBAL {
        Rows::Global
    } else {
        Rows::ByPartition
    };
    const CATEGORY: &'static str = "note";
    type Event = Noted;
    type Tables = (Table<String, u32>, Table<String, Vec<u32>>);
    type Error = CannotBear;

    fn tables(&self) -> Self::Tables {
        (PLAIN, LISTS.versioned(self.retention))
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Noted>,
        (plain, lists): &mut (TableMut<String, u32>, TableMut<String, Vec<u32>>),
    ) -> Result<(), CannotBear> {
        let Noted::Value(value) = *event.payload;
        plain.update(&event.id.to_owned(), |count| *count += 1);
        let partition = event.position.partition;
        for key in [event.id.to_owned(), format!("{partition}-{}", value % 2)] {
            if value == 0 {
                lists.remove(&key);
            } else {
                // Twice: it is one version.
                lists.update(&key, |list| list.push(0));
                lists.update(&key, |list| *list.last_mut().unwrap() = value);
            }
        }
        self.moods.bear(value)
    }
}

pub(crate) struct World<const GLOBAL: bool> {
    ground: Ground,
    declared: Declared<Lists<GLOBAL>>,
    running: Option<Running<Lists<GLOBAL>>>,
    moods: Moods,
    retention: Retention,
}

impl<const GLOBAL: bool> World<GLOBAL> {
    pub(crate) fn new(retention: Retention) -> Self {
        let ground = Ground::new(PARTITIONS, Timestamp::from_seconds(1_000));
        let moods = Moods::good(&ground.log.clock);
        let projection = Lists {
            moods: moods.clone(),
            retention,
        };
        let mut world = Self {
            declared: Declared::new(projection, ground.state()),
            ground,
            running: None,
            moods,
            retention,
        };
        world.open();
        world
    }

    fn projection(&self) -> Lists<GLOBAL> {
        Lists {
            moods: self.moods.clone(),
            retention: self.retention,
        }
    }

    /// Opens the projection from what is stored.
    pub(crate) fn open(&mut self) {
        self.running = None;
        let (log, state) = (&self.ground.log, self.ground.state());
        state.writer.flush().unwrap();
        let opening = Opening {
            board: ProgressBoard::of_log("lists", Arc::clone(&log.feed), log.clock()),
            config: &ProjectionConfig {
                hot_rows_max: 7,
                ..config(1_000)
            },
            reads: OpenReads::default(),
            owners: Owners::default(),
        };
        self.running = Some(self.declared.open(log, state, opening));
    }

    /// The process ends, and begins again with what is left.
    fn again<T>(&mut self, how: impl FnOnce(&mut Ground) -> T) -> T {
        self.running = None;
        let done = how(&mut self.ground);
        self.declared = Declared::new(self.projection(), self.ground.state());
        self.open();
        done
    }

    pub(crate) fn crash(&mut self) {
        self.again(Ground::crash);
    }

    pub(crate) fn keep_state(&mut self) {
        self.again(Ground::keep_state);
    }

    /// As [`Ground::lose_state`].
    pub(crate) fn lose_state(&mut self) -> bool {
        self.again(Ground::lose_state)
    }

    /// Appends values to streams.
    pub(crate) fn add(&mut self, values: &[(&str, u32)]) {
        let event = |(key, value): &(&str, u32)| {
            NewEvent::of(("note", key), "Value", &Noted::Value(*value))
        };
        let events: Vec<_> = values.iter().map(event).collect();
        self.ground.log.add(&events);
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.ground.log.clock.advance(by);
    }

    pub(crate) fn poison(&self, values: impl IntoIterator<Item = u32>) {
        self.moods.poison(values);
    }

    fn running(&self) -> &Running<Lists<GLOBAL>> {
        self.running.as_ref().unwrap()
    }

    /// One turn of each actor; whether one has more to do.
    pub(crate) fn step(&mut self) -> bool {
        let again = self.running.as_mut().unwrap().step();
        self.ground.rest();
        again.unwrap()
    }

    /// Steps until nothing is left to do, with what fails parked, and all is stored.
    pub(crate) fn settle(&mut self) {
        for _ in 0..3_000 {
            if !self.step() {
                self.advance(Duration::from_millis(10));
                if !self.step() && self.is_settled() {
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    fn is_settled(&self) -> bool {
        let state = self.ground.state();
        let letters = state.store.dead_letters(None, None, usize::MAX).unwrap();
        let waits =
            |letter: &DeadLetter| matches!(letter.status, DeadLetterStatus::Retrying { .. });
        self.running().is_at_the_end(&self.ground.log)
            && (!self.moods.are_good() || !letters.iter().any(waits))
            && self.list().rows().unwrap() == self.stored().rows().unwrap()
    }

    /// The table.
    pub(crate) fn list(&self) -> Reader {
        self.running().table(&LISTS)
    }

    /// The table, without what is shown and not stored.
    fn stored(&self) -> Reader {
        let (log, state) = (&self.ground.log, self.ground.state());
        self.declared.stored(log, state, &LISTS)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let running = self.running();
        Snapshot::of(&running.board, &running.readers, 1_000)
    }

    /// Positions that are stored.
    pub(crate) fn ends(&self) -> Vec<(PartitionId, Offset)> {
        let board = &self.running().board;
        let all = self.ground.log.partitions();
        all.map(|partition| (partition, board.stored(partition)))
            .collect()
    }

    /// The table as a replay has it.
    pub(crate) fn replayed(&self, ends: &[(PartitionId, Offset)]) -> ListRows {
        let token = token_before(ends.iter().copied());
        let replay = Replay::new(Arc::new(self.ground.log.reader.clone()), self.projection());
        let tables = replay.at(At::Position(token)).tables().unwrap();
        tables.rows(&LISTS).unwrap().into_iter().collect()
    }

    /// What is kept of the table, as bytes.
    pub(crate) fn raw(&self) -> RawVersions {
        let store = &self.ground.state().store;
        let found = RawVersions::of(store, &self.declared.registered, LISTS.name());
        found.unwrap().expect("it keeps versions")
    }

    /// Drops the projection, and has all its rows deleted.
    pub(crate) fn drop_projection(&self) {
        let (registered, writer) = (&self.declared.registered, &self.ground.state().writer);
        let (name, version) = (&registered.name, registered.version);
        writer.drop_projection(name, version).unwrap();
        // A slice of it is deleted behind whatever else is done.
        for _ in 0..1_000 {
            if self.hidden() == (0, 0) {
                return;
            }
            writer.flush().unwrap();
        }
        panic!("its rows are not deleted");
    }

    /// Rows in the hidden tables: changes and versions.
    pub(crate) fn hidden(&self) -> (u64, u64) {
        let count = |name| {
            let id = self.declared.registered.table(name).unwrap();
            self.ground.state().store.count(id).unwrap()
        };
        (count("lists##changes"), count("lists##versions"))
    }
}

pub(crate) fn of_table(snapshot: &Snapshot) -> TableSnapshot<String, Vec<u32>> {
    snapshot.table(&LISTS).unwrap()
}
