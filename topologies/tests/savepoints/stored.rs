//! State of most operators, written by an earlier version of the program, is what this one goes on from.
//!
//! `data/operators-1.checkpoint` was written by the first version that has savepoints, `data/joins-1.checkpoint` by the last one
//! whose joins in time gave all of their state at each barrier. Where a format is changed its file stays, a new one is
//! added, and both are read here. To write one: `MILLSTREAM_WRITE_STORED=FILE` with one of the tests below.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed, Flow, FlowOptions};
use millstream::prelude::*;
use millstream_engine::checkpoint::{self, CheckpointOptions, Choice, Epoch, InMemory};
use millstream_engine::flow::Resources;
use millstream_engine::time::Timestamp;
use millstream_operators::function::{collect, count, sum};
use millstream_operators::join::Items;
use millstream_operators::keyed::Ttl;
use millstream_operators::pattern::Pattern;
use millstream_operators::window::{Count, Session, Sliding, Tumbling};

type Item = (u8, i64);

const SUMS: Table<u64, i64> = Table::named("sums");

/// A dataflow and its input.
struct Program {
    declare: fn(&Flow, &Feed<Item>, &Results),
    item: fn(i64) -> (Timestamp, Item),
    /// Items, and how many of them are read before a checkpoint and before the savepoint.
    items: i64,
    before: [i64; 2],
}

/// Most operators.
const OPERATORS: Program = Program {
    declare,
    item: |number| {
        let key = (number * number % 11) as u8;
        let time = number / 2 + number * 7 % 5;
        (Timestamp::from_seconds(time), (key, number * 37 % 101))
    },
    items: 160,
    before: [50, 90],
};

/// Joins in time, where one key has most of the items.
const JOINS: Program = Program {
    declare: declare_joins,
    item: |number| {
        let key = if number % 5 == 0 { number / 5 % 6 } else { 0 };
        let time = number / 2 + number * 7 % 5;
        let item = (key as u8, number * 37 % 101);
        (Timestamp::from_seconds(time), item)
    },
    items: 600,
    before: [250, 350],
};

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

macro_rules! tell {
    ($results:ident: $stream:expr, $what:literal) => {{
        let results = $results.clone();
        $stream.deliver(move |result| {
            let text = format!("{} {:?}", $what, result.item);
            results.0.lock().unwrap().push(text);
        });
    }};
}

fn declare(flow: &Flow, feed: &Feed<Item>, results: &Results) {
    let items = flow.source("items", feed.clone()).partitions(1).stream();
    let mut shared = items.share(8).into_iter();
    let mut next = || shared.next().unwrap().key_by(key);
    let tumbling = Tumbling::of(seconds(7)).allowed_lateness(seconds(3));
    let window = next().named("tumbling").window(tumbling);
    tell!(results: window.aggregate(sum(|item: &Item| item.1)), "tumbling");
    let sliding = Sliding::of(seconds(9)).every(seconds(3));
    let window = next().named("sliding").window(sliding);
    let both = (sum(|item: &Item| item.1), count());
    tell!(results: window.aggregate(both), "sliding");
    let window = next().named("session").window(Session::gap(seconds(4)));
    tell!(results: window.aggregate(collect()), "session");
    let window = next().named("counted").window(Count::of(4));
    tell!(results: window.aggregate(sum(|item: &Item| item.1)), "count");
    let pattern = Pattern::begin("small", |item: &Item| item.1 < 40)
        .followed_by("large", |item: &Item| item.1 > 60)
        .within(seconds(20));
    tell!(
        results: next().named("pattern").pattern(pattern).matches(),
        "pattern"
    );
    let (evens, odds) = (next(), next());
    let joined = evens.named("joined").interval_join(odds);
    let joined = joined.between(seconds(2), seconds(5));
    let joined = joined.inner(|key: &u8, one: &Item, two: &Item| (*key, one.1, two.1));
    tell!(results: joined, "joined");
    let sums = next().named("sums").fold(Ttl::Never, 0_i64, add);
    sums.to_table(&SUMS, |(key, sum): (u8, i64)| {
        (u64::from(key), (sum % 3 != 0).then_some(sum))
    });
}

fn declare_joins(flow: &Flow, feed: &Feed<Item>, results: &Results) {
    let items = flow.source("items", feed.clone()).partitions(1).stream();
    let mut shared = items.share(8).into_iter();
    let mut next = || shared.next().unwrap();
    let mut sides = || {
        let evens = next().filter(|item: &Item| item.1 % 2 == 0).key_by(key);
        (
            evens,
            next().filter(|item: &Item| item.1 % 2 == 1).key_by(key),
        )
    };
    let (evens, odds) = sides();
    let joined = evens.named("interval").interval_join(odds);
    let joined = joined.between(seconds(30), seconds(110));
    let both = |key: &u8, one: Option<&Item>, two: Option<&Item>| {
        (*key, one.map(|item| item.1), two.map(|item| item.1))
    };
    tell!(results: joined.full(both), "interval");
    let (evens, odds) = sides();
    let window = Sliding::of(seconds(180)).every(seconds(30));
    let joined = evens.named("sliding").join(odds).window(window);
    let joined = joined.apply(|key: &u8, window, one, two| {
        let sum = |items: Items<'_, Item>| items.fold(0, |sum, item| sum * 3 % 1_009 + item.1);
        (*key, window, sum(one), sum(two))
    });
    tell!(results: joined, "sliding");
    let (evens, odds) = sides();
    let joined = evens
        .named("as of")
        .join_as_of(odds)
        .allowed_lateness(seconds(150));
    let left = |key: &u8, one: &Item, two: Option<&Item>| (*key, one.1, two.map(|item| item.1));
    tell!(results: joined.left(left), "as of");
    let sums = next()
        .key_by(key)
        .named("sums")
        .fold(Ttl::Never, 0_i64, add);
    sums.to_table(&SUMS, |(key, sum): (u8, i64)| {
        (u64::from(key), (sum % 3 != 0).then_some(sum))
    });
    next().deliver(|_| {});
}

impl Program {
    fn push(&self, feed: &Feed<Item>, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let (time, item) = (self.item)(number);
            feed.push(0, time, item);
            if number % 6 == 5 {
                feed.watermark(0, Timestamp::from_seconds(number / 2 - 2));
            }
        }
    }

    fn driver(
        &self,
        feed: &Feed<Item>,
        results: &Results,
        partitions: usize,
        storage: &InMemory,
    ) -> Driver {
        let options = FlowOptions {
            partitions,
            checkpoints: Some(CheckpointOptions {
                interval_ms: 3_600_000,
                pause_ms_min: 0,
                ..CheckpointOptions::default()
            }),
            ..FlowOptions::default()
        };
        let declare = |flow: &Flow| (self.declare)(flow, feed, results);
        let flow = Dataflow::build_with("operators", options, declare);
        let made = Driver::with_checkpoints(flow.unwrap(), 7, Resources::new(), storage.clone());
        made.unwrap_or_else(|error| panic!("it does not begin: {error}"))
    }

    /// Runs the first items, up to a savepoint; gives what came out before: what comes between the checkpoint and the
    /// savepoint is held there, and is given out once more.
    fn until_savepoint(&self, storage: &InMemory) -> (Epoch, Vec<String>) {
        let (feed, results) = (Feed::new(1), Results::default());
        let mut driver = self.driver(&feed, &results, 2, storage);
        let [checkpoint, savepoint] = self.before;
        self.push(&feed, 0..checkpoint);
        settle(&mut driver);
        driver.ask_for_checkpoint();
        settle(&mut driver);
        let before = results.sorted();
        self.push(&feed, checkpoint..savepoint);
        settle(&mut driver);
        driver.ask_for_savepoint();
        settle(&mut driver);
        let savepoints = driver.checkpoints().unwrap().savepoints;
        (savepoints[0], before)
    }

    /// Goes on from the checkpoint in a file, to the end, with another checkpoint and a crash on the way; gives what comes
    /// out, and the rows of the table.
    fn go_on(&self, path: &Path, partitions: usize) -> (Vec<String>, Vec<(u64, i64)>) {
        let storage = InMemory::default();
        let epoch = checkpoint::import(&storage, path).unwrap();
        Choice::store(&storage, Some(epoch)).unwrap();
        let (feed, results) = (Feed::new(1), Results::default());
        self.push(&feed, 0..self.items - 30);
        let mut driver = self.driver(&feed, &results, partitions, &storage);
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
        self.to_the_end(partitions, &storage, results)
    }

    fn to_the_end(
        &self,
        partitions: usize,
        storage: &InMemory,
        results: Results,
    ) -> (Vec<String>, Vec<(u64, i64)>) {
        let feed = Feed::new(1);
        self.push(&feed, 0..self.items);
        feed.end_all();
        let mut driver = self.driver(&feed, &results, partitions, storage);
        for _ in 0..20 {
            settle(&mut driver);
            driver.clock().advance(seconds(1));
        }
        assert!(driver.is_ended(), "{driver:?}");
        let rows = driver.table(&SUMS).unwrap().rows().unwrap();
        (results.sorted(), rows)
    }

    /// What comes out behind the checkpoint before the savepoint, and the rows at the end.
    fn expected(&self) -> (Vec<String>, Vec<(u64, i64)>) {
        let (mut all, rows) = self.to_the_end(2, &InMemory::default(), Results::default());
        let (_, before) = self.until_savepoint(&InMemory::default());
        assert!(before.len() > 50 && all.len() > before.len() + 50);
        for result in before {
            let at = all.iter().position(|of_all| *of_all == result).unwrap();
            all.remove(at);
        }
        (all, rows)
    }

    /// Whether files of earlier versions lead to what comes without them.
    fn check(&self, files: &[&str]) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        if let Ok(path) = std::env::var("MILLSTREAM_WRITE_STORED") {
            let storage = InMemory::default();
            let (epoch, _) = self.until_savepoint(&storage);
            checkpoint::export(&storage, "operators", epoch, Path::new(&path)).unwrap();
        }
        let expected = self.expected();
        for file in files {
            for partitions in [2, 3] {
                let found = self.go_on(&folder.join(file), partitions);
                assert_eq!(found, expected, "{file} in {partitions} partitions");
            }
        }
    }
}

fn settle(driver: &mut Driver) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(driver.settle()).unwrap();
}

/// [`Program::until_savepoint`] of most operators.
pub(crate) fn until_savepoint(storage: &InMemory) -> (Epoch, Vec<String>) {
    OPERATORS.until_savepoint(storage)
}

/// [`Program::go_on`] of most operators.
pub(crate) fn go_on(path: &Path, partitions: usize) -> (Vec<String>, Vec<(u64, i64)>) {
    OPERATORS.go_on(path, partitions)
}

/// [`Program::expected`] of most operators.
pub(crate) fn expected() -> (Vec<String>, Vec<(u64, i64)>) {
    OPERATORS.expected()
}

#[test]
fn stored_by_an_earlier_version() {
    OPERATORS.check(&["operators-1.checkpoint"]);
}

#[test]
fn joins_stored_by_an_earlier_version() {
    JOINS.check(&["joins-1.checkpoint", "joins-2.checkpoint"]);
}
