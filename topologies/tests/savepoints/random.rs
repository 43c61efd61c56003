//! Random courses of a dataflow with a table: checkpoints, savepoints, crashes at any step, starts that somebody chose, damaged
//! checkpoints, other numbers of partitions. Each run marks its rows, so that a row that should have been taken back is seen.
//!
//! A failure names its seed; `MILLSTREAM_SEEDS=FROM..TO` runs others.

use std::collections::BTreeMap;
use std::task::Waker;

use millstream::dataflow::{Dataflow, Driver, Feed, FlowOptions};
use millstream::prelude::*;
use millstream_engine::checkpoint::{
    CheckpointStorage, Choice, Epoch, InMemory, Rows, StorageWrite,
};
use millstream_engine::flow::Resources;
use millstream_engine::state::{StateOptions, StateStore, StateWriterHandle};
use millstream_engine::time::Timestamp;
use millstream_operators::keyed::Ttl;
use millstream_operators::sink::{TableAccess, TablePlace};

use crate::support::{is_shown, options};

const MARKED: Table<u64, u64> = Table::named("marked");

/// splitmix64, by Sebastiano Vigna.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// The row of a key, as a run writes it.
const fn mark(run: u64, key: u64) -> u64 {
    1_000 * run + key
}

/// What there should be after so many items.
#[derive(Clone, Default)]
struct Expected {
    items: usize,
    sums: BTreeMap<u64, u64>,
    rows: BTreeMap<u64, u64>,
}

impl Expected {
    /// The items behind are dealt with by the run of this number.
    fn go_on(&mut self, run: u64, all: &[(u64, u64)]) {
        for (key, number) in &all[self.items..] {
            let sum = self.sums.entry(*key).or_default();
            *sum += number;
            if is_shown(*sum) {
                self.rows.insert(mark(run, *key), *sum);
            } else {
                self.rows.remove(&mark(run, *key));
            }
        }
        self.items = all.len();
    }
}

struct World {
    store: StateStore,
    writer: StateWriterHandle,
    storage: InMemory,
    feed: Feed<(u64, u64)>,
    all: Vec<(u64, u64)>,
    /// By number, with whether it is a savepoint.
    complete: BTreeMap<Epoch, (Expected, bool)>,
    choice: Choice,
    random: Random,
}

impl World {
    fn feed(&mut self) {
        for _ in 0..self.random.below(25) {
            let item = (self.random.below(9), 1 + self.random.below(50));
            let time = Timestamp::from_seconds(self.all.len() as i64);
            self.feed.push(0, time, item);
            self.all.push(item);
        }
    }

    /// What the next run should begin from: ordinary ones have no rows, so only the newest of all will do.
    fn next(&self) -> Option<Epoch> {
        let Choice { from, above, .. } = self.choice;
        let newest = self.complete.keys().last().copied();
        let mut usable = self.complete.iter().rev().filter(|(epoch, (_, whole))| {
            let is_meant = **epoch > above || Some(**epoch) == from;
            is_meant && (*whole || Some(**epoch) == newest)
        });
        usable.next().map(|(epoch, _)| *epoch)
    }

    fn driver(&mut self, run: u64, is_kept: bool) -> Driver {
        const NAME: &str = "dataflow marked";
        if !is_kept && self.store.projection(NAME, 1).unwrap().is_some() {
            self.writer.drop_projection(NAME, 1).unwrap();
        }
        let names = [MARKED.name()];
        let registered = self.writer.register_projection(NAME, 1, &names).unwrap();
        let place = TablePlace::new(&MARKED, registered.tables[0], &self.store);
        let tables = TableAccess {
            store: self.store.clone(),
            writer: self.writer.clone(),
            places: [(MARKED.name(), place)].into(),
        };
        let options = FlowOptions {
            partitions: 1 + self.random.below(3) as usize,
            ..options()
        };
        let flow = Dataflow::build_with("marked", options, |flow| {
            let items = flow.source("items", self.feed.clone()).stream();
            let sums = items.key_by(|(key, _): &(u64, u64)| *key).fold(
                Ttl::Never,
                0_u64,
                |sum: &mut u64, item: &(u64, u64)| *sum += item.1,
            );
            sums.to_table(&MARKED, move |(key, sum): (u64, u64)| {
                (mark(run, key), is_shown(sum).then_some(sum))
            });
        });
        let resources = Resources::new().with(tables);
        let storage = self.storage.clone();
        let seed = self.random.below(u64::MAX);
        Driver::with_checkpoints(flow.unwrap(), seed, resources, storage).unwrap()
    }

    /// Between two runs.
    fn interfere(&mut self) {
        let newest = self.complete.keys().last().copied();
        let newest = newest.filter(|newest| Some(*newest) == self.next());
        match (self.random.below(4), newest) {
            (0, _) => {
                let savepoints = self.complete.iter().filter(|(_, (_, whole))| *whole);
                let savepoints: Vec<_> = savepoints.map(|(epoch, _)| *epoch).collect();
                let from = match savepoints.len() {
                    0 => None,
                    many => Some(savepoints[self.random.below(many as u64) as usize]),
                };
                self.choice = Choice::store(&self.storage, from).unwrap();
            }
            // One that was chosen is not passed over.
            (1, Some(newest)) if self.choice.from != Some(newest) => {
                let damage = StorageWrite {
                    rows: Rows::Manifests,
                    key: newest.0.to_be_bytes().to_vec(),
                    value: Some(vec![1, 0xc1]),
                };
                let done = std::sync::Arc::new(|_| {});
                let written = self.storage.write(vec![damage], done, Waker::noop());
                written.unwrap();
                self.complete.remove(&newest);
                // What is left is older than the table.
                let below =
                    |(epoch, (_, whole)): (&Epoch, &(Expected, bool))| whole.then_some(*epoch);
                let savepoints: Vec<_> = self.complete.iter().filter_map(below).collect();
                self.complete.retain(|epoch, _| savepoints.contains(epoch));
            }
            _ => {}
        }
    }
}

fn settle(driver: &mut Driver) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    runtime.block_on(driver.settle()).unwrap();
}

fn rows(driver: &Driver) -> BTreeMap<u64, u64> {
    let rows = driver.table(&MARKED).unwrap().rows().unwrap();
    rows.into_iter().collect()
}

fn simulate(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let options = StateOptions {
        map_bytes_max: 1 << 30,
        preallocate_step_bytes: 0,
        ..StateOptions::default()
    };
    let (store, writer) = StateStore::open(folder.path(), options).unwrap();
    let (writer, _thread) = millstream_engine::state::start(writer).unwrap();
    let mut world = World {
        store,
        writer,
        storage: InMemory::default(),
        feed: Feed::new(1),
        all: Vec::new(),
        complete: BTreeMap::new(),
        choice: Choice {
            from: None,
            above: Epoch(0),
            rows_of: None,
        },
        random: Random(seed),
    };
    for run in 0..8 {
        let from = world.next();
        let mut driver = world.driver(run, from.is_some());
        let begun = driver.checkpoints().unwrap().completed;
        assert_eq!(begun, from, "seed {seed}, run {run}");
        let mut expected = match from {
            Some(from) => world.complete[&from].0.clone(),
            None => Expected::default(),
        };
        world
            .complete
            .retain(|epoch, (_, whole)| *whole || Some(*epoch) <= from);
        for _ in 0..world.random.below(5) {
            world.feed();
            settle(&mut driver);
            expected.go_on(run, &world.all);
            assert_eq!(rows(&driver), expected.rows, "seed {seed}, run {run}");
            let is_savepoint = match world.random.below(3) {
                0 => continue,
                1 => false,
                _ => true,
            };
            if is_savepoint {
                driver.ask_for_savepoint();
            } else {
                driver.ask_for_checkpoint();
            }
            driver.clock().advance(std::time::Duration::from_secs(1));
            settle(&mut driver);
            let complete = driver.checkpoints().unwrap().completed.unwrap();
            let known = world
                .complete
                .insert(complete, (expected.clone(), is_savepoint));
            assert!(
                known.is_none(),
                "seed {seed}, run {run}: {complete} once more"
            );
        }
        // Somewhere in the middle.
        world.feed();
        driver.run_steps(world.random.below(60) as usize).unwrap();
        drop(driver);
        world.interfere();
    }
}

#[test]
fn tables_are_what_the_checkpoint_says() {
    let asked = std::env::var("MILLSTREAM_SEEDS").ok();
    let seeds = asked.as_deref().map_or((0, 40), |asked| {
        let (from, to) = asked.split_once("..").unwrap();
        (from.parse().unwrap(), to.parse().unwrap())
    });
    for seed in seeds.0..seeds.1 {
        simulate(seed);
    }
}
