//! Partitions of an operator with all that is around them, driven by hand.

mod moves;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use millstream_engine::event::PartitionId;
use millstream_engine::flow::{Fence, Operator, Resources, Turn, Wiring, exchange_hash, target_of};
use millstream_engine::log::LogError;
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::state::{
    self, DeadLetter, DeadLetterId, StateOptions, StateStore, StateWriterHandle,
};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use proptest::prelude::*;

use crate::failing::{DecisionLog, ItemLetters};
use crate::projection::LetterDecision;
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

    /// The one letter that there is.
    pub(super) fn letter(&self) -> DeadLetter {
        let mut letters = self.letters().into_values();
        let letter = letters.next().unwrap();
        assert_eq!(letters.next(), None);
        letter
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
