//! Partitions of an operator with all that is around them, driven by hand.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::flow::{Fence, Operator, Resources, Turn, Wiring, exchange_hash, target_of};
use millstream_engine::log::LogError;
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::state::{
    self, DeadLetter, DeadLetterId, DeadLetterStatus, StateOptions, StateStore, StateWriterHandle,
};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use proptest::prelude::*;

use super::operators::{Poison, TIMER};
use crate::failing::{DecisionLog, ItemLetters};
use crate::projection::{LetterDecision, LetterOrder};
use crate::restart::Saves;
use crate::sink::LetterAccess;

/// Key and number.
pub(super) type Item = (u8, u64);
/// Key, number of what it was made of, and how many of the key there were.
pub(super) type Out = (u8, u64, u64);

const LOG_PARTITIONS: u16 = 2;

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// So many items come.
    Take(usize),
    Watermark(i64),
    Clock(u64),
    Save,
    /// From the last save, in so many partitions.
    Restart(usize),
    /// Somebody decides about one of the letters, perhaps twice.
    Decide {
        which: usize,
        discards: bool,
        twice: bool,
    },
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let decide = (0..8usize, any::<bool>(), any::<bool>()).prop_map(|(which, discards, twice)| {
        Step::Decide {
            which,
            discards,
            twice,
        }
    });
    let step = prop_oneof![
        6 => (1..8usize).prop_map(Step::Take),
        2 => (1..60i64).prop_map(Step::Watermark),
        4 => (1..40u64).prop_map(Step::Clock),
        3 => Just(Step::Save),
        2 => (1..4usize).prop_map(Step::Restart),
        3 => decide,
    ];
    prop::collection::vec(step, 0..60)
}

/// Decisions in memory.
#[derive(Clone, Default)]
struct Decisions(Arc<Mutex<BTreeMap<u16, Vec<LetterDecision>>>>);

impl DecisionLog for Decisions {
    fn partitions(&self) -> u16 {
        LOG_PARTITIONS
    }

    fn len(&self, partition: PartitionId) -> Result<u64, LogError> {
        let all = self.0.lock().unwrap();
        Ok(all.get(&partition.0).map_or(0, Vec::len) as u64)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        take: &mut dyn FnMut(LetterDecision),
    ) -> Result<u64, LogError> {
        let all = self.0.lock().unwrap().get(&partition.0).cloned();
        let all = all.unwrap_or_default();
        all.iter().skip(from as usize).cloned().for_each(take);
        Ok(all.len() as u64)
    }
}

/// One store for all cases: it is opened once.
fn state() -> &'static (StateStore, StateWriterHandle) {
    static STATE: OnceLock<(StateStore, StateWriterHandle)> = OnceLock::new();
    STATE.get_or_init(|| {
        let folder: PathBuf = tempfile::tempdir().unwrap().keep();
        let options = StateOptions {
            map_bytes_max: 256 << 20,
            preallocate_step_bytes: 0,
            ..StateOptions::default()
        };
        let (store, writer) = StateStore::open(&folder, options).unwrap();
        let (handle, thread) = state::start(writer).unwrap();
        std::mem::forget(thread);
        // It is mapped: what has no name is gone with the process.
        std::fs::remove_dir_all(folder).unwrap();
        (store, handle)
    })
}

/// What a restart goes back to.
struct Saved {
    saves: Vec<Saves>,
    position: usize,
    watermark: i64,
    given: usize,
    letters: BTreeMap<DeadLetterId, DeadLetter>,
}

pub(super) struct World<O> {
    make: Box<dyn Fn() -> O>,
    /// The partition to which an item's key leads, of so many.
    target: fn(u8, usize) -> usize,
    runtime: tokio::runtime::Runtime,
    clock: Arc<ManualClock>,
    access: LetterAccess,
    pub(super) shared: ItemLetters,
    /// Of the present run.
    fence: Option<Arc<Fence>>,
    decisions: Decisions,
    operators: Vec<O>,
    items: Vec<Item>,
    position: usize,
    watermark: i64,
    given: Vec<Out>,
    saved: Saved,
    pub(super) discarded: HashSet<u64>,
    decided: HashSet<(DeadLetterId, u32)>,
}

impl<O: Operator<Item, Out = Out>> World<O> {
    pub(super) fn new(items: Vec<Item>, make: Box<dyn Fn() -> O>) -> Self {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("dataflow {number}");
        let (store, writer) = state();
        let owner = writer.register_projection(&name, 1, &[]).unwrap().id;
        let access = LetterAccess {
            store: store.clone(),
            writer: writer.clone(),
            owner,
            name: name.as_str().into(),
        };
        let decisions = Decisions::default();
        let mut world = Self {
            make,
            target: |key, partitions| target_of(exchange_hash(&key), partitions),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            clock: Arc::new(ManualClock::new(Timestamp::EPOCH)),
            access,
            shared: ItemLetters::new(decisions.clone()),
            fence: None,
            decisions,
            operators: Vec::new(),
            items,
            position: 0,
            watermark: i64::MIN,
            given: Vec::new(),
            saved: Saved {
                saves: Vec::new(),
                position: 0,
                watermark: i64::MIN,
                given: 0,
                letters: BTreeMap::new(),
            },
            discarded: HashSet::new(),
            decided: HashSet::new(),
        };
        world.open(2);
        world.save();
        world
    }

    /// The same where the key is made of an item's.
    pub(super) fn targeted(mut self, target: fn(u8, usize) -> usize) -> Self {
        self.target = target;
        self
    }

    /// Writes what was saved as something else of the same length.
    pub(super) fn rewrite_saved(&mut self, from: &[u8], to: &[u8]) {
        let saves = self.saved.saves.iter_mut();
        saves.for_each(|saves| saves.rewrite(from, to));
    }

    fn open(&mut self, partitions: usize) {
        let resources = Resources::new()
            .with(self.access.clone())
            .with(self.shared.clone())
            .with(Fence::new());
        let resources = Arc::new(resources);
        self.fence = resources.get::<Fence>();
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let open = |partition| {
            let mut operator = (self.make)();
            let wiring = Wiring {
                stage: "flow/stage".into(),
                identity: "stage".into(),
                partition,
                partitions,
                mailbox: Mailbox::new(MailboxLimits::default(), Arc::clone(&clock)),
                clock: Arc::clone(&clock),
                resources: Arc::clone(&resources),
                checkpoints: None,
            };
            operator.open(&wiring).unwrap();
            operator
        };
        self.operators = (0..partitions).map(open).collect();
    }

    pub(super) fn now(&self) -> Turn {
        Turn {
            now: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }

    fn turn(&mut self) {
        let turn = self.now();
        let given = &mut self.given;
        for operator in &mut self.operators {
            operator.begin(&turn);
            if operator.next_due().is_some_and(|due| due <= turn.now) {
                operator.processing_time(turn.now, &mut |_, item| given.push(item));
            }
        }
        self.settle();
    }

    /// What a stage does with an operator that waits.
    fn settle(&mut self) {
        for operator in &mut self.operators {
            operator.flush(true).unwrap();
            while operator.is_blocked() {
                let mut waits = Vec::new();
                operator.blocked(&mut waits);
                for wait in waits {
                    self.runtime.block_on(wait);
                }
                operator.flush(true).unwrap();
            }
        }
    }

    pub(super) fn letters(&self) -> BTreeMap<DeadLetterId, DeadLetter> {
        let (store, owner) = (&self.access.store, self.access.owner);
        let letters = store.dead_letters(Some(owner), None, usize::MAX).unwrap();
        letters
            .into_iter()
            .map(|letter| (letter.id(), letter))
            .collect()
    }

    pub(super) fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Take(count) => self.take(count),
            Step::Watermark(by) => {
                self.tell(self.watermark.max(0) + by);
            }
            Step::Clock(by) => self.clock.advance(Duration::from_millis(by)),
            Step::Save => self.save(),
            Step::Restart(partitions) => self.restart(partitions)?,
            Step::Decide {
                which,
                discards,
                twice,
            } => self.decide(which, discards, twice)?,
        }
        self.turn();
        Ok(())
    }

    fn take(&mut self, count: usize) {
        let partitions = self.operators.len();
        let end = (self.position + count).min(self.items.len());
        let given = &mut self.given;
        for &(key, id) in &self.items[self.position..end] {
            let at = (self.target)(key, partitions);
            let mut out = |_, item| given.push(item);
            self.operators[at].item(Timestamp(id as i64), (key, id), &mut out);
        }
        self.position = end;
    }

    fn tell(&mut self, watermark: i64) {
        self.watermark = watermark;
        let given = &mut self.given;
        for operator in &mut self.operators {
            operator.late_before(Timestamp(watermark));
            let mut out = |_, item| given.push(item);
            operator.watermark(Timestamp(watermark), &mut out);
        }
    }

    fn save(&mut self) {
        for operator in &mut self.operators {
            operator.before_barrier(&mut |_, _| {});
        }
        self.settle();
        let saves = &mut self.saved.saves;
        if saves.len() != self.operators.len() {
            *saves = vec![Saves::default(); self.operators.len()];
        }
        for (operator, saves) in self.operators.iter_mut().zip(saves) {
            saves.save(operator);
        }
        self.saved.position = self.position;
        self.saved.watermark = self.watermark;
        self.saved.given = self.given.len();
        self.saved.letters = self.letters();
    }

    fn restart(&mut self, partitions: usize) -> Result<(), TestCaseError> {
        self.position = self.saved.position;
        self.watermark = self.saved.watermark;
        self.given.truncate(self.saved.given);
        self.open(partitions);
        for (partition, operator) in self.operators.iter_mut().enumerate() {
            Saves::restore_of(&self.saved.saves, operator, partition, partitions);
        }
        self.settle();
        prop_assert_eq!(self.letters(), self.saved.letters.clone());
        if self.saved.saves.len() != partitions {
            self.save();
        }
        if self.watermark > i64::MIN {
            self.tell(self.watermark);
        }
        Ok(())
    }

    /// The engine lets nobody decide about what no checkpoint has.
    fn decide(&mut self, which: usize, discards: bool, twice: bool) -> Result<(), TestCaseError> {
        let is_open = |letter: &DeadLetter| {
            letter.status == DeadLetterStatus::Dead
                && self.saved.letters.contains_key(&letter.id())
                && !self.decided.contains(&(letter.id(), letter.redrives))
        };
        let mut open = self.letters();
        open.retain(|_, letter| is_open(letter));
        if open.is_empty() {
            return Ok(());
        }
        let letter = open.values().nth(which % open.len()).cloned().unwrap();
        self.append(&letter, discards);
        if twice {
            self.append(&letter, !discards);
        }
        Ok(())
    }

    fn append(&mut self, letter: &DeadLetter, discards: bool) {
        let order = LetterOrder::of_item(letter, &self.access.name, "ann", "because").unwrap();
        let is_first = self.decided.insert((letter.id(), letter.redrives));
        if is_first && discards {
            let item = serde_json::from_slice::<Item>(&letter.payload);
            let id = item.map_or_else(|_| timer(letter), |(_, id)| id);
            self.discarded.insert(id);
        }
        let decision = if discards {
            LetterDecision::Discarded(order)
        } else {
            LetterDecision::Redriven(order)
        };
        self.say(decision);
    }

    fn say(&self, decision: LetterDecision) {
        let partition = decision.order().log_partition(LOG_PARTITIONS).0;
        let mut all = self.decisions.0.lock().unwrap();
        all.entry(partition).or_default().push(decision);
        drop(all);
        self.shared.announce();
    }

    /// The one letter that there is.
    pub(super) fn letter(&self) -> DeadLetter {
        let mut letters = self.letters().into_values();
        let letter = letters.next().unwrap();
        assert_eq!(letters.next(), None);
        letter
    }

    /// Somebody puts another item in the place of the one that there is a letter of; it is tried at once.
    pub(super) fn edit(&mut self, payload: &str) {
        let name = &self.access.name;
        let order = LetterOrder::of_item(&self.letter(), name, "ann", "because").unwrap();
        let payload = payload.to_owned();
        self.say(LetterDecision::Edited { order, payload });
        self.turn();
    }

    /// All comes, all is mended, and somebody has all that is dead tried again.
    pub(super) fn finish(&mut self, poison: &Poison) -> Result<(), TestCaseError> {
        self.take(self.items.len());
        let wait = |world: &mut Self| {
            for _ in 0..20 {
                world.clock.advance(Duration::from_secs(30));
                world.turn();
            }
        };
        wait(self);
        self.tell(1_000_000);
        wait(self);
        poison.mend();
        let mut rounds = 0;
        while !self.letters().is_empty() {
            rounds += 1;
            prop_assert!(rounds < 200, "{:?}", self.letters());
            self.save();
            self.decide(0, false, false)?;
            wait(self);
        }
        self.tell(i64::MAX);
        let held = self.held();
        prop_assert!(held.values().all(|items| *items == 0), "{:?}", held);
        prop_assert!(self.letters().is_empty());
        Ok(())
    }

    /// Gives up the run, and gives its operators: user code of theirs may come back later. A restart is next.
    pub(super) fn give_up(&mut self) -> Vec<O> {
        assert!(self.fence.take().is_some_and(|fence| fence.close()));
        std::mem::take(&mut self.operators)
    }

    /// What the partitions hold, by name.
    pub(super) fn held(&self) -> BTreeMap<&'static str, usize> {
        let mut held = Vec::new();
        for operator in &self.operators {
            operator.state_items(&mut held);
        }
        let mut sums = BTreeMap::new();
        for (name, items) in held {
            *sums.entry(name).or_default() += items;
        }
        sums
    }

    /// Numbers of what was given out for a key.
    pub(super) fn given_of(&self, key: u8) -> Vec<u64> {
        let given = self.given.iter().filter(|out| out.0 == key);
        given.map(|out| out.1).collect()
    }

    pub(super) fn counts_of(&self, key: u8) -> Vec<u64> {
        let given = self.given.iter().filter(|out| out.0 == key);
        given.map(|out| out.2).collect()
    }

    /// Numbers of the items of a key that nobody gave up.
    pub(super) fn expected_of(&self, key: u8) -> Vec<u64> {
        let items = self.items.iter().filter(|item| item.0 == key);
        let ids = items.map(|item| item.1);
        ids.filter(|id| !self.discarded.contains(id)).collect()
    }
}

/// Number of the timer in a letter.
fn timer(letter: &DeadLetter) -> u64 {
    let json: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap();
    let at = json["Event"].as_i64().unwrap();
    TIMER + (at - 3) as u64 / 7
}
