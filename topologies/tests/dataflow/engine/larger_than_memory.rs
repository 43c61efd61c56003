//! State that is many times larger than its memory gives what it gives in memory, also after restarts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::dataflow::{FlowOptions, SourcePlan};
use millstream::prelude::*;
use millstream_engine::flow::{
    Ascending, Emit, Fault, Pulled, SeekError, Source, Wiring, number_position, position_number,
};
use millstream_engine::time::Timestamp;
use millstream_operators::function::count;
use millstream_operators::keyed::{Context, KeyedProcess, Timer, Ttl};
use millstream_operators::window::Tumbling;
use serde::{Deserialize, Serialize};

use super::support::*;

const KEYS: u64 = 8_000;
/// Of the source, whatever its partitions.
const SPLITS: u64 = 2;
/// A fifteenth of what the state takes, as far as that can be known.
const MEMORY: usize = 250_000;
const SUMS: Table<u64, u64> = Table::named("sums");
const WINDOWS: Table<u64, u64> = Table::named("windows");

/// Numbers in order, as far as they are released.
#[derive(Clone)]
struct Numbers {
    released: Arc<AtomicU64>,
}

struct Split {
    plan: Numbers,
    split: u64,
    /// How many it has given.
    given: u64,
}

impl Source for Split {
    type Item = u64;

    fn pull<E: Emit<u64>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        for _ in 0..items_max {
            let number = self.given * SPLITS + self.split;
            if number >= self.plan.released.load(Ordering::Relaxed) {
                return Ok(Pulled::PendingFor(Duration::from_millis(1)));
            }
            out.emit(Timestamp(number.cast_signed()), number);
            self.given += 1;
        }
        Ok(Pulled::More)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Some(number_position(self.given)))
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.given = position_number(position)?;
        Ok(())
    }
}

impl SourcePlan for Numbers {
    type Source = Split;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(SPLITS as usize)
    }

    fn split(&self, split: usize, _wiring: &Wiring) -> Result<Split, Fault> {
        Ok(Split {
            plan: self.clone(),
            split: split as u64,
            given: 0,
        })
    }
}

#[derive(Clone, Debug, Default, Hash, Serialize, Deserialize)]
struct Profile {
    touched: u64,
    text: String,
}

/// Keys far from each other, each as often as the others.
fn key_of(number: u64) -> u64 {
    number * 4_999 % KEYS
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn topology(numbers: &Numbers, memory: Option<usize>, partitions: usize) -> Topology {
    let numbers = numbers.clone();
    let options = FlowOptions {
        partitions,
        ..checkpointed(50)
    };
    let mut topology = Topology::named("large").dataflow_with("profiles", options, move |flow| {
        let profiles = flow
            .source("numbers", numbers.clone())
            .stream()
            .key_by(|number| key_of(*number))
            .named("profiles")
            .fold(Ttl::Never, Profile::default(), |profile, number| {
                profile.touched += 1;
                let digit = char::from(b'a' + (number % 26) as u8);
                profile.text.extend(std::iter::repeat_n(digit, 40));
            });
        // Whatever the order of the keys, each has every state once.
        profiles
            .key_by(|(key, _)| key % 16)
            .named("sums of profiles")
            .fold(Ttl::Never, 0_u64, |sum, profile| {
                *sum = sum.wrapping_add(hash(profile));
            })
            .to_table(&SUMS, |(key, sum)| (key, Some(sum)));
        flow.source("numbers of windows", numbers)
            .watermarks(Ascending::new())
            .stream()
            .key_by(|number| key_of(*number))
            .named("windows")
            .window(Tumbling::of(Duration::from_micros(3 * KEYS)))
            .aggregate(count())
            .key_by(|window| window.window.start.0.cast_unsigned())
            .named("sums of windows")
            .fold(Ttl::Never, 0_u64, |sum, window| {
                *sum = sum.wrapping_add(hash(&(window.key, window.value)));
            })
            .to_table(&WINDOWS, |(start, sum)| (start, Some(sum)));
    });
    if let Some(bytes) = memory {
        topology = topology.state_memory(bytes);
    }
    topology.build().unwrap()
}

async fn rows(engine: &Engine, table: &Table<u64, u64>) -> BTreeMap<u64, u64> {
    let rows = engine.query(table).rows().await.unwrap();
    rows.into_iter().collect()
}

/// What the dataflow should have given out of the first numbers.
fn expected(released: u64) -> [BTreeMap<u64, u64>; 2] {
    let mut profiles: BTreeMap<u64, Profile> = BTreeMap::new();
    let mut windows: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let [mut sums, mut window_sums] = [BTreeMap::<u64, u64>::new(), BTreeMap::new()];
    for number in 0..released {
        let key = key_of(number);
        let profile = profiles.entry(key).or_default();
        profile.touched += 1;
        let digit = char::from(b'a' + (number % 26) as u8);
        profile.text.extend(std::iter::repeat_n(digit, 40));
        let sum = sums.entry(key % 16).or_default();
        *sum = sum.wrapping_add(hash(&(key, &*profile)));
        *windows.entry((number / (3 * KEYS), key)).or_default() += 1;
    }
    for ((window, key), count) in windows {
        let sum: &mut u64 = window_sums.entry(window * 3 * KEYS).or_default();
        *sum = sum.wrapping_add(hash(&(key, count)));
    }
    [sums, window_sums]
}

/// Runs until the rows of so many numbers are there.
async fn run(folder: &Path, numbers: &Numbers, released: u64, memory: usize, partitions: usize) {
    numbers.released.store(released, Ordering::Relaxed);
    let engine = open(folder, topology(numbers, Some(memory), partitions)).await;
    let [sums, mut windows] = expected(released);
    // The last window is open.
    windows.pop_last();
    within(async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while rows(&engine, &SUMS).await != sums || rows(&engine, &WINDOWS).await != windows {
            looks.tick().await;
        }
    })
    .await;
    let state = engine.state_memory().unwrap();
    let (written, read) = state.traffic();
    assert!(written > 100 && read > 100, "{written} and {read} pages");
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_larger_than_its_memory_is_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = Numbers {
        released: Arc::default(),
    };
    run(folder.path(), &numbers, 3 * KEYS + 100, MEMORY, 2).await;
    run(folder.path(), &numbers, 5 * KEYS + 7, MEMORY, 2).await;
    // In other partitions, with less memory still.
    run(folder.path(), &numbers, 7 * KEYS, MEMORY / 2, 3).await;
    let left = std::fs::read_dir(folder.path().join("spill")).unwrap();
    assert_eq!(left.count(), 0, "stores go with their runs");
}

/// Goal: state that finds no room on disk stops its dataflow, with an error that says so, and nobody else; once there is
/// room it goes on from its last checkpoint, and nothing is missing or twice.
#[tokio::test(flavor = "multi_thread")]
async fn state_that_finds_no_room_goes_on_once_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = Numbers {
        released: Arc::default(),
    };
    numbers.released.store(KEYS / 100, Ordering::Relaxed);
    let mut config = config();
    config.restart.attempts_max = 1;
    config.restart.backoff_first = Duration::from_millis(1);
    let topology = topology(&numbers, Some(MEMORY), 2);
    let engine = Engine::open(folder.path()).config(config).run(topology);
    let engine = engine.await.unwrap();
    let memory = engine.state_memory().unwrap();
    memory.set_disk_bytes_max(0);
    numbers.released.store(3 * KEYS + 100, Ordering::Relaxed);
    let flow = engine.dataflow("profiles");
    let failed = within(flow.wait()).await.unwrap_err();
    let cause = failed.to_string();
    assert!(
        cause.contains("finds no room") && cause.contains("state_disk"),
        "{cause}"
    );
    assert_eq!(engine.failed_dataflows().len(), 1);
    // The engine is there for others.
    append(&engine, &sales(10)).await;
    assert_eq!(
        engine
            .events::<Sale>(&stream("sale-1"), 0, 10)
            .unwrap()
            .len(),
        1
    );
    // It says that the dataflow had failed.
    within(engine.shutdown()).await.unwrap_err();
    drop(engine);
    run(folder.path(), &numbers, 5 * KEYS + 7, MEMORY, 2).await;
}

/// Timers of each number, some of which others have at the same time.
const TIMERS: u64 = 4;
const APART: u64 = 4_000;
/// About a tenth of what the timers take that are set at the same time.
const MEMORY_OF_TIMERS: usize = 150_000;
/// Times of one row.
const BLOCK: u64 = 1_000;
const ALARMS: Table<u64, u64> = Table::named("alarms");

/// Sets timers for each number, and gives out those that are reached.
#[derive(Clone)]
struct Alarms;

impl KeyedProcess<u64, u64> for Alarms {
    type State = ();
    type Out = (u64, u64);
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u64,
        (): &mut (),
        time: Timestamp,
        _number: u64,
        ctx: &mut Context<'_, (u64, u64)>,
    ) {
        for timer in 1..=TIMERS {
            let after = Duration::from_micros(timer * APART);
            ctx.set_event_timer(time.saturating_add(after));
        }
    }

    fn timer(&mut self, key: &u64, (): &mut (), timer: Timer, ctx: &mut Context<'_, (u64, u64)>) {
        if let Timer::Event(time) = timer {
            ctx.emit((*key, time.0.cast_unsigned()));
        }
    }
}

/// Runs until all timers have been reached that the first numbers come to; gives pages that were written and read.
async fn run_timers(
    folder: &Path,
    numbers: &Numbers,
    released: u64,
    partitions: usize,
) -> (u64, u64) {
    numbers.released.store(released, Ordering::Relaxed);
    let source = numbers.clone();
    let options = FlowOptions {
        partitions,
        ..checkpointed(50)
    };
    let topology = Topology::named("timers").dataflow_with("alarms", options, move |flow| {
        flow.source("numbers", source)
            .watermarks(Ascending::new())
            .stream()
            .key_by(|number| *number)
            .named("alarms")
            .process(Alarms)
            .key_by(|(_, time)| time / BLOCK)
            .named("sums of alarms")
            .fold(Ttl::Never, 0_u64, |sum, alarm| {
                *sum = sum.wrapping_add(hash(alarm));
            })
            .to_table(&ALARMS, |(block, sum)| (block, Some(sum)));
    });
    let topology = topology.state_memory(MEMORY_OF_TIMERS).build().unwrap();
    let engine = open(folder, topology).await;
    let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
    for number in 0..released {
        for timer in 1..=TIMERS {
            let alarm = (number, number + timer * APART);
            let sum = expected.entry(alarm.1 / BLOCK).or_default();
            *sum = sum.wrapping_add(hash(&alarm));
        }
    }
    // The watermark is somewhere in the last one.
    let is_over = |block: &u64| (block + 2) * BLOCK < released;
    expected.retain(|block, _| is_over(block));
    within(async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        loop {
            let mut found = rows(&engine, &ALARMS).await;
            found.retain(|block, _| is_over(block));
            if found == expected {
                break;
            }
            looks.tick().await;
        }
    })
    .await;
    let traffic = engine.state_memory().unwrap().traffic();
    close(engine).await;
    traffic
}

/// Goal: timers for which there is no memory lie on disk until they are due, and fire once, over restarts and in other
/// partitions too.
#[tokio::test(flavor = "multi_thread")]
async fn more_timers_than_memory_has_room_for_fire_once() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = Numbers {
        released: Arc::default(),
    };
    for (released, partitions) in [(20_000, 2), (22_007, 2), (25_000, 3)] {
        let (written, read) = run_timers(folder.path(), &numbers, released, partitions).await;
        assert!(written > 100 && read > 100, "{written} and {read} pages");
    }
}
