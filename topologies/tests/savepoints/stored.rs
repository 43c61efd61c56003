//! State of most operators, written by an earlier version of the program, is what this one goes on from.
//!
//! `data/operators-1.checkpoint` was written by the first version that has savepoints. Where a format is changed its file
//! stays, a new one is added, and both are read here. To write one: `MILLSTREAM_WRITE_STORED=FILE` with the test below.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed, Flow, FlowOptions};
use millstream::prelude::*;
use millstream_engine::checkpoint::{self, CheckpointOptions, Choice, Epoch, InMemory};
use millstream_engine::flow::Resources;
use millstream_engine::time::Timestamp;
use millstream_operators::function::{collect, count, sum};
use millstream_operators::keyed::Ttl;
use millstream_operators::pattern::Pattern;
use millstream_operators::window::{Count, Session, Sliding, Tumbling};

type Item = (u8, i64);

const SUMS: Table<u64, i64> = Table::named("sums");
/// Items, and how many of them are read before a checkpoint and before the savepoint.
const ITEMS: i64 = 160;
const BEFORE: [i64; 2] = [50, 90];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Where results go.
#[derive(Clone, Default)]
struct Results(Arc<Mutex<Vec<String>>>);

impl Results {
    fn sorted(&self) -> Vec<String> {
        let mut results = self.0.lock().unwrap().clone();
        results.sort_unstable();
        results
    }
}

fn key(item: &Item) -> u8 {
    item.0
}

fn add(sum: &mut i64, item: &Item) {
    *sum += item.1;
}

fn declare(flow: &Flow, feed: &Feed<Item>, results: &Results) {
    macro_rules! tell {
        ($stream:expr, $what:literal) => {{
            let results = results.clone();
            $stream.deliver(move |result| {
                let text = format!("{} {:?}", $what, result.item);
                results.0.lock().unwrap().push(text);
            });
        }};
    }
    let items = flow.source("items", feed.clone()).partitions(1).stream();
    let mut shared = items.share(8).into_iter();
    let mut next = || shared.next().unwrap().key_by(key);
    let tumbling = Tumbling::of(seconds(7)).allowed_lateness(seconds(3));
    let window = next().named("tumbling").window(tumbling);
    tell!(window.aggregate(sum(|item: &Item| item.1)), "tumbling");
    let sliding = Sliding::of(seconds(9)).every(seconds(3));
    let window = next().named("sliding").window(sliding);
    let both = (sum(|item: &Item| item.1), count());
    tell!(window.aggregate(both), "sliding");
    let window = next().named("session").window(Session::gap(seconds(4)));
    tell!(window.aggregate(collect()), "session");
    let window = next().named("counted").window(Count::of(4));
    tell!(window.aggregate(sum(|item: &Item| item.1)), "count");
    let pattern = Pattern::begin("small", |item: &Item| item.1 < 40)
        .followed_by("large", |item: &Item| item.1 > 60)
        .within(seconds(20));
    tell!(
        next().named("pattern").pattern(pattern).matches(),
        "pattern"
    );
    let (evens, odds) = (next(), next());
    let joined = evens.named("joined").interval_join(odds);
    let joined = joined.between(seconds(2), seconds(5));
    let joined = joined.inner(|key: &u8, one: &Item, two: &Item| (*key, one.1, two.1));
    tell!(joined, "joined");
    let sums = next().named("sums").fold(Ttl::Never, 0_i64, add);
    sums.to_table(&SUMS, |(key, sum): (u8, i64)| {
        (u64::from(key), (sum % 3 != 0).then_some(sum))
    });
}

fn push(feed: &Feed<Item>, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let key = (number * number % 11) as u8;
        let time = number / 2 + number * 7 % 5;
        feed.push(0, Timestamp::from_seconds(time), (key, number * 37 % 101));
        if number % 6 == 5 {
            feed.watermark(0, Timestamp::from_seconds(number / 2 - 2));
        }
    }
}

fn driver(feed: &Feed<Item>, results: &Results, partitions: usize, storage: &InMemory) -> Driver {
    let options = FlowOptions {
        partitions,
        checkpoints: Some(CheckpointOptions {
            interval_ms: 3_600_000,
            pause_ms_min: 0,
            ..CheckpointOptions::default()
        }),
        ..FlowOptions::default()
    };
    let flow = Dataflow::build_with("operators", options, |flow| declare(flow, feed, results));
    let made = Driver::with_checkpoints(flow.unwrap(), 7, Resources::new(), storage.clone());
    made.unwrap_or_else(|error| panic!("it does not begin: {error}"))
}

fn settle(driver: &mut Driver) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(driver.settle()).unwrap();
}

/// Runs the first items, up to a savepoint; gives what came out before: what comes between the checkpoint and the
/// savepoint is held there, and is given out once more.
pub(crate) fn until_savepoint(storage: &InMemory) -> (Epoch, Vec<String>) {
    let (feed, results) = (Feed::new(1), Results::default());
    let mut driver = driver(&feed, &results, 2, storage);
    push(&feed, 0..BEFORE[0]);
    settle(&mut driver);
    driver.ask_for_checkpoint();
    settle(&mut driver);
    let before = results.sorted();
    push(&feed, BEFORE[0]..BEFORE[1]);
    settle(&mut driver);
    driver.ask_for_savepoint();
    settle(&mut driver);
    let savepoints = driver.checkpoints().unwrap().savepoints;
    (savepoints[0], before)
}

/// Goes on from the checkpoint in a file, to the end, with another checkpoint and a crash on the way; gives what comes out, and the rows of the table.
pub(crate) fn go_on(path: &Path, partitions: usize) -> (Vec<String>, Vec<(u64, i64)>) {
    let storage = InMemory::default();
    let epoch = checkpoint::import(&storage, path).unwrap();
    Choice::store(&storage, Some(epoch)).unwrap();
    let (feed, results) = (Feed::new(1), Results::default());
    push(&feed, 0..ITEMS - 30);
    let mut driver = driver(&feed, &results, partitions, &storage);
    settle(&mut driver);
    driver.ask_for_checkpoint();
    settle(&mut driver);
    let last = driver.checkpoints().unwrap().completed;
    assert!(last > Some(epoch));
    // The rows, which a driver without an engine forgets.
    driver.ask_for_savepoint();
    driver.clock().advance(seconds(1));
    settle(&mut driver);
    assert!(driver.checkpoints().unwrap().completed > last);
    drop(driver);
    to_the_end(partitions, &storage, results)
}

fn to_the_end(
    partitions: usize,
    storage: &InMemory,
    results: Results,
) -> (Vec<String>, Vec<(u64, i64)>) {
    let feed = Feed::new(1);
    push(&feed, 0..ITEMS);
    feed.end_all();
    let mut driver = driver(&feed, &results, partitions, storage);
    for _ in 0..20 {
        settle(&mut driver);
        driver.clock().advance(seconds(1));
    }
    assert!(driver.is_ended(), "{driver:?}");
    let rows = driver.table(&SUMS).unwrap().rows().unwrap();
    (results.sorted(), rows)
}

/// What comes out behind the checkpoint before the savepoint, and the rows at the end.
pub(crate) fn expected() -> (Vec<String>, Vec<(u64, i64)>) {
    let (mut all, rows) = to_the_end(2, &InMemory::default(), Results::default());
    let (_, before) = until_savepoint(&InMemory::default());
    assert!(before.len() > 50 && all.len() > before.len() + 50);
    for result in before {
        let at = all.iter().position(|of_all| *of_all == result).unwrap();
        all.remove(at);
    }
    (all, rows)
}

#[test]
fn stored_by_an_earlier_version() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    if let Ok(path) = std::env::var("MILLSTREAM_WRITE_STORED") {
        let storage = InMemory::default();
        let (epoch, _) = until_savepoint(&storage);
        checkpoint::export(&storage, "operators", epoch, Path::new(&path)).unwrap();
    }
    let expected = expected();
    for file in ["operators-1.checkpoint"] {
        for partitions in [2, 3] {
            let found = go_on(&folder.join(file), partitions);
            assert_eq!(found, expected, "{file} in {partitions} partitions");
        }
    }
}
