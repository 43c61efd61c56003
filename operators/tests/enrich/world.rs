//! Items and orders over a log of three partitions, each projection stepped by hand; and a second version of the orders, which
//! begins when it is told to.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::event::{Metadata, Offset, PartitionId, StreamId};
use millstream_engine::log::frame::{Draft, Encoding, FrameBuilder, Kind};
use millstream_engine::log::{
    EmbeddedLog, EmbeddedReader, EmbeddedStore, Feed, GroupWriter, Head, LogReader, Submission,
};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::state::{
    RegisteredProjection, StateOptions, StateStore, StateWriterHandle, StateWriterThread,
};
use millstream_engine::store::{Durability, EnvironmentOptions};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use millstream_operators::projection::{
    AnyReader, FailurePolicy, OpenReads, ProgressBoard, Projection, ProjectionConfig,
    ProjectionCore, ProjectionParts, Replay, Retention, Rows, TableReader, TableSet,
};

use crate::projections::{FOUND, Found, Item, Items, Looked, Moods, Orders};

pub(crate) const PARTITIONS: u16 = 3;

/// What was found, by order and event.
pub(crate) type Rows2 = BTreeMap<String, Found>;
type First<const ALL: bool, const OF_ALL: bool> = Orders<ALL, OF_ALL, 1>;
type Second<const ALL: bool, const OF_ALL: bool> = Orders<ALL, OF_ALL, 2>;

/// An event to append.
#[derive(Clone, Debug)]
pub(crate) enum Happens {
    Item(String, u32),
    Order(String, [String; 2], u32),
}

struct State {
    store: StateStore,
    writer: StateWriterHandle,
    thread: StateWriterThread,
}

/// A projection at work.
struct Running<P: Projection> {
    projection: Arc<P>,
    cores: Vec<ProjectionCore<P>>,
    readers: Vec<(&'static str, Arc<dyn AnyReader>)>,
    board: Arc<ProgressBoard>,
}

pub(crate) struct World<const ALL: bool, const OF_ALL: bool> {
    folder: tempfile::TempDir,
    log: GroupWriter<EmbeddedStore>,
    pub(crate) reader: EmbeddedReader,
    feed: Arc<Feed>,
    heads: Vec<Head>,
    versions: BTreeMap<String, u64>,
    state: Option<State>,
    items: Option<Running<Items<OF_ALL>>>,
    first: Option<Running<First<ALL, OF_ALL>>>,
    second: Option<Running<Second<ALL, OF_ALL>>>,
    has_second: bool,
    pub(crate) retention: Retention,
    clock: Arc<ManualClock>,
    pub(crate) failing_items: Arc<Mutex<BTreeSet<u32>>>,
    pub(crate) failing_orders: Arc<Mutex<BTreeSet<u32>>>,
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

impl<const ALL: bool, const OF_ALL: bool> World<ALL, OF_ALL> {
    pub(crate) fn new() -> Self {
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
            items: None,
            first: None,
            second: None,
            has_second: false,
            retention: Retention::FOREVER,
            clock,
            failing_items: Arc::default(),
            failing_orders: Arc::default(),
        };
        world.open();
        world
    }

    fn items_now(&self) -> Items<OF_ALL> {
        Items {
            moods: self.moods(&self.failing_items),
            retention: self.retention,
        }
    }

    fn orders<const VERSION: u32>(&self) -> Arc<Orders<ALL, OF_ALL, VERSION>> {
        Arc::new(Orders {
            items: self.items_now(),
            moods: self.moods(&self.failing_orders),
        })
    }

    fn moods(&self, poison: &Arc<Mutex<BTreeSet<u32>>>) -> Moods {
        Moods {
            poison: Arc::clone(poison),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Opens the state, and from what is stored the projections.
    fn open(&mut self) {
        let options = StateOptions {
            map_bytes_max: 64 << 20,
            preallocate_step_bytes: 0,
            ..StateOptions::default()
        };
        let (store, writer) = StateStore::open(&self.folder.path().join("state"), options).unwrap();
        let (writer, thread) = millstream_engine::state::start(writer).unwrap();
        self.state = Some(State {
            store,
            writer,
            thread,
        });
        let items = self.run(Arc::new(self.items_now()), OpenReads::default());
        let reads = OpenReads(vec![Arc::clone(&items.readers[0].1)]);
        // The orders first: they begin before it is known how far the items are.
        self.first = Some(self.run(self.orders::<1>(), reads));
        self.items = Some(items);
        if self.has_second {
            self.begin_second();
        }
    }

    /// Opens a projection and its actors.
    fn run<P: Projection>(&self, projection: Arc<P>, reads: OpenReads) -> Running<P> {
        let state = self.state.as_ref().unwrap();
        let tables = projection.tables();
        let names = tables.stored_names();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let registered = state
            .writer
            .register_projection(P::NAME, P::VERSION, &names);
        let registered = registered.unwrap();
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let feed = Arc::clone(&self.feed);
        let board = ProgressBoard::of_version(P::NAME, P::VERSION, feed, Arc::clone(&clock));
        let hot = tables.hot();
        let readers = tables.readers(&registered.tables, &state.store, &hot, &board);
        let all: Vec<_> = (0..PARTITIONS).map(PartitionId).collect();
        let groups: Vec<Vec<_>> = match P::ROWS {
            Rows::Global => vec![all],
            Rows::ByPartition => all.into_iter().map(|one| vec![one]).collect(),
        };
        let cores = groups.into_iter().map(|partitions| {
            let parts = self.parts(&projection, &registered, partitions, &hot, &board, &reads);
            ProjectionCore::open(parts).unwrap()
        });
        Running {
            cores: cores.collect(),
            readers: readers.unwrap(),
            projection,
            board,
        }
    }

    fn parts<P: Projection>(
        &self,
        projection: &Arc<P>,
        registered: &RegisteredProjection,
        partitions: Vec<PartitionId>,
        hot: &[Arc<dyn Any + Send + Sync>],
        board: &Arc<ProgressBoard>,
        reads: &OpenReads,
    ) -> ProjectionParts<P> {
        let state = self.state.as_ref().unwrap();
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        ProjectionParts {
            projection: Arc::clone(projection),
            registered: registered.clone(),
            config: config(),
            partitions,
            mailbox: Mailbox::new(MailboxLimits::default(), Arc::clone(&clock)),
            feed: Arc::clone(&self.feed),
            streams: Arc::new(self.reader.clone()),
            store: state.store.clone(),
            writer: state.writer.clone(),
            hot: hot.to_vec(),
            board: Arc::clone(board),
            clock,
            storing: Arc::new(AtomicBool::new(false)),
            reads: reads.clone(),
        }
    }

    /// The second version of the orders begins, from the log.
    pub(crate) fn begin_second(&mut self) {
        let items = self.items.as_ref().unwrap();
        let reads = OpenReads(vec![Arc::clone(&items.readers[0].1)]);
        self.second = Some(self.run(self.orders::<2>(), reads));
        self.has_second = true;
    }

    /// The process is killed and started again.
    pub(crate) fn crash(&mut self) {
        (self.first, self.second, self.items) = (None, None, None);
        let state = self.state.take().unwrap();
        drop((state.store, state.writer));
        state.thread.close().unwrap();
        self.open();
    }

    /// Appends events, a frame per partition, at one time or at later ones.
    pub(crate) fn add(&mut self, events: &[Happens]) {
        for partition in (0..PARTITIONS).map(PartitionId) {
            let stamp = self.feed.stamps().begin(partition, self.clock.now());
            let mut builder = FrameBuilder::new();
            let kind = |category: &str, event_type: &str| Kind {
                category: category.into(),
                event_type: event_type.into(),
                schema_version: 1,
                encoding: Encoding::Json,
            };
            for event in events {
                let (stream, kind, payload) = match event {
                    Happens::Item(id, value) => (
                        StreamId::new("item", id).unwrap(),
                        kind("item", "Value"),
                        serde_json::to_vec(&Item::Value(*value)).unwrap(),
                    ),
                    Happens::Order(id, keys, value) => (
                        StreamId::new("order", id).unwrap(),
                        kind("order", "At"),
                        serde_json::to_vec(&Looked::At(keys.clone(), *value)).unwrap(),
                    ),
                };
                if stream.partition(PARTITIONS) != partition {
                    continue;
                }
                let version = self.versions.entry(stream.to_string()).or_default();
                let kind = builder.kind(&kind);
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
                builder.push(stamp.at(), &draft).unwrap();
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
        self.clock.advance(Duration::from_micros(300));
    }

    /// One turn of each actor of the items.
    pub(crate) fn step_items(&mut self) -> bool {
        let again = step(&mut self.items.as_mut().unwrap().cores).unwrap();
        self.rest();
        again
    }

    /// One turn of each actor of the orders.
    ///
    /// # Errors
    /// Why one of them failed.
    pub(crate) fn step_orders(&mut self) -> Result<bool, String> {
        let again = step(&mut self.first.as_mut().unwrap().cores);
        self.rest();
        again
    }

    /// One turn of each actor of the second version, if it has begun.
    pub(crate) fn step_second(&mut self) -> bool {
        let again = self.second.as_mut().map(|running| step(&mut running.cores));
        self.rest();
        again.is_some_and(Result::unwrap)
    }

    fn rest(&self) {
        self.state.as_ref().unwrap().writer.flush().unwrap();
        self.clock.advance(Duration::from_micros(300));
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Nothing fails any more, and all comes to rest.
    pub(crate) fn settle(&mut self) {
        self.failing_items.lock().unwrap().clear();
        self.failing_orders.lock().unwrap().clear();
        for _ in 0..5_000 {
            let again = [
                self.step_orders().unwrap(),
                self.step_items(),
                self.step_second(),
            ];
            if again == [false; 3] {
                self.clock.advance(Duration::from_millis(10));
                if self.is_settled() {
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    fn is_settled(&self) -> bool {
        let store = &self.state.as_ref().unwrap().store;
        let boards = [
            Some(&self.items.as_ref().unwrap().board),
            Some(&self.first.as_ref().unwrap().board),
            self.second.as_ref().map(|second| &second.board),
        ];
        let is_there = |board: &&Arc<ProgressBoard>| {
            (0..PARTITIONS).map(PartitionId).all(|partition| {
                let end = self.reader.head(partition).unwrap().next;
                board.visible(partition) == end && board.stored(partition) == end
            })
        };
        boards.iter().flatten().all(is_there)
            && store.dead_letters(None, None, 1).unwrap().is_empty()
    }

    /// What the orders found.
    pub(crate) fn found(&self) -> Rows2 {
        found(self.first.as_ref().unwrap())
    }

    /// What the second version found.
    pub(crate) fn found_again(&self) -> Rows2 {
        found(self.second.as_ref().unwrap())
    }

    pub(crate) fn board(&self) -> &Arc<ProgressBoard> {
        &self.first.as_ref().unwrap().board
    }

    pub(crate) fn board_of_items(&self) -> &Arc<ProgressBoard> {
        &self.items.as_ref().unwrap().board
    }

    /// What a replay finds.
    pub(crate) fn replayed(&self) -> Rows2 {
        let running = self.first.as_ref().unwrap();
        let projection = Arc::clone(&running.projection);
        let replay = Replay::<First<ALL, OF_ALL>>::new(Arc::new(self.reader.clone()), projection);
        let tables = replay.tables().unwrap();
        assert_eq!(tables.failed_count(), 0);
        tables.rows(&FOUND).unwrap().into_iter().collect()
    }

    /// What a run of both finds that takes one event of the log after the other, as they were recorded.
    pub(crate) fn expected(&self) -> Rows2 {
        let mut frames = Vec::new();
        for partition in (0..PARTITIONS).map(PartitionId) {
            let read = self.reader.read(partition, Offset(0), usize::MAX).unwrap();
            frames.extend(read.into_iter().map(|frame| (partition, frame)));
        }
        // Of a partition they stay in order.
        frames.sort_by_key(|(partition, frame)| (frame.header().recorded_first, *partition));
        let (mut items, mut found) = (BTreeMap::<String, Vec<u32>>::new(), Rows2::new());
        for (_, frame) in &frames {
            for record in frame.records() {
                if record.kind.category == "item" {
                    let Item::Value(value) = serde_json::from_slice(record.payload).unwrap();
                    if value == 0 {
                        items.remove(record.stream);
                    } else {
                        items
                            .entry(record.stream.to_owned())
                            .or_default()
                            .push(value);
                    }
                } else {
                    let Looked::At(keys, _) = serde_json::from_slice(record.payload).unwrap();
                    let key = format!("{}/{}", record.stream, record.version);
                    found.insert(key, keys.map(|key| items.get(&key).cloned()));
                }
            }
        }
        found
    }
}

fn step<P: Projection>(cores: &mut [ProjectionCore<P>]) -> Result<bool, String> {
    let mut again = false;
    for core in cores {
        match core.step() {
            Step::Failed(cause) => return Err(cause),
            step => again |= matches!(step, Step::Again),
        }
    }
    Ok(again)
}

fn found<P: Projection>(running: &Running<P>) -> Rows2 {
    let reader: &TableReader<String, Found> = running.readers[0].1.as_any().downcast_ref().unwrap();
    reader.rows().unwrap().into_iter().collect()
}
