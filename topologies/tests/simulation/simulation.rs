//! What all simulated dataflows have in common: input, crashes, and whoever receives the results.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed, Flow, FlowOptions};
use millstream_engine::checkpoint::{CheckpointOptions, InMemory, StorageFault};
use millstream_engine::flow::{BatchSize, EdgeOptions, Resources};
use millstream_engine::mailbox::MailboxLimits;
use millstream_engine::time::Timestamp;
use millstream_operators::sink::{Delivery, ResultId};

use crate::tally::{TALLY, add};

/// splitmix64, by Sebastiano Vigna.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// An item of the simulated inputs: key and number.
pub(crate) type Item = (u8, i64);

/// What is fed: by split, items in seconds with the lateness of each, and watermarks between them.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) feed: Feed<Item>,
    /// What is yet to be fed, in this order.
    plan: Vec<Fed>,
}

#[derive(Clone, Copy)]
enum Fed {
    Item(usize, i64, Item),
    Watermark(usize, i64),
}

impl Input {
    /// Up to 300 items in up to so many splits, some of them late.
    pub(crate) fn random(random: &mut Random, splits_max: u64) -> Self {
        let splits = 1 + random.below(splits_max) as usize;
        let mut clocks = vec![0_i64; splits];
        let mut plan = Vec::new();
        for _ in 0..random.below(300) {
            let split = random.below(splits as u64) as usize;
            let clock = &mut clocks[split];
            if random.below(5) == 0 {
                *clock += random.below(8) as i64;
                plan.push(Fed::Watermark(split, *clock));
            } else {
                let time = *clock + random.below(20) as i64 - i64::from(random.below(9) == 0) * 15;
                let item = (random.below(6) as u8, random.below(100) as i64);
                plan.push(Fed::Item(split, time, item));
            }
        }
        Self {
            feed: Feed::new(splits),
            plan,
        }
    }

    /// Whether all is fed.
    pub(crate) fn is_fed(&self) -> bool {
        self.plan.is_empty()
    }

    /// The same with nothing fed yet.
    pub(crate) fn again(&self) -> Self {
        let splits = 1 + self.plan.iter().map(|fed| fed.split()).max().unwrap_or(0);
        Self {
            feed: Feed::new(splits),
            plan: self.plan.clone(),
        }
    }

    /// Feeds the next `count`; ends all splits after the last.
    pub(crate) fn feed(&mut self, count: usize) {
        for fed in self.plan.drain(..count.min(self.plan.len())) {
            match fed {
                Fed::Item(split, time, item) => {
                    self.feed.push(split, Timestamp::from_seconds(time), item);
                }
                Fed::Watermark(split, time) => {
                    self.feed.watermark(split, Timestamp::from_seconds(time));
                }
            }
        }
        if self.plan.is_empty() {
            self.feed.end_all();
        }
    }
}

impl Fed {
    const fn split(self) -> usize {
        match self {
            Self::Item(split, ..) | Self::Watermark(split, _) => split,
        }
    }
}

/// Takes results: each once, under its id, and never another one under the same id.
pub(crate) struct Outside<T> {
    results: Arc<Mutex<BTreeMap<ResultId, (Timestamp, T)>>>,
}

impl<T> Clone for Outside<T> {
    fn clone(&self) -> Self {
        Self {
            results: Arc::clone(&self.results),
        }
    }
}

impl<T: Clone + Debug + PartialEq + Ord> Outside<T> {
    pub(crate) fn new() -> Self {
        Self {
            results: Arc::default(),
        }
    }

    pub(crate) fn take(&self, delivery: Delivery<T>) {
        let result = (delivery.time, delivery.item);
        let mut results = self.results.lock().unwrap();
        if let Some(before) = results.insert(delivery.id.clone(), result.clone()) {
            assert_eq!(before, result, "another result under {:?}", delivery.id);
        }
    }

    fn read<U>(&self, read: impl Read<T, U>) -> Vec<U> {
        read(&self.results.lock().unwrap())
    }
}

/// How one run of a simulated dataflow is made.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) partitions: usize,
    batch: Option<usize>,
    mailbox: u32,
    interval_ms: u64,
    pub(crate) slow_storage: bool,
}

impl Shape {
    pub(crate) fn random(random: &mut Random) -> Self {
        Self {
            partitions: 1 + random.below(3) as usize,
            batch: [None, Some(1), Some(3), Some(17)][random.below(4) as usize],
            mailbox: 1 + random.below(6) as u32,
            interval_ms: [1, 5, 50][random.below(3) as usize],
            slow_storage: random.below(2) == 0,
        }
    }

    pub(crate) fn options(&self) -> FlowOptions {
        let batch = match self.batch {
            Some(items) => BatchSize::Fixed(NonZeroUsize::new(items).unwrap()),
            None => BatchSize::default(),
        };
        FlowOptions {
            partitions: self.partitions,
            edges: EdgeOptions {
                batch,
                ..EdgeOptions::default()
            },
            mailbox: MailboxLimits {
                items_max: NonZeroU32::new(self.mailbox).unwrap(),
                ..FlowOptions::default().mailbox
            },
            checkpoints: Some(CheckpointOptions {
                interval_ms: self.interval_ms,
                pause_ms_min: 1,
                ..CheckpointOptions::default()
            }),
            own_threads: None,
        }
    }
}

/// Declares a dataflow over a feed that delivers to the outside.
pub(crate) type Declare<T> = fn(&Flow, &Feed<Item>, &Outside<T>);

/// What there is to be compared of results.
pub(crate) trait Read<T, U>:
    Fn(&BTreeMap<ResultId, (Timestamp, T)>) -> Vec<U> + Copy
{
}
impl<T, U, F: Fn(&BTreeMap<ResultId, (Timestamp, T)>) -> Vec<U> + Copy> Read<T, U> for F {}

pub(crate) fn sorted<T: Clone + Ord>(
    results: &BTreeMap<ResultId, (Timestamp, T)>,
) -> Vec<(Timestamp, T)> {
    let mut results: Vec<_> = results.values().cloned().collect();
    results.sort();
    results
}

/// What a run without a crash gives.
fn undisturbed<T>(input: &Input, declare: Declare<T>) -> Outside<T>
where
    T: Clone + Debug + PartialEq + Ord,
{
    let mut input = input.again();
    let outside = Outside::new();
    input.feed(usize::MAX);
    let options = FlowOptions {
        partitions: 1,
        ..FlowOptions::default()
    };
    let flow = Dataflow::build_with("sim", options, |flow| declare(flow, &input.feed, &outside));
    let mut driver = Driver::new(flow.unwrap()).unwrap();
    driver.run().unwrap();
    assert!(driver.is_ended());
    outside
}

/// Runs a dataflow with crashes; the partitions may change at each, if `rescales`.
pub(crate) fn simulate<T>(seed: u64, declare: Declare<T>, rescales: bool)
where
    T: Clone + Debug + PartialEq + Ord,
{
    run(seed, declare, rescales, 3, sorted);
}

/// Results with their times.
pub(crate) type Results<T> = Vec<(Timestamp, T)>;

/// The same with input of one split, whose items of a key come in the same order in every run.
pub(crate) fn simulate_in_order<T>(seed: u64, declare: Declare<T>, rescales: bool)
where
    T: Clone + Debug + PartialEq + Ord,
{
    run(seed, declare, rescales, 1, sorted);
}

/// The same for results that depend on timing, of which `settle` leaves what does not.
pub(crate) fn simulate_settled<T>(
    seed: u64,
    declare: Declare<T>,
    rescales: bool,
    settle: fn(Results<T>) -> Results<T>,
) where
    T: Clone + Debug + PartialEq + Ord,
{
    run(seed, declare, rescales, 3, |results| {
        settle(sorted(results))
    });
}

/// The same where only a part of the results does not depend on how partitions are interleaved. The input is one split:
/// its items come in order.
pub(crate) fn simulate_part<T, U>(
    seed: u64,
    declare: Declare<T>,
    rescales: bool,
    read: impl Read<T, U>,
) where
    T: Clone + Debug + PartialEq + Ord,
    U: Debug + PartialEq,
{
    run(seed, declare, rescales, 1, read);
}

fn run<T, U>(seed: u64, declare: Declare<T>, rescales: bool, splits: u64, read: impl Read<T, U>)
where
    T: Clone + Debug + PartialEq + Ord,
    U: Debug + PartialEq,
{
    let mut random = Random(seed);
    let mut input = Input::random(&mut random, splits);
    let expected = undisturbed(&input, declare).read(read);
    let mut shape = Shape::random(&mut random);
    let outside = Outside::new();
    let storage = InMemory::default();
    let crashes = random.below(8);
    for run in 0..=crashes {
        let place = format!("seed {seed}, run {run}");
        let flow = Dataflow::build_with("sim", shape.options(), |flow| {
            declare(flow, &input.feed, &outside);
        });
        let is_last = run == crashes;
        if !is_last {
            order_fault(&storage, &mut random);
        }
        let (flow, storage_of_run) = (flow.unwrap(), storage.clone());
        let made = Driver::with_checkpoints(flow, random.next(), Resources::new(), storage_of_run);
        storage.set_slow(shape.slow_storage);
        match made {
            Ok(mut driver) => drive(
                &mut driver,
                &mut random,
                &mut input,
                &storage,
                is_last,
                &place,
            ),
            Err(error) => assert!(storage.has_failed(), "{place}: {error}"),
        }
        storage.set_slow(false);
        add(&TALLY.storage_faults, u64::from(storage.has_failed()));
        storage.crash(random.below(4) as usize);
        storage.make_room();
        if rescales {
            shape.partitions = 1 + random.below(3) as usize;
        }
    }
    assert_eq!(outside.read(read), expected, "seed {seed}");
}

/// One run, until it is to crash, the storage fails, or it ends.
fn drive(
    driver: &mut Driver,
    random: &mut Random,
    input: &mut Input,
    storage: &InMemory,
    is_last: bool,
    place: &str,
) {
    // Short lives meet what the one before has left half done.
    let lives = [4, 30, 30][random.below(3) as usize];
    let rounds = random.below(lives);
    for round in 0.. {
        assert!(round < 20_000, "{place}: it does not end: {driver:?}");
        input.feed(random.below(40) as usize);
        if let Err(failure) = driver.run_steps(random.below(60) as usize) {
            // What cannot be stored ends the run, and nothing else does.
            assert!(storage.has_failed(), "{place}: {failure}");
            return;
        }
        match random.below(6) {
            0 => driver.ask_for_checkpoint(),
            1 | 2 => {
                let by = Duration::from_millis(random.below(20));
                driver.clock().advance(by);
            }
            _ => {}
        }
        if (!is_last && round >= rounds) || (is_last && driver.is_ended()) {
            return;
        }
        if is_last && input.plan.is_empty() {
            driver.clock().advance(Duration::from_millis(10));
        }
    }
}

/// Orders what is to go wrong in a run, if anything.
pub(crate) fn order_fault(storage: &InMemory, random: &mut Random) {
    let after = random.below(40) as u32;
    match random.below(8) {
        0 => storage.fail_after(after, StorageFault::Write { is_kept: false }),
        1 => storage.fail_after(after, StorageFault::Write { is_kept: true }),
        2 => storage.fail_after(after, StorageFault::Sync),
        3 => storage.fail_after(after, StorageFault::Full),
        4 => storage.refuse(1 + random.below(3) as u32),
        _ => {}
    }
}

thread_local! {
    /// The one seed that tests called on this thread are run with.
    static ONLY: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// Runs a test with this seed alone.
pub(crate) fn with_seed(seed: u64, test: fn()) {
    ONLY.set(Some(seed));
    test();
    ONLY.set(None);
}

/// The seeds of a test: so many, or those that were asked for.
pub(crate) fn seeds(count: u64) -> Range<u64> {
    if let Some(seed) = ONLY.get() {
        return seed..seed + 1;
    }
    asked_seeds().unwrap_or(0..count)
}

/// The seeds that were asked for.
pub(crate) fn asked_seeds() -> Option<Range<u64>> {
    let asked = std::env::var("MILLSTREAM_SEEDS").ok()?;
    let (from, to) = asked.split_once("..").unwrap();
    Some(from.parse().unwrap()..to.parse().unwrap())
}
