//! A projection over a log of two partitions, stepped by hand: each crash, rebuild and late decision happens when the
//! test says so. A store on its way is waited for after each step, so a run is the same each time.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::codec::Event;
use millstream_engine::event::{Metadata, Offset, PartitionId, StreamId};
use millstream_engine::log::frame::{Draft, Encoding, FrameBuilder, Kind};
use millstream_engine::log::{
    EmbeddedLog, EmbeddedReader, EmbeddedStore, Feed, GroupWriter, Head, LogReader, Submission,
};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::state::{
    DeadLetter, DeadLetterStatus, RegisteredProjection, StateOptions, StateStore,
    StateWriterHandle, StateWriterThread,
};
use millstream_engine::store::{Durability, EnvironmentOptions};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use millstream_operators::projection::{
    FailurePolicy, LetterDecision, ProgressBoard, ProjectedEvent, Projection, ProjectionConfig,
    ProjectionCore, ProjectionParts, Rows, Table, TableMut, TableReader, TableSet, Wanted,
};
use serde::{Deserialize, Serialize};

pub(crate) const PARTITIONS: u16 = 2;
const LISTS: Table<String, Vec<u32>> = Table::named("lists");

/// What an event adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Noted {
    Value(u32),
    /// Not wanted.
    Aside(u32),
}

impl Noted {
    /// Of one value all events are asides.
    pub(crate) fn of(value: u32) -> Self {
        if value == ASIDE {
            Self::Aside(value)
        } else {
            Self::Value(value)
        }
    }
}

/// The value that no row has.
pub(crate) const ASIDE: u32 = 5;

impl Event for Noted {
    const ENCODING: Encoding = Encoding::Json;
}

/// Keeps the values of each stream, and fails on some.
pub(crate) struct Lists {
    poison: Arc<Mutex<BTreeSet<u32>>>,
    clock: Arc<ManualClock>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot bear {0}")]
pub(crate) struct CannotBear(u32);

impl Projection for Lists {
    const NAME: &'static str = "lists";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "note";
    type Event = Noted;
    type Tables = (Table<String, Vec<u32>>,);
    type Error = CannotBear;

    fn tables(&self) -> Self::Tables {
        (LISTS,)
    }

    fn wanted(&self) -> Wanted {
        Wanted::types(["Value"])
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Noted>,
        (lists,): &mut (TableMut<String, Vec<u32>>,),
    ) -> Result<(), CannotBear> {
        let &(Noted::Value(value) | Noted::Aside(value)) = event.payload;
        // Turns end in the middle of things.
        self.clock.advance(Duration::from_micros(170));
        lists.update(&event.id.to_owned(), |list| list.push(value));
        if self.poison.lock().unwrap().contains(&value) {
            return Err(CannotBear(value));
        }
        Ok(())
    }
}

pub(crate) type ListRows = BTreeMap<String, Vec<u32>>;

/// A letter without what differs from run to run: tries and times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Left {
    pub(crate) key: String,
    pub(crate) offset: u64,
    pub(crate) redrives: u32,
    pub(crate) followers: u64,
    pub(crate) followers_bytes: u64,
}

struct Running {
    core: ProjectionCore<Lists>,
    reader: TableReader<String, Vec<u32>>,
}

struct State {
    store: StateStore,
    writer: StateWriterHandle,
    thread: StateWriterThread,
    registered: RegisteredProjection,
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    log: GroupWriter<EmbeddedStore>,
    reader: EmbeddedReader,
    feed: Arc<Feed>,
    heads: Vec<Head>,
    versions: BTreeMap<String, u64>,
    state: Option<State>,
    running: Option<Running>,
    hot: Vec<Arc<dyn Any + Send + Sync>>,
    storing: Arc<AtomicBool>,
    clock: Arc<ManualClock>,
    poison: Arc<Mutex<BTreeSet<u32>>>,
    config: ProjectionConfig,
}

fn environment() -> EnvironmentOptions {
    EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        durability: Durability::NoMetaSync,
        ..EnvironmentOptions::default()
    }
}

impl World {
    pub(crate) fn new(config: ProjectionConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let EmbeddedLog { store, reader } =
            EmbeddedLog::open(&folder.path().join("log"), PARTITIONS, environment()).unwrap();
        let feed = Arc::new(Feed::new(&reader).unwrap());
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let mut world = Self {
            log: GroupWriter::new(store, Arc::clone(&feed), Arc::clone(&clock) as _),
            folder,
            reader,
            feed,
            heads: vec![Head::default(); usize::from(PARTITIONS)],
            versions: BTreeMap::new(),
            state: None,
            running: None,
            hot: (LISTS,).hot(),
            storing: Arc::default(),
            clock,
            poison: Arc::default(),
            config,
        };
        world.open_state();
        world.open();
        world
    }

    pub(crate) fn config(attempts_max: u32) -> ProjectionConfig {
        ProjectionConfig {
            failures: FailurePolicy {
                attempts_max,
                backoff_first: Duration::from_millis(3),
                backoff_max: Duration::from_millis(9),
            },
            store_every_ms: 4,
            store_every_behind_ms: 7,
            ..ProjectionConfig::default()
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
        let registered = writer
            .register_projection(Lists::NAME, Lists::VERSION, &["lists"])
            .unwrap();
        self.state = Some(State {
            store,
            writer,
            thread,
            registered,
        });
        self.hot = (LISTS,).hot();
    }

    fn state(&self) -> &State {
        self.state.as_ref().unwrap()
    }

    /// Opens the projection from what is stored.
    pub(crate) fn open(&mut self) {
        self.running = None;
        self.state().writer.flush().unwrap();
        let mut parts = self.parts();
        parts.config = self.config.clone();
        let board = Arc::clone(&parts.board);
        let readers = (LISTS,)
            .readers(&parts.registered.tables, &parts.store, &parts.hot, &board)
            .unwrap();
        let reader = readers[0]
            .1
            .as_any()
            .downcast_ref::<TableReader<String, Vec<u32>>>();
        let reader = reader.unwrap().clone();
        let core = ProjectionCore::open(parts).unwrap();
        self.running = Some(Running { core, reader });
    }

    fn parts(&self) -> ProjectionParts<Lists> {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let limits = MailboxLimits::default();
        ProjectionParts {
            projection: Arc::new(Lists {
                poison: Arc::clone(&self.poison),
                clock: Arc::clone(&self.clock),
            }),
            reads: Default::default(),
            registered: self.state().registered.clone(),
            config: self.config.clone(),
            partitions: (0..PARTITIONS).map(PartitionId).collect(),
            mailbox: Mailbox::new(limits, Arc::clone(&clock)),
            feed: Arc::clone(&self.feed),
            streams: Arc::new(self.reader.clone()),
            store: self.state().store.clone(),
            writer: self.state().writer.clone(),
            hot: self.hot.clone(),
            board: ProgressBoard::new(Lists::NAME, PARTITIONS),
            clock,
            storing: Arc::clone(&self.storing),
        }
    }

    fn close_state(&mut self) {
        self.running = None;
        if let Some(State {
            store,
            thread,
            writer,
            ..
        }) = self.state.take()
        {
            drop((store, writer));
            thread.close().unwrap();
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

    /// The machine loses power: the state is as it was kept.
    pub(crate) fn lose_power(&mut self) {
        self.close_state();
        let to = self.folder.path().join("state");
        std::fs::remove_dir_all(&to).unwrap();
        copy(&self.folder.path().join("kept"), &to);
        self.open_state();
        self.open();
    }

    /// Rows and letters are made anew.
    pub(crate) fn rebuild(&mut self) {
        self.close_state();
        std::fs::remove_dir_all(self.folder.path().join("state")).unwrap();
        self.open_state();
        self.open();
    }

    /// Appends one frame; gives the offset of each event.
    fn append(
        &mut self,
        partition: PartitionId,
        events: &[(StreamId, String, Vec<u8>)],
    ) -> Vec<u64> {
        let mut builder = FrameBuilder::new();
        for (stream, event_type, payload) in events {
            let kind = builder.kind(&Kind {
                category: stream.category().into(),
                event_type: event_type.as_str().into(),
                schema_version: 1,
                encoding: Encoding::Json,
            });
            let version = self.versions.entry(stream.as_str().to_owned()).or_default();
            let draft = Draft {
                kind,
                stream: stream.id(),
                hash: stream.hash(),
                version: *version,
                event_time: None,
                id: None,
                metadata: Metadata::default(),
                payload,
            };
            builder.push(self.clock.now(), &draft).unwrap();
            *version += 1;
        }
        let head = &mut self.heads[usize::from(partition.0)];
        let first = head.next;
        let ids = uuid::Uuid::from_u128(u128::from(first.0) << 64);
        let sealed = builder.seal(partition, first, ids, head.hash, &[]).unwrap();
        head.next = Offset(first.0 + u64::from(sealed.count));
        head.hash = sealed.hash;
        let frame = Some(sealed);
        let done = Box::new(|_: &_| {});
        self.log.step(vec![Submission { frame, done }]).unwrap();
        (first.0..).take(events.len()).collect()
    }

    /// Appends values to streams; gives partition and offset of each.
    pub(crate) fn add(&mut self, values: &[(&str, u32)]) -> Vec<(u16, u64)> {
        let mut found = vec![(0, 0); values.len()];
        for partition in (0..PARTITIONS).map(PartitionId) {
            let (mut events, mut places) = (Vec::new(), Vec::new());
            for (at, (key, value)) in values.iter().enumerate() {
                let stream = StreamId::new("note", key).unwrap();
                if stream.partition(PARTITIONS) == partition {
                    let noted = Noted::of(*value);
                    let event_type = match noted {
                        Noted::Value(_) => "Value",
                        Noted::Aside(_) => "Aside",
                    };
                    let payload = serde_json::to_vec(&noted).unwrap();
                    events.push((stream, event_type.to_owned(), payload));
                    places.push(at);
                }
            }
            if !events.is_empty() {
                let offsets = self.append(partition, &events);
                for (at, offset) in places.into_iter().zip(offsets) {
                    found[at] = (partition.0, offset);
                }
            }
        }
        found
    }

    pub(crate) fn decide(&mut self, decision: &LetterDecision) -> u64 {
        let partition = decision.order().position().partition;
        let stream = LetterDecision::stream(partition, PARTITIONS).unwrap();
        let event_type = match decision {
            LetterDecision::Redriven(_) => "Redriven",
            LetterDecision::Discarded(_) => "Discarded",
        };
        let payload = serde_json::to_vec(decision).unwrap();
        self.append(partition, &[(stream, event_type.to_owned(), payload)])[0]
    }

    pub(crate) fn poison(&self, values: impl IntoIterator<Item = u32>) {
        *self.poison.lock().unwrap() = values.into_iter().collect();
    }

    /// One turn; why it halted, if it did.
    pub(crate) fn step(&mut self) -> Result<bool, String> {
        let step = self.running.as_mut().unwrap().core.step();
        self.state().writer.flush().unwrap();
        self.clock.advance(Duration::from_micros(300));
        match step {
            Step::Failed(cause) => Err(cause),
            step => Ok(matches!(step, Step::Again)),
        }
    }

    /// Steps until nothing is left to do but to wait for a decision, and all is stored.
    pub(crate) fn settle(&mut self) {
        for _ in 0..3_000 {
            if !self.step().unwrap() {
                self.clock.advance(Duration::from_millis(10));
                if !self.step().unwrap() && self.is_settled() {
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    fn is_settled(&self) -> bool {
        let (state, reader) = (self.state(), &self.reader);
        let stored = (0..PARTITIONS).map(PartitionId).all(|partition| {
            let progress = state.store.progress(state.registered.id, partition);
            let next = progress.unwrap().unwrap_or_default().next;
            next == reader.head(partition).unwrap().next
        });
        let dead = |letter: &DeadLetter| letter.status == DeadLetterStatus::Dead;
        stored && self.letters().iter().all(dead) && {
            // What is shown is what is stored.
            self.rows() == self.stored_rows()
        }
    }

    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        let found = self.state().store.dead_letters(None, None, usize::MAX);
        found.unwrap()
    }

    /// Letters that somebody may decide about, as they are stored now.
    pub(crate) fn waiting(&self) -> Vec<DeadLetter> {
        let mut letters = self.letters();
        letters.retain(|letter| letter.status == DeadLetterStatus::Dead);
        letters
    }

    pub(crate) fn left(&self) -> BTreeSet<Left> {
        let left = |letter: DeadLetter| Left {
            key: letter.key["note-".len()..].to_owned(),
            offset: letter.position.offset.0,
            redrives: letter.redrives,
            followers: letter.followers,
            followers_bytes: letter.followers_bytes,
        };
        self.letters().into_iter().map(left).collect()
    }

    pub(crate) fn rows(&self) -> ListRows {
        let rows = self.running.as_ref().unwrap().reader.rows().unwrap();
        rows.into_iter().collect()
    }

    fn stored_rows(&self) -> ListRows {
        let (parts, hot) = (self.parts(), (LISTS,).hot());
        let readers = (LISTS,).readers(&parts.registered.tables, &parts.store, &hot, &parts.board);
        let readers = readers.unwrap();
        let reader = readers[0]
            .1
            .as_any()
            .downcast_ref::<TableReader<String, Vec<u32>>>();
        let rows = reader.unwrap().rows().unwrap();
        rows.into_iter().collect()
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
