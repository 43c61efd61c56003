//! A versioned projection over a log of two partitions, stepped by hand, with an actor for all or one for each.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::codec::Event;
use millstream_engine::event::{Metadata, Offset, PartitionId, Position, StreamId, Token};
use millstream_engine::log::frame::{Draft, Encoding, FrameBuilder, Kind};
use millstream_engine::log::{
    EmbeddedLog, EmbeddedReader, EmbeddedStore, Feed, GroupWriter, Head, LogReader, Submission,
};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::state::{
    DeadLetterStatus, RegisteredProjection, StateOptions, StateStore, StateWriterHandle,
    StateWriterThread,
};
use millstream_engine::store::{Durability, EnvironmentOptions};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use millstream_operators::past::At;
use millstream_operators::projection::{
    AnyReader, FailurePolicy, ProgressBoard, ProjectedEvent, Projection, ProjectionConfig,
    ProjectionCore, ProjectionParts, Replay, Retention, Rows, Snapshot, Table, TableMut,
    TableReader, TableSet,
};
use serde::{Deserialize, Serialize};

pub(crate) const PARTITIONS: u16 = 2;
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
    poison: Arc<Mutex<BTreeSet<u32>>>,
    clock: Arc<ManualClock>,
    retention: Retention,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot bear {0}")]
pub(crate) struct CannotBear(u32);

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
        // Turns end in the middle of things.
        self.clock.advance(Duration::from_micros(170));
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
        if self.poison.lock().unwrap().contains(&value) {
            return Err(CannotBear(value));
        }
        Ok(())
    }
}

struct State {
    store: StateStore,
    writer: StateWriterHandle,
    thread: StateWriterThread,
    registered: RegisteredProjection,
}

struct Running<const GLOBAL: bool> {
    cores: Vec<ProjectionCore<Lists<GLOBAL>>>,
    readers: Vec<(&'static str, Arc<dyn AnyReader>)>,
    board: Arc<ProgressBoard>,
}

pub(crate) struct World<const GLOBAL: bool> {
    folder: tempfile::TempDir,
    log: GroupWriter<EmbeddedStore>,
    pub(crate) reader: EmbeddedReader,
    feed: Arc<Feed>,
    heads: Vec<Head>,
    versions: BTreeMap<String, u64>,
    state: Option<State>,
    running: Option<Running<GLOBAL>>,
    hot: Vec<Arc<dyn Any + Send + Sync>>,
    storing: Vec<Arc<AtomicBool>>,
    pub(crate) clock: Arc<ManualClock>,
    poison: Arc<Mutex<BTreeSet<u32>>>,
    retention: Retention,
}

fn environment() -> EnvironmentOptions {
    EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        durability: Durability::NoMetaSync,
        ..EnvironmentOptions::default()
    }
}

fn config() -> ProjectionConfig {
    ProjectionConfig {
        failures: FailurePolicy {
            attempts_max: 1_000,
            backoff_first: Duration::from_millis(3),
            backoff_max: Duration::from_millis(9),
        },
        store_every_ms: 4,
        store_every_behind_ms: 7,
        hot_rows_max: 7,
        ..ProjectionConfig::default()
    }
}

impl<const GLOBAL: bool> World<GLOBAL> {
    pub(crate) fn new(retention: Retention) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let EmbeddedLog { store, reader } =
            EmbeddedLog::open(&folder.path().join("log"), PARTITIONS, environment()).unwrap();
        let feed = Arc::new(Feed::new(&reader).unwrap());
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000)));
        let mut world = Self {
            log: GroupWriter::new(store, Arc::clone(&feed), Arc::clone(&clock) as _),
            folder,
            reader,
            feed,
            heads: vec![Head::default(); usize::from(PARTITIONS)],
            versions: BTreeMap::new(),
            state: None,
            running: None,
            hot: Vec::new(),
            storing: vec![Arc::default(); usize::from(PARTITIONS)],
            clock,
            poison: Arc::default(),
            retention,
        };
        world.open_state();
        world.open();
        world
    }

    fn projection(&self) -> Lists<GLOBAL> {
        Lists {
            poison: Arc::clone(&self.poison),
            clock: Arc::clone(&self.clock),
            retention: self.retention,
        }
    }

    fn open_state(&mut self) {
        let options = StateOptions {
            map_bytes_max: 64 << 20,
            preallocate_step_bytes: 0,
            ..StateOptions::default()
        };
        let (store, writer) = StateStore::open(&self.folder.path().join("state"), options).unwrap();
        let (writer, thread) = millstream_engine::state::start(writer).unwrap();
        let names = self.projection().tables().stored_names();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let registered = writer.register_projection("lists", 1, &names).unwrap();
        self.state = Some(State {
            store,
            writer,
            thread,
            registered,
        });
        self.hot = self.projection().tables().hot();
    }

    fn state(&self) -> &State {
        self.state.as_ref().unwrap()
    }

    /// Opens the projection from what is stored.
    pub(crate) fn open(&mut self) {
        self.running = None;
        self.state().writer.flush().unwrap();
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let board = ProgressBoard::of_log("lists", Arc::clone(&self.feed), Arc::clone(&clock));
        let (state, tables) = (self.state(), self.projection().tables());
        let readers = tables.readers(&state.registered.tables, &state.store, &self.hot, &board);
        let all: Vec<_> = (0..PARTITIONS).map(PartitionId).collect();
        let groups: Vec<Vec<_>> = if GLOBAL {
            vec![all]
        } else {
            all.into_iter().map(|one| vec![one]).collect()
        };
        let cores = groups.into_iter().zip(&self.storing);
        let cores = cores.map(|(partitions, storing)| {
            let core = ProjectionCore::open(ProjectionParts {
                projection: Arc::new(self.projection()),
                reads: Default::default(),
                registered: state.registered.clone(),
                config: config(),
                partitions,
                mailbox: Mailbox::new(MailboxLimits::default(), Arc::clone(&clock)),
                feed: Arc::clone(&self.feed),
                streams: Arc::new(self.reader.clone()),
                store: state.store.clone(),
                writer: state.writer.clone(),
                hot: self.hot.clone(),
                board: Arc::clone(&board),
                clock: Arc::clone(&clock),
                storing: Arc::clone(storing),
            });
            core.unwrap()
        });
        self.running = Some(Running {
            cores: cores.collect(),
            readers: readers.unwrap(),
            board,
        });
    }

    fn close_state(&mut self) {
        self.running = None;
        if let Some(state) = self.state.take() {
            drop((state.store, state.writer));
            state.thread.close().unwrap();
        }
    }

    /// The process is killed and started again.
    pub(crate) fn crash(&mut self) {
        self.close_state();
        self.open_state();
        self.open();
    }

    /// Keeps the stored state aside.
    pub(crate) fn keep_state(&mut self) {
        self.close_state();
        let from = self.folder.path().join("state");
        copy(&from, &self.folder.path().join("kept"));
        self.open_state();
        self.open();
    }

    /// The state is as it was kept, or made anew.
    pub(crate) fn lose_state(&mut self) {
        self.close_state();
        let (to, kept) = (
            self.folder.path().join("state"),
            self.folder.path().join("kept"),
        );
        std::fs::remove_dir_all(&to).unwrap();
        if kept.exists() {
            copy(&kept, &to);
        }
        self.open_state();
        self.open();
    }

    /// Appends values to streams.
    pub(crate) fn add(&mut self, values: &[(&str, u32)]) {
        for partition in (0..PARTITIONS).map(PartitionId) {
            let mut builder = FrameBuilder::new();
            let kind = builder.kind(&Kind {
                category: "note".into(),
                event_type: "Value".into(),
                schema_version: 1,
                encoding: Encoding::Json,
            });
            for (key, value) in values {
                let stream = StreamId::new("note", key).unwrap();
                if stream.partition(PARTITIONS) != partition {
                    continue;
                }
                let version = self.versions.entry((*key).to_owned()).or_default();
                let payload = serde_json::to_vec(&Noted::Value(*value)).unwrap();
                let draft = Draft {
                    kind,
                    stream: stream.id(),
                    hash: stream.hash(),
                    version: *version,
                    event_time: None,
                    id: None,
                    metadata: Metadata::default(),
                    payload: &payload,
                };
                builder.push(self.clock.now(), &draft).unwrap();
                *version += 1;
            }
            if builder.is_empty() {
                continue;
            }
            let head = &mut self.heads[usize::from(partition.0)];
            let ids = uuid::Uuid::from_u128(u128::from(head.next.0) << 64);
            let sealed = builder.seal(partition, head.next, ids, head.hash, &[]);
            let sealed = sealed.unwrap();
            head.next = Offset(head.next.0 + u64::from(sealed.count));
            head.hash = sealed.hash;
            let frame = Some(sealed);
            let done = Box::new(|_: &_| {});
            self.log.step(vec![Submission { frame, done }]).unwrap();
        }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    pub(crate) fn poison(&self, values: impl IntoIterator<Item = u32>) {
        *self.poison.lock().unwrap() = values.into_iter().collect();
    }

    fn running(&self) -> &Running<GLOBAL> {
        self.running.as_ref().unwrap()
    }

    /// One turn of each actor; whether one has more to do.
    pub(crate) fn step(&mut self) -> bool {
        let mut again = false;
        for core in &mut self.running.as_mut().unwrap().cores {
            match core.step() {
                Step::Failed(cause) => panic!("{cause}"),
                step => again |= matches!(step, Step::Again),
            }
        }
        self.state().writer.flush().unwrap();
        self.clock.advance(Duration::from_micros(300));
        again
    }

    /// Steps until nothing is left to do, with what fails parked, and all is stored.
    pub(crate) fn settle(&mut self) {
        for _ in 0..3_000 {
            if !self.step() {
                self.clock.advance(Duration::from_millis(10));
                if !self.step() && self.is_settled() {
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    fn is_settled(&self) -> bool {
        let board = &self.running().board;
        let is_done = |of: &dyn Fn(PartitionId) -> Offset| {
            (0..PARTITIONS)
                .map(PartitionId)
                .all(|partition| of(partition) == self.reader.head(partition).unwrap().next)
        };
        let letters = self
            .state()
            .store
            .dead_letters(None, None, usize::MAX)
            .unwrap();
        let fails = !self.poison.lock().unwrap().is_empty();
        let waits = |letter: &millstream_engine::state::DeadLetter| {
            matches!(letter.status, DeadLetterStatus::Retrying { .. })
        };
        is_done(&|partition| board.visible(partition))
            && is_done(&|partition| board.stored(partition))
            && (fails || !letters.iter().any(waits))
            && self.list().rows().unwrap() == self.stored().rows().unwrap()
    }

    /// The table.
    pub(crate) fn list(&self) -> Reader {
        list(&self.running().readers)
    }

    /// The table, without what is shown and not stored.
    fn stored(&self) -> Reader {
        let (state, tables) = (self.state(), self.projection().tables());
        let board = ProgressBoard::new("lists", PARTITIONS);
        let readers = tables.readers(
            &state.registered.tables,
            &state.store,
            &tables.hot(),
            &board,
        );
        list(&readers.unwrap())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let running = self.running();
        Snapshot::of(&running.board, &running.readers, 1_000)
    }

    /// Positions that are stored.
    pub(crate) fn ends(&self) -> Vec<(PartitionId, Offset)> {
        let board = &self.running().board;
        let all = (0..PARTITIONS).map(PartitionId);
        all.map(|partition| (partition, board.stored(partition)))
            .collect()
    }

    /// The table as a replay has it.
    pub(crate) fn replayed(&self, ends: &[(PartitionId, Offset)]) -> ListRows {
        let mut token = Token::default();
        for (partition, end) in ends {
            if let Some(last) = end.0.checked_sub(1) {
                token.observe(Position {
                    partition: *partition,
                    offset: Offset(last),
                });
            }
        }
        let replay = Replay::new(Arc::new(self.reader.clone()), self.projection());
        let tables = replay.at(At::Position(token)).tables().unwrap();
        tables.rows(&LISTS).unwrap().into_iter().collect()
    }

    /// Rows in the hidden tables: changes and versions.
    pub(crate) fn hidden(&self) -> (u64, u64) {
        let state = self.state();
        let count = |name| {
            let id = state.registered.table(name).unwrap();
            state.store.count(id).unwrap()
        };
        (count("lists##changes"), count("lists##versions"))
    }
}

pub(crate) fn of_table(
    snapshot: &Snapshot,
) -> millstream_operators::projection::TableSnapshot<String, Vec<u32>> {
    snapshot.table(&LISTS).unwrap()
}

fn list(readers: &[(&'static str, Arc<dyn AnyReader>)]) -> Reader {
    let found = readers.iter().find(|(name, _)| *name == LISTS.name());
    let reader = found.unwrap().1.as_any().downcast_ref::<Reader>();
    reader.unwrap().clone()
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
