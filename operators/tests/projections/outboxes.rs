//! Projections with an outbox, stepped by hand: a switch before the first turn after a start, an outbox that is full, and its
//! figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Recorder, SharedString, Unit};
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::Feed;
use millstream_engine::mailbox::{Mailbox, MailboxLimits, Wake};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::state::{
    RegisteredProjection, StateBatch, StateWrite, SteppedStateWriter, TableId,
};
use millstream_engine::time::Clock;
use millstream_operators::projection::{
    DeclaredOutbox, Delivering, DeliveryConfig, DeliveryCore, DeliveryParts, FailurePolicy,
    OpenOutlets, OpenReads, Outlets, Owners, ProgressBoard, ProjectionConfig,
};

use crate::sending::{SENT, Sends, Value};
use crate::support::{Declared, Log, NewEvent, Opening, State, in_memory};

const ZERO: PartitionId = PartitionId(0);

/// A log of one partition, and a state.
struct World {
    log: Log,
    state: State,
    steps: SteppedStateWriter,
    is_out_of_order: Arc<AtomicBool>,
}

/// A version at work.
struct Running {
    core: Box<dyn StageCore>,
    mailbox: Arc<Mailbox>,
    board: Arc<ProgressBoard>,
    registered: RegisteredProjection,
}

impl World {
    fn new() -> Self {
        let (log, state, steps) = in_memory(1);
        Self {
            log,
            state,
            steps,
            is_out_of_order: Arc::default(),
        }
    }

    fn register(&self, version: u32) -> RegisteredProjection {
        let writer = &self.state.writer;
        let registered = writer.register_projection("sends", version, &["counts"]);
        registered.unwrap()
    }

    /// The outboxes of all versions, as at a start at which the first one answers.
    fn outlets(&self) -> Arc<Outlets> {
        self.outlets_of(&[1, 2])
    }

    /// The same, at which these are registered, and the first of them answers.
    fn outlets_of(&self, versions: &[u32]) -> Arc<Outlets> {
        let versions = versions.iter();
        let ids: Vec<_> = versions.map(|&version| self.register(version).id).collect();
        let outboxes = [DeclaredOutbox {
            name: SENT.name(),
            from_start: false,
            effect: std::any::TypeId::of::<u64>(),
        }];
        Outlets::open(&OpenOutlets {
            projection: "sends",
            outboxes: &outboxes,
            active: ids[0],
            registered: &ids,
            heads: &[self.log.end(ZERO)],
            store_id: None,
            store: &self.state.store,
            writer: &self.state.writer,
        })
        .unwrap()
    }

    fn open<const N: u32>(&self, outlets: &Arc<Outlets>) -> Running {
        let projection = Sends::<N> {
            is_out_of_order: Arc::clone(&self.is_out_of_order),
        };
        let mut declared = Declared::new(projection, &self.state);
        let feed = Arc::clone(&self.log.feed);
        let board = ProgressBoard::of_version("sends", N, feed, self.log.clock());
        board.set_active(N == 1);
        board.set_outlet(outlets.of_version(declared.registered.id));
        let config = ProjectionConfig {
            failures: FailurePolicy {
                attempts_max: 3,
                backoff_first: Duration::from_millis(5),
                backoff_max: Duration::from_millis(5),
            },
            store_every_ms: 0,
            store_every_behind_ms: 0,
            ..ProjectionConfig::default()
        };
        let opening = Opening {
            board,
            config: &config,
            reads: OpenReads::default(),
            owners: Owners::default(),
        };
        let mut running = declared.open(&self.log, &self.state, opening);
        Running {
            core: Box::new(running.cores.remove(0)),
            mailbox: running.mailboxes.remove(0),
            board: running.board,
            registered: declared.registered,
        }
    }

    /// A delivery that is never given a turn, so nothing is taken out of the outbox that it bounds.
    fn bound(&self, outlets: &Arc<Outlets>, stored_max: u64) -> DeliveryCore {
        let config = DeliveryConfig {
            stored_max: Some(stored_max),
            ..DeliveryConfig::default()
        };
        self.deliver(outlets, config).0
    }

    /// A delivery that always succeeds, and where it is woken.
    fn deliver(
        &self,
        outlets: &Arc<Outlets>,
        config: DeliveryConfig,
    ) -> (DeliveryCore, Arc<Mailbox>) {
        let mailbox = Mailbox::new(MailboxLimits::default(), self.log.clock());
        let deliver = |_| async { Ok::<_, String>(()) };
        let parts = DeliveryParts {
            outlets: Arc::clone(outlets),
            delivering: Delivering::new(&SENT, config, deliver),
            partition: ZERO,
            mailbox: Arc::clone(&mailbox),
            clock: self.log.clock(),
        };
        (DeliveryCore::open(parts).unwrap(), mailbox)
    }

    /// Takes all places before the state's writer.
    fn fill(&self) {
        while self.state.writer.try_submit(StateBatch::default()).is_ok() {}
    }

    /// Appends a frame with one event of a stream of its own.
    fn append(&mut self, value: u64) {
        let id = self.log.end(ZERO).to_string();
        let event = NewEvent::of(("value", &id), "Value", &Value(value));
        self.log.add(&[event]);
    }

    /// One turn, and all that it has stored.
    fn step(&self, running: &mut Running) -> Step {
        let step = running.core.step();
        assert!(!matches!(step, Step::Failed(_)), "{step:?}");
        while self.steps.step() {}
        step
    }

    /// Turns until a version has stored all up to there.
    fn run(&self, running: &mut Running, upto: u64) {
        for _ in 0..100 {
            self.step(running);
            self.log.clock.advance(Duration::from_millis(1));
            if self.stored(running) == upto {
                return;
            }
        }
        panic!(
            "it does not come to {upto}, but to {}",
            self.stored(running)
        );
    }

    fn stored(&self, running: &Running) -> u64 {
        let progress = self
            .state
            .store
            .progress(running.registered.id, ZERO)
            .unwrap();
        progress.unwrap_or_default().next.0
    }

    /// Where effects are stored, and their keys.
    fn effects(&self) -> (TableId, Vec<Vec<u8>>) {
        let all = self.state.store.projections().unwrap();
        let mut own = all.iter().filter(|one| one.name == "effects of sends");
        let effects = own.next().unwrap().tables[0];
        let from = std::ops::Bound::Included(&b""[..]);
        let keys = self.state.store.keys(effects, from, 1_000).unwrap();
        (effects, keys)
    }

    /// Offsets of the events whose effects are stored.
    fn sent(&self) -> BTreeSet<u64> {
        let offset = |key: &Vec<u8>| {
            let bytes = key[key.len() - 12..key.len() - 4].try_into();
            u64::from_be_bytes(bytes.unwrap())
        };
        self.effects().1.iter().map(offset).collect()
    }

    /// Stores something else in place of an effect; gives what was there.
    fn store_as(&mut self, at: usize, value: Vec<u8>) -> Vec<u8> {
        let (table, keys) = self.effects();
        let key = keys[at].clone();
        let before = self.state.store.get(table, &key).unwrap().unwrap();
        let write = StateWrite::PutRow { table, key, value };
        let batch = StateBatch::new(vec![write]);
        self.state.writer.try_submit(batch).unwrap();
        while self.steps.step() {}
        before
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Woken {
    /// Wakes it once, as each who is attached is.
    fn attached(mailbox: &Mailbox) -> Arc<Self> {
        let woken = Arc::new(Self::default());
        mailbox.attach(Arc::<Self>::clone(&woken));
        woken
    }

    /// Whether it was woken since the last turn; a turn begins.
    fn take(&self, mailbox: &Mailbox) -> bool {
        mailbox.begin_turn();
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// Story: while the state's writer had no room, a projection and its deliveries asked every two milliseconds.
#[tokio::test]
async fn room_in_the_state_wakes_who_waits_for_it() {
    let mut world = World::new();
    let outlets = world.outlets();
    let mut running = world.open::<1>(&outlets);
    let (mut delivery, mailbox) = world.deliver(&outlets, DeliveryConfig::default());
    let waits = |step| {
        let is_long = matches!(step, Step::IdleUntil(look) if look >= Duration::from_millis(500));
        assert!(is_long, "it looks by itself soon");
    };
    let woken = Woken::attached(&running.mailbox);
    world.append(1);
    world.fill();
    assert!(woken.take(&running.mailbox));
    waits(running.core.step());
    assert!(!woken.take(&running.mailbox) && world.steps.step());
    assert!(
        woken.take(&running.mailbox),
        "nobody told the projection of room"
    );
    world.run(&mut running, 1);
    assert_eq!(world.sent(), [0].into());

    let woken = Woken::attached(&mailbox);
    assert!(woken.take(&mailbox));
    waits(delivery.step());
    while !woken.take(&mailbox) {
        tokio::task::yield_now().await;
    }
    world.fill();
    waits(delivery.step());
    assert!(!woken.take(&mailbox) && world.steps.step());
    assert!(woken.take(&mailbox), "nobody told the delivery of room");
    delivery.step();
    while world.steps.step() {}
    assert!(world.sent().is_empty(), "not taken out");
}

/// Goal: a switch right after a start, before either version has had a turn, leaves out no effect and sends none twice. Method:
/// the one that answers has stored three events, the other one five; the cut must lie behind the five, not at the beginning of
/// the log, since nobody would send the two between.
#[tokio::test]
async fn a_switch_before_the_first_turn_cuts_where_the_further_one_is() {
    let mut world = World::new();
    {
        let outlets = world.outlets();
        let (mut old, mut new) = (world.open::<1>(&outlets), world.open::<2>(&outlets));
        (0..3).for_each(|_| world.append(1));
        world.run(&mut old, 3);
        (0..2).for_each(|_| world.append(1));
        world.run(&mut new, 5);
        assert_eq!(world.sent(), BTreeSet::from([0, 1, 2]));
    }
    let outlets = world.outlets();
    let (mut old, mut new) = (world.open::<1>(&outlets), world.open::<2>(&outlets));
    let versions = [
        (&*old.board, old.registered.id),
        (&*new.board, new.registered.id),
    ];
    let halted = outlets.halt(versions, Duration::from_secs(1)).await;
    let ends = halted.unwrap();
    assert_eq!(ends, [Offset(5)]);
    (0..2).for_each(|_| world.append(1));
    world.run(&mut old, 5);
    assert_eq!(world.sent(), (0..5).collect());
    outlets.cut(new.registered.id, &ends).unwrap();
    old.board.stop_behind(None);
    new.board.stop_behind(None);
    world.run(&mut new, 7);
    assert_eq!(world.sent(), (0..7).collect());
    let depth = outlets.depth(SENT.name());
    world.run(&mut old, 7);
    assert_eq!(outlets.depth(SENT.name()), depth, "none was sent twice");
    assert_eq!(depth, Some(7));
}

/// The version that has sent was dropped at rest, right after a switch at rest: the one that answers goes on where its rows
/// end, not where the log ended at the start.
#[test]
fn after_a_drop_at_rest_effects_go_on_where_the_rows_end() {
    let mut world = World::new();
    {
        let outlets = world.outlets();
        let (mut old, mut new) = (world.open::<1>(&outlets), world.open::<2>(&outlets));
        (0..5).for_each(|_| world.append(1));
        world.run(&mut old, 5);
        world.run(&mut new, 5);
        (0..2).for_each(|_| world.append(1));
    }
    let outlets = world.outlets_of(&[2]);
    let mut new = world.open::<2>(&outlets);
    new.board.set_active(true);
    world.run(&mut new, 7);
    assert_eq!(world.sent(), (0..7).collect());
    assert_eq!(outlets.depth(SENT.name()), Some(7));
}

/// A projection whose outbox is full tries no parked key, so one that is due is no reason for another turn at once: it asked
/// for one for as long as the outside was away.
#[test]
fn a_parked_key_that_is_due_does_not_spin_while_the_outbox_is_full() {
    let mut world = World::new();
    let outlets = world.outlets();
    let _delivery = world.bound(&outlets, 1);
    let mut running = world.open::<1>(&outlets);
    world.is_out_of_order.store(true, Ordering::Relaxed);
    world.append(0);
    world.append(1);
    world.run(&mut running, 2);
    assert_eq!(outlets.depth(SENT.name()), Some(1));
    world.log.clock.advance(Duration::from_secs(1));
    world.append(1);
    for _ in 0..5 {
        let step = world.step(&mut running);
        assert!(matches!(step, Step::IdleUntil(_)), "{step:?}");
        world.log.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(world.sent(), BTreeSet::from([1]));
}

/// One that stops with a full outbox ends where it is, although the outside takes nothing; the next start goes on there.
#[test]
fn a_projection_with_a_full_outbox_ends_and_goes_on_later() {
    let mut world = World::new();
    {
        let outlets = world.outlets();
        let _delivery = world.bound(&outlets, 2);
        let mut running = world.open::<1>(&outlets);
        (0..2).for_each(|_| world.append(1));
        world.run(&mut running, 2);
        (0..20).for_each(|_| world.append(1));
        world.log.feed.close();
        running.core.stop();
        let mut turns = 0..10;
        while !matches!(world.step(&mut running), Step::Done) {
            turns.next().expect("it ends");
            world.log.clock.advance(Duration::from_millis(1));
        }
        assert_eq!(world.stored(&running), 2);
        assert_eq!(world.sent(), (0..2).collect());
    }
    // Nobody bounds it any more.
    world.log.feed = Arc::new(Feed::new(&world.log.reader).unwrap());
    let outlets = world.outlets();
    let mut running = world.open::<1>(&outlets);
    world.run(&mut running, 22);
    assert_eq!(world.sent(), (0..22).collect());
    assert_eq!(outlets.depth(SENT.name()), Some(22));
}

/// Gauges by name.
#[derive(Default)]
struct Gauges(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Gauges {
    fn of(&self, name: &str) -> Arc<AtomicU64> {
        let mut all = self.0.lock().unwrap();
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    fn value(&self, name: &str) -> f64 {
        f64::from_bits(self.of(name).load(Ordering::Relaxed))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &metrics::Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &metrics::Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key.name()))
    }

    fn register_histogram(&self, _: &Key, _: &metrics::Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Goal: the figures of an outbox are those of what is stored, whoever delivers or does not. Method: a delivery that has no
/// turn, as one that was given up, and effects that come all the same; then one that delivers. Its own figures stood still.
#[tokio::test]
async fn figures_are_those_of_what_is_stored() {
    let (mut world, gauges) = (World::new(), Gauges::default());
    let figures = |world: &World, outlets: &Arc<Outlets>| {
        outlets.observe(world.log.clock.now()).unwrap();
        let names = ["effects", "oldest_seconds", "full"];
        names.map(|name| gauges.value(&format!("millstream_outbox_{name}")))
    };
    let bytes = || gauges.value("millstream_outbox_bytes");
    let outlets = metrics::with_local_recorder(&gauges, || world.outlets());
    let delivery = world.bound(&outlets, 3);
    let mut running = world.open::<1>(&outlets);
    assert_eq!(figures(&world, &outlets), [0.0, 0.0, 0.0]);
    world.append(1);
    world.run(&mut running, 1);
    world.log.clock.advance(Duration::from_secs(60));
    assert_eq!(figures(&world, &outlets)[0], 1.0);
    assert!(figures(&world, &outlets)[1] >= 60.0);
    let one = bytes();
    (0..2).for_each(|_| world.append(1));
    world.run(&mut running, 3);
    let [effects, _, is_full] = figures(&world, &outlets);
    assert_eq!((effects, is_full, bytes()), (3.0, 1.0, 3.0 * one));
    drop((running, delivery));
    // The next start finds the same.
    let outlets = metrics::with_local_recorder(&gauges, || world.outlets());
    let mut delivery = world.bound(&outlets, 3);
    let [effects, _, is_full] = figures(&world, &outlets);
    assert_eq!((effects, is_full, bytes()), (3.0, 1.0, 3.0 * one));
    while outlets.depth(SENT.name()) > Some(0) {
        assert!(matches!(delivery.step(), Step::IdleUntil(_)));
        while world.steps.step() {}
        tokio::task::yield_now().await;
    }
    assert_eq!(figures(&world, &outlets), [0.0, 0.0, 0.0]);
    assert_eq!(bytes(), 0.0);
}

/// Story: where the oldest effect was damaged, the figure of how long it has waited was zero, and no alert came. Goal: it is that
/// of the oldest that can be read; where none can, it grows from when that is seen, and is what it was once one can be read again.
#[test]
fn the_oldest_that_can_be_read_says_how_long_effects_have_waited() {
    let (mut world, gauges) = (World::new(), Gauges::default());
    let outlets = metrics::with_local_recorder(&gauges, || world.outlets());
    let mut running = world.open::<1>(&outlets);
    let oldest = |world: &World| {
        outlets.observe(world.log.clock.now()).unwrap();
        gauges.value("millstream_outbox_oldest_seconds").round()
    };
    let seconds = |world: &World, seconds| world.log.clock.advance(Duration::from_secs(seconds));
    world.append(1);
    world.run(&mut running, 1);
    seconds(&world, 60);
    world.append(1);
    world.run(&mut running, 2);
    seconds(&world, 30);
    assert_eq!(oldest(&world), 90.0);
    let damaged = || b"damaged".to_vec();
    let first = world.store_as(0, damaged());
    assert_eq!(oldest(&world), 30.0);
    let second = world.store_as(1, damaged());
    assert_eq!(oldest(&world), 0.0, "seen just now");
    seconds(&world, 400);
    assert_eq!(oldest(&world), 400.0);
    world.store_as(1, second);
    assert_eq!(oldest(&world), 430.0);
    world.store_as(0, first);
    assert_eq!(oldest(&world), 490.0);
}
