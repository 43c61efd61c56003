//! A projection with an outbox over a log of one partition, stepped by hand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::log::EmbeddedLog;
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::state::{
    RegisteredProjection, StateBatch, StateWrite, SteppedStateWriter, TableId,
};
use millstream_engine::store::{Environment, EnvironmentOptions, SimulatedDisk};
use millstream_engine::time::{Clock, Timestamp};
use millstream_operators::projection::{
    DeclaredOutbox, Delivering, DeliveryConfig, DeliveryCore, DeliveryParts, Effect, FailurePolicy,
    OpenOutlets, OpenReads, Outlets, Owners, ProgressBoard, ProjectionConfig,
};

use crate::sending::{SENT, Sends, Value};
use crate::support::{Declared, Log, NewEvent, Opening, State, in_memory_on};

pub(crate) const ZERO: PartitionId = PartitionId(0);

/// A log of one partition, and a state.
pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) state: State,
    pub(crate) steps: SteppedStateWriter,
    pub(crate) is_out_of_order: Arc<AtomicBool>,
    /// The state's.
    disk: SimulatedDisk,
    /// Values that were appended, and when they were recorded.
    appended: Vec<(Timestamp, u64)>,
}

/// A version at work.
pub(crate) struct Running {
    pub(crate) core: Box<dyn StageCore>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) board: Arc<ProgressBoard>,
    pub(crate) registered: RegisteredProjection,
}

impl World {
    pub(crate) fn new() -> Self {
        let disk = SimulatedDisk::new();
        let (log, state, steps) = in_memory_on(1, &disk);
        Self {
            log,
            state,
            steps,
            disk,
            is_out_of_order: Arc::default(),
            appended: Vec::new(),
        }
    }

    pub(crate) fn register(&self, version: u32) -> RegisteredProjection {
        let writer = &self.state.writer;
        let registered = writer.register_projection("sends", version, &["counts"]);
        registered.unwrap()
    }

    /// The outboxes of all versions, as at a start at which the first one answers.
    pub(crate) fn outlets(&self) -> Arc<Outlets> {
        self.outlets_of(&[1, 2])
    }

    /// The same, at which these are registered, and the first of them answers.
    pub(crate) fn outlets_of(&self, versions: &[u32]) -> Arc<Outlets> {
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
            log: &self.log.reader,
            now: self.log.clock.now(),
            store: &self.state.store,
            writer: &self.state.writer,
        })
        .unwrap()
    }

    pub(crate) fn open<const N: u32>(&self, outlets: &Arc<Outlets>) -> Running {
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
    pub(crate) fn bound(&self, outlets: &Arc<Outlets>, stored_max: u64) -> DeliveryCore {
        let config = DeliveryConfig {
            stored_max: Some(stored_max),
            ..DeliveryConfig::default()
        };
        self.deliver(outlets, config).0
    }

    /// A delivery that always succeeds, and where it is woken.
    pub(crate) fn deliver(
        &self,
        outlets: &Arc<Outlets>,
        config: DeliveryConfig,
    ) -> (DeliveryCore, Arc<Mailbox>) {
        self.deliver_by(outlets, config, |_| async { Ok::<_, String>(()) })
    }

    /// One that calls this, and where it is woken.
    pub(crate) fn deliver_by<F>(
        &self,
        outlets: &Arc<Outlets>,
        config: DeliveryConfig,
        deliver: impl Fn(Effect<u64>) -> F + Send + Sync + 'static,
    ) -> (DeliveryCore, Arc<Mailbox>)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let mailbox = Mailbox::new(MailboxLimits::default(), self.log.clock());
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
    pub(crate) fn fill(&self) {
        while self.state.writer.try_submit(StateBatch::default()).is_ok() {}
    }

    /// Appends a frame with one event of a stream of its own.
    pub(crate) fn append(&mut self, value: u64) {
        self.append_at(self.log.clock.now(), value);
    }

    /// The same, recorded then.
    pub(crate) fn append_at(&mut self, at: Timestamp, value: u64) {
        let id = self.log.end(ZERO).to_string();
        let event = NewEvent::of(("value", &id), "Value", &Value(value));
        self.log.append(ZERO, at, [&event]);
        self.appended.push((at, value));
    }

    /// A backup of the log is restored that has so many events, and the state is kept. Whoever uses the log has to be gone.
    pub(crate) fn restore_log(&mut self, events: usize) {
        let kept: Vec<_> = self.history().into_iter().take(events).collect();
        self.put_log(&kept);
    }

    /// The same for one that has these events.
    pub(crate) fn put_log(&mut self, events: &[(Timestamp, u64)]) {
        let disk = EmbeddedLog::open_simulated(&SimulatedDisk::new(), 1).unwrap();
        self.log = Log::new(disk, self.log.clock.now());
        self.appended.clear();
        for (at, value) in events {
            self.append_at(*at, *value);
        }
    }

    /// Values that the log has, and when they were recorded.
    pub(crate) fn history(&self) -> Vec<(Timestamp, u64)> {
        self.appended.clone()
    }

    /// Rows are made anew, as where they are ahead of the log.
    pub(crate) fn reset(&self) {
        self.state.writer.reset_projection("sends", 1).unwrap();
    }

    /// One turn, and all that it has stored.
    pub(crate) fn step(&self, running: &mut Running) -> Step {
        let step = running.core.step();
        assert!(!matches!(step, Step::Failed(_)), "{step:?}");
        while self.steps.step() {}
        step
    }

    /// Turns until a version has stored all up to there.
    pub(crate) fn run(&self, running: &mut Running, upto: u64) {
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

    pub(crate) fn stored(&self, running: &Running) -> u64 {
        let progress = self
            .state
            .store
            .progress(running.registered.id, ZERO)
            .unwrap();
        progress.unwrap_or_default().next.0
    }

    /// Where effects are stored, and their keys.
    pub(crate) fn effects(&self) -> (TableId, Vec<Vec<u8>>) {
        self.keys_of_table(0)
    }

    /// One of the tables of the outboxes, and its keys.
    fn keys_of_table(&self, number: usize) -> (TableId, Vec<Vec<u8>>) {
        let all = self.state.store.projections().unwrap();
        let mut own = all.iter().filter(|one| one.name == "effects of sends");
        let table = own.next().unwrap().tables[number];
        let from = std::ops::Bound::Included(&b""[..]);
        let keys = self.state.store.keys(table, from, 1_000).unwrap();
        (table, keys)
    }

    /// Has a bit of a stored effect be another one, of those that wait.
    pub(crate) fn damage(&self, at: usize) {
        self.damage_of_table(0, at);
    }

    /// The same of those that were given up.
    pub(crate) fn damage_given_up(&self, at: usize) {
        self.damage_of_table(1, at);
    }

    /// Behind the store's back, which would seal what it writes.
    fn damage_of_table(&self, number: usize, at: usize) {
        let (table, keys) = self.keys_of_table(number);
        let key = [&table.0.to_be_bytes()[..], &keys[at]].concat();
        let options = EnvironmentOptions::with_databases(&["rows"]);
        let file = Environment::simulated(&self.disk, &options);
        let (rows, mut writer) = (file.table("rows").unwrap(), file.writer().unwrap());
        let mut txn = writer.begin().unwrap();
        let mut stored = txn.get(rows, &key).unwrap().unwrap().to_vec();
        *stored.last_mut().unwrap() ^= 1;
        txn.put(rows, &key, &stored).unwrap();
        txn.commit().unwrap();
    }

    /// Offsets of the events whose effects are stored.
    pub(crate) fn sent(&self) -> BTreeSet<u64> {
        let offset = |key: &Vec<u8>| {
            let bytes = key[key.len() - 12..key.len() - 4].try_into();
            u64::from_be_bytes(bytes.unwrap())
        };
        self.effects().1.iter().map(offset).collect()
    }

    /// Takes an effect out of the store.
    pub(crate) fn take_out(&mut self, at: usize) -> (Vec<u8>, Vec<u8>) {
        let (table, keys) = self.effects();
        let key = keys[at].clone();
        let value = self.state.store.get(table, &key).unwrap().unwrap();
        self.write(StateWrite::DeleteRow {
            table,
            key: key.clone(),
        });
        (key, value)
    }

    /// Puts it back.
    pub(crate) fn put_back(&mut self, (key, value): (Vec<u8>, Vec<u8>)) {
        let (table, _) = self.effects();
        self.write(StateWrite::PutRow { table, key, value });
    }

    fn write(&mut self, write: StateWrite) {
        let batch = StateBatch::new(vec![write]);
        self.state.writer.try_submit(batch).unwrap();
        while self.steps.step() {}
    }

    /// Stores something else in place of an effect; gives what was there.
    pub(crate) fn store_as(&mut self, at: usize, value: Vec<u8>) -> Vec<u8> {
        let (table, keys) = self.effects();
        let key = keys[at].clone();
        let before = self.state.store.get(table, &key).unwrap().unwrap();
        self.write(StateWrite::PutRow { table, key, value });
        before
    }
}
