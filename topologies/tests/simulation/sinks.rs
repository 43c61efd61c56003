//! Files, dead letters and channels over crashes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed, Flow};
use millstream_engine::checkpoint::{InMemory, Standing};
use millstream_engine::flow::Resources;
use millstream_engine::state::{StateOptions, StateStore, StateWriterHandle};
use millstream_operators::function::count;
use millstream_operators::sink::{FileSinkOptions, JsonRows, LetterAccess, RowFormat, TableAccess};
use millstream_operators::window::Tumbling;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::simulation::{Input, Item, Random, Shape, seeds};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Rounds after which a run that should have ended has not.
const ROUNDS_MAX: usize = 20_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Row {
    key: u8,
    left: i64,
    right: i64,
}

/// Pairs of items that are near each other.
macro_rules! pairs {
    ($flow:expr, $feed:expr) => {{
        let items = $flow.source("items", $feed.clone()).partitions(1).stream();
        let (evens, odds) = items.split(|(_, number): &Item| number % 2 == 0);
        let odds = odds.key_by(|(key, _): &Item| *key);
        evens
            .key_by(|(key, _): &Item| *key)
            .interval_join(odds)
            .between(seconds(4), seconds(9))
            .inner(|key: &u8, left: &Item, right: &Item| Row {
                key: *key,
                left: left.1,
                right: right.1,
            })
    }};
}

/// As a format of one's own may be: a file cannot be gone on with.
#[derive(Clone, Default)]
struct Closed(JsonRows);

impl RowFormat for Closed {
    const EXTENSION: &'static str = "jsonl";

    fn begin(&mut self) {
        self.0.begin();
    }

    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), String> {
        self.0.row(row)
    }

    fn chunk_bytes(&self) -> usize {
        self.0.chunk_bytes()
    }

    fn take_chunk(&mut self) -> Result<Vec<u8>, String> {
        self.0.take_chunk()
    }
}

/// Names and contents of what there is to be seen, and how much there is that is not.
fn files(folder: &Path) -> (BTreeMap<String, String>, usize) {
    let (mut seen, mut hidden) = (BTreeMap::new(), 0);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return (seen, hidden);
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with('.') {
            hidden += 1;
        } else {
            seen.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
    (seen, hidden)
}

fn rows(files: &BTreeMap<String, String>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, text) in files {
        if name.ends_with(".csv") {
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("key,left,right"), "{name}");
            for line in lines {
                let fields: Vec<i64> = line
                    .split(',')
                    .map(|field| field.parse().unwrap())
                    .collect();
                rows.push(Row {
                    key: fields[0] as u8,
                    left: fields[1],
                    right: fields[2],
                });
            }
        } else {
            let lines = text.lines();
            rows.extend(lines.map(|line| serde_json::from_str::<Row>(line).unwrap()));
        }
    }
    rows.sort();
    rows
}

/// A run of a simulated dataflow until a crash, or to its end; `look` is called now and then.
fn run(
    driver: &mut Driver,
    random: &mut Random,
    input: &mut Input,
    crashes: bool,
    mut look: impl FnMut(),
) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    let rounds = random.below(30) as usize;
    for round in 0..ROUNDS_MAX {
        input.feed(random.below(40) as usize);
        driver.run_steps(random.below(60) as usize).unwrap();
        match random.below(8) {
            0 => driver.ask_for_checkpoint(),
            1 | 2 => {
                let by = Duration::from_millis(random.below(20));
                driver.clock().advance(by);
            }
            3 => runtime.block_on(driver.settle()).unwrap(),
            _ => {}
        }
        look();
        if crashes && round >= rounds {
            return;
        }
        if driver.is_ended() {
            return;
        }
        if !crashes && input.is_fed() {
            runtime.block_on(driver.settle()).unwrap();
            driver.clock().advance(Duration::from_millis(10));
        }
    }
    panic!("it does not come to its end");
}

/// What the dataflow gives undisturbed.
fn expected(input: &Input) -> Vec<Row> {
    let mut input = input.again();
    input.feed(usize::MAX);
    let declared = Dataflow::declare("sim", |flow| pairs!(flow, input.feed).collect());
    let (flow, collected) = declared.unwrap();
    Driver::new(flow).unwrap().run().unwrap();
    let mut rows = collected.take_items();
    rows.sort();
    rows
}

/// Loses what was not forced to the disk, or a part of it.
fn crash(storage: &InMemory, random: &mut Random) {
    storage.set_slow(false);
    storage.crash(random.below(4) as usize);
}

fn simulate_files(seed: u64, rescales: bool) {
    let mut random = Random(seed);
    let mut input = Input::random(&mut random, 3);
    let expected = expected(&input);
    let mut shape = Shape::random(&mut random);
    let storage = InMemory::default();
    let folder = tempfile::tempdir().unwrap();
    let options = FileSinkOptions {
        rows_max: [3, 50, u64::MAX][random.below(3) as usize],
        bytes_max: [200, 1 << 20][random.below(2) as usize],
        age_max: [None, Some(Duration::from_millis(7))][random.below(2) as usize],
        ..FileSinkOptions::new(folder.path(), "rows")
    };
    let format = random.below(3);
    let mut known = BTreeMap::new();
    let crashes = random.below(8);
    for run_number in 0..=crashes {
        let flow = Dataflow::build_with("sim", shape.options(), |flow| {
            let (pairs, options) = (pairs!(flow, input.feed), options.clone());
            match format {
                0 => pairs.to_csv(options),
                1 => pairs.to_json_lines(options),
                _ => pairs.to_files(options, Closed::default()),
            }
        });
        let made = Driver::with_checkpoints(
            flow.unwrap(),
            random.next(),
            Resources::new(),
            storage.clone(),
        );
        let mut driver =
            made.unwrap_or_else(|error| panic!("seed {seed}, run {run_number}: {error}"));
        storage.set_slow(shape.slow_storage);
        run(
            &mut driver,
            &mut random,
            &mut input,
            run_number < crashes,
            || {
                let (seen, _) = files(folder.path());
                for (name, text) in &known {
                    assert_eq!(
                        seen.get(name),
                        Some(text),
                        "seed {seed}: {name} was touched"
                    );
                }
                known = seen;
            },
        );
        drop(driver);
        crash(&storage, &mut random);
        if rescales {
            shape.partitions = 1 + random.below(3) as usize;
        }
    }
    let (seen, hidden) = files(folder.path());
    assert_eq!(rows(&seen), expected, "seed {seed}");
    assert_eq!(hidden, 0, "seed {seed}");
}

#[test]
pub(crate) fn files_have_each_row_once() {
    for seed in seeds(40) {
        simulate_files(seed, false);
    }
}

#[test]
pub(crate) fn files_have_each_row_once_in_other_partitions() {
    for seed in seeds(40) {
        simulate_files(seed, true);
    }
}

/// A state store for dead letters, as an engine has it.
fn letters_in(store: &StateStore, writer: &StateWriterHandle, is_kept: bool) -> Resources {
    const NAME: &str = "dataflow sim";
    if !is_kept && store.projection(NAME, 1).unwrap().is_some() {
        writer.drop_projection(NAME, 1).unwrap();
    }
    let registered = writer.register_projection(NAME, 1, &[]).unwrap();
    let (store, writer) = (store.clone(), writer.clone());
    let tables = TableAccess {
        store: store.clone(),
        writer: writer.clone(),
        places: Default::default(),
    };
    let owner = registered.id;
    let letters = LetterAccess {
        store,
        writer,
        owner,
        name: NAME.into(),
    };
    Resources::new().with(tables).with(letters)
}

fn late(flow: &Flow, feed: &Feed<Item>) {
    flow.source("items", feed.clone())
        .partitions(1)
        .stream()
        .key_by(|(key, _): &Item| *key)
        .window(Tumbling::of(seconds(3)))
        .late_to_dead_letters()
        .aggregate(count())
        .for_each(|_, _| {});
}

fn late_items(driver: &Driver) -> Vec<Item> {
    let letters = driver.late_letters(usize::MAX).unwrap().into_iter();
    let mut items: Vec<Item> = letters
        .map(|letter| serde_json::from_slice(&letter.payload).unwrap())
        .collect();
    items.sort_unstable();
    items
}

fn simulate_letters(seed: u64, rescales: bool) {
    let mut random = Random(seed);
    let mut input = Input::random(&mut random, 3);
    let expected = {
        let mut input = input.again();
        input.feed(usize::MAX);
        let flow = Dataflow::build("sim", |flow| late(flow, &input.feed)).unwrap();
        let mut driver = Driver::new(flow).unwrap();
        run(&mut driver, &mut Random(seed), &mut input, false, || {});
        late_items(&driver)
    };
    let mut shape = Shape::random(&mut random);
    let storage = InMemory::default();
    let folder = tempfile::tempdir().unwrap();
    let options = StateOptions {
        map_bytes_max: 1 << 30,
        ..StateOptions::default()
    };
    let (store, writer) = StateStore::open(folder.path(), options).unwrap();
    let (writer, _thread) = millstream_engine::state::start(writer).unwrap();
    let crashes = random.below(8);
    for run_number in 0..=crashes {
        let flow = Dataflow::build_with("sim", shape.options(), |flow| late(flow, &input.feed));
        let is_kept = Standing::read(&storage)
            .unwrap()
            .readable()
            .next()
            .is_some();
        let resources = letters_in(&store, &writer, is_kept);
        let made =
            Driver::with_checkpoints(flow.unwrap(), random.next(), resources, storage.clone());
        let mut driver =
            made.unwrap_or_else(|error| panic!("seed {seed}, run {run_number}: {error}"));
        storage.set_slow(shape.slow_storage);
        run(
            &mut driver,
            &mut random,
            &mut input,
            run_number < crashes,
            || {},
        );
        if run_number == crashes {
            assert_eq!(late_items(&driver), expected, "seed {seed}");
        }
        drop(driver);
        crash(&storage, &mut random);
        if rescales {
            shape.partitions = 1 + random.below(3) as usize;
        }
    }
}

#[test]
pub(crate) fn late_items_are_kept_once() {
    for seed in seeds(40) {
        simulate_letters(seed, false);
    }
}

#[test]
pub(crate) fn late_items_are_kept_once_in_other_partitions() {
    for seed in seeds(40) {
        simulate_letters(seed, true);
    }
}

/// What a channel has received is at least what an undisturbed run gives, and nothing else.
#[test]
pub(crate) fn channels_receive_each_row_at_least_once() {
    for seed in seeds(40) {
        let mut random = Random(seed);
        let mut input = Input::random(&mut random, 3);
        let mut expected = expected(&input);
        let shape = Shape::random(&mut random);
        let storage = InMemory::default();
        let mut received = Vec::new();
        let crashes = random.below(8);
        for run_number in 0..=crashes {
            let (sender, mut receiver) = mpsc::channel(2);
            let flow = Dataflow::build_with("sim", shape.options(), |flow| {
                pairs!(flow, input.feed).to_channel(sender);
            });
            let made = Driver::with_checkpoints(
                flow.unwrap(),
                random.next(),
                Resources::new(),
                storage.clone(),
            );
            storage.set_slow(shape.slow_storage);
            let mut driver = made.unwrap();
            let rounds = random.below(60);
            for round in 0..=ROUNDS_MAX as u64 {
                assert!(round < ROUNDS_MAX as u64, "it does not come to its end");
                input.feed(random.below(40) as usize);
                driver.run_steps(random.below(60) as usize).unwrap();
                if random.below(2) == 0 {
                    received.extend(receiver.try_recv());
                }
                if random.below(4) == 0 {
                    driver.ask_for_checkpoint();
                    driver.clock().advance(Duration::from_millis(10));
                }
                if (run_number < crashes && round >= rounds) || driver.is_ended() {
                    break;
                }
            }
            drop(driver);
            crash(&storage, &mut random);
            // What is in the channel was handed over.
            while let Ok(row) = receiver.try_recv() {
                received.push(row);
            }
        }
        received.sort();
        received.dedup();
        expected.dedup();
        assert_eq!(received, expected, "seed {seed}");
    }
}
