//! Tables beside a plain map, with checkpoints and restarts between any two changes.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use millstream_engine::checkpoint::{Epoch, Part, Restoring, Saving};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Insert(u8, u32),
    Add(u8, u32),
    Change(u8, u32),
    Remove(u8),
    /// Entries whose value is divisible by the first are over; those divisible by the second are changed.
    Visit(u32, u32),
    ChangeAll(u32),
    Clear,
    Save,
    Restore,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (any::<u8>(), any::<u32>()).prop_map(|(key, value)| Act::Insert(key, value)),
        4 => (any::<u8>(), 0..9u32).prop_map(|(key, value)| Act::Add(key, value)),
        2 => (any::<u8>(), any::<u32>()).prop_map(|(key, value)| Act::Change(key, value)),
        4 => any::<u8>().prop_map(Act::Remove),
        1 => (2..9u32, 2..5u32).prop_map(|(over, changed)| Act::Visit(over, changed)),
        1 => (0..9u32).prop_map(Act::ChangeAll),
        1 => Just(Act::Clear),
        4 => Just(Act::Save),
        2 => Just(Act::Restore),
    ];
    prop::collection::vec(act, 0..300)
}

const KIND: &str = "tested table";

fn changed(value: u32) -> u32 {
    value.wrapping_mul(3).wrapping_add(1)
}

/// A table, what it has given at barriers, and what it should hold.
#[derive(Default)]
struct Run {
    table: Table<u8, u32>,
    saves: Vec<(Epoch, Vec<Part>)>,
    model: BTreeMap<u8, u32>,
    memory: StateMemory,
}

impl Run {
    fn with(memory: StateMemory) -> Self {
        let mut run = Self {
            memory,
            ..Self::default()
        };
        run.table.share(&run.memory.for_tables());
        run
    }

    fn act(&mut self, act: &Act) {
        let Self { table, model, .. } = self;
        match *act {
            Act::Insert(key, value) => {
                assert_eq!(table.insert(key, value), model.insert(key, value));
            }
            Act::Add(key, value) => {
                let sum = table.get_or_insert_with(key, || 0);
                *sum = sum.wrapping_add(value);
                let sum = model.entry(key).or_default();
                *sum = sum.wrapping_add(value);
            }
            Act::Change(key, value) => {
                assert_eq!(table.get(&key), model.get(&key));
                if let Some(held) = table.get_mut(&key) {
                    *held = value;
                    model.insert(key, value);
                }
            }
            Act::Remove(key) => assert_eq!(table.remove(&key), model.remove(&key)),
            Act::Visit(over, every) => {
                let mut seen = Vec::new();
                table.visit(|key, value| {
                    seen.push(*key);
                    if value.is_multiple_of(over) {
                        return Seen::Over;
                    }
                    if value.is_multiple_of(every) {
                        *value = changed(*value);
                        return Seen::Changed;
                    }
                    Seen::Same
                });
                seen.sort_unstable();
                assert!(seen.iter().eq(model.keys()), "each is shown once");
                model.retain(|_, value| !value.is_multiple_of(over));
                let hit = model
                    .values_mut()
                    .filter(|value| value.is_multiple_of(every));
                hit.for_each(|value| *value = changed(*value));
            }
            Act::ChangeAll(by) => {
                table.visit(|_, value| {
                    *value ^= by;
                    Seen::Changed
                });
                model.values_mut().for_each(|value| *value ^= by);
            }
            Act::Clear => {
                let drained: BTreeMap<_, _> = table.drain().collect();
                assert_eq!(drained, std::mem::take(model));
            }
            Act::Save => self.save(),
            Act::Restore => {
                self.save();
                let before: Vec<_> = entries(&self.table);
                self.table = restored(std::slice::from_ref(&self.saves), 0, 1, &self.memory);
                assert_eq!(entries(&self.table), before, "in the same order");
            }
        }
        self.table.settle().unwrap();
    }

    fn save(&mut self) {
        let epoch = Epoch(self.saves.len() as u64 + 1);
        let mut saving = Saving::new(epoch);
        self.table.save(KIND, &mut saving).unwrap();
        self.saves.push((epoch, saving.into_parts()));
    }
}

fn entries(table: &Table<u8, u32>) -> Vec<(u8, u32)> {
    let mut entries = Vec::new();
    table.for_each(|key, value| entries.push((*key, *value)));
    entries
}

fn restored(
    saves: &[Vec<(Epoch, Vec<Part>)>],
    partition: usize,
    partitions: usize,
    memory: &StateMemory,
) -> Table<u8, u32> {
    let mut table = Table::default();
    table.share(&memory.for_tables());
    let mut restoring = Restoring::of_saves(saves, partition, partitions);
    table.restore(KIND, &mut restoring).unwrap();
    restoring.finish().unwrap();
    table
}

/// Memory for about a third of the keys that there can be.
fn little_memory() -> StateMemory {
    static MEMORY: OnceLock<StateMemory> = OnceLock::new();
    // The folder's name goes now, the files with the process.
    let folder = tempfile::tempdir().unwrap();
    let memory = || StateMemory::new(&folder.path().join("spill"), 2_000);
    MEMORY.get_or_init(memory).clone()
}

fn is_a_map(mut run: Run, acts: &[Act]) {
    for act in acts {
        run.act(act);
        let held: BTreeMap<_, _> = entries(&run.table).into_iter().collect();
        assert_eq!(held, run.model, "after {act:?}");
        assert_eq!(run.table.len(), held.len());
        for (key, value) in &held {
            assert_eq!(run.table.get(key), Some(value));
        }
    }
}

/// A key belongs to one partition: the second has what the first has not.
fn are_spread_anew(mut two: [Run; 2], acts: [Vec<Act>; 2], now: usize, memory: &StateMemory) {
    for (run, acts) in two.iter_mut().zip(acts) {
        acts.iter().for_each(|act| run.act(act));
        run.save();
    }
    let [one, mut two] = two;
    for key in one.model.keys() {
        two.model.remove(key);
        two.table.remove(key);
    }
    two.save();
    let saves = [one.saves, two.saves];
    let tables = (0..now).map(|partition| restored(&saves, partition, now, memory));
    let mut tables: Vec<_> = tables.collect();
    let held: Vec<_> = tables.iter().flat_map(entries).collect();
    let all: BTreeMap<_, _> = held.iter().copied().collect();
    assert_eq!(held.len(), all.len(), "nobody has two partitions");
    for (key, value) in &all {
        let found = tables.iter_mut().filter_map(|table| table.get(key));
        assert_eq!(found.collect::<Vec<_>>(), [value]);
    }
    let mut model = one.model;
    model.extend(two.model);
    assert_eq!(all, model);
}

proptest! {
    #[test]
    fn tables_are_maps_whatever_is_saved_and_restored(acts in acts()) {
        is_a_map(Run::default(), &acts);
    }

    #[test]
    fn tables_larger_than_memory_are_the_same_maps(acts in acts()) {
        is_a_map(Run::with(little_memory()), &acts);
    }

    #[test]
    fn keys_of_several_partitions_are_spread_anew(acts in acts(), others in acts(), now in 1..4usize) {
        prop_assume!(now != 2);
        let none = StateMemory::default();
        are_spread_anew(Default::default(), [acts, others], now, &none);
    }

    #[test]
    fn keys_of_tables_larger_than_memory_are_spread_anew(
        acts in acts(), others in acts(), now in 1..4usize
    ) {
        prop_assume!(now != 2);
        let memory = little_memory();
        let runs = [Run::with(memory.clone()), Run::with(memory.clone())];
        are_spread_anew(runs, [acts, others], now, &memory);
    }
}

/// Ten times as large as its memory, most of which is its index, with accesses all over it: not more than a little above the bound at any time.
#[test]
fn memory_stays_within_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(folder.path(), 300_000);
    let mut table = Table::<u32, String>::default();
    table.share(&memory.for_tables());
    let mut most = 0;
    for round in 0..5u32 {
        for key in 0..8_000u32 {
            let key = key * 7_919 % 8_000; // All of them, far from each other.
            let held = table.get_or_insert_with(key, String::new);
            held.push_str(&["a", "bc", "d"][round as usize % 3].repeat(50));
            if key % 100 == 0 {
                table.settle().unwrap();
                most = most.max(memory.used());
            }
        }
    }
    let wanted = ["a", "bc", "d", "a", "bc"]
        .map(|text| text.repeat(50))
        .concat();
    assert_eq!(table.get(&17), Some(&wanted));
    let (written, read) = memory.traffic();
    assert!(
        written > 1_000 && read > 1_000,
        "{written} and {read} pages"
    );
    assert!(most < 400_000, "{most} bytes");

    // What is read back counts before the first turn, so that the next one finds less.
    let mut saving = Saving::new(Epoch(1));
    table.save(KIND, &mut saving).unwrap();
    let saves = [vec![(Epoch(1), saving.into_parts())]];
    drop(table);
    assert_eq!(memory.used(), 0);
    let mut tables = Vec::new();
    for _ in 0..3 {
        let mut table = Table::<u32, String>::default();
        table.share(&memory.for_tables());
        let mut restoring = Restoring::of_saves(&saves, 0, 1);
        table.restore(KIND, &mut restoring).unwrap();
        tables.push(table);
        let used = memory.used();
        assert!(used > 200_000 && used < 1_000_000, "{used} bytes");
    }
    assert_eq!(tables[0].get(&17), Some(&wanted));
}

/// Story: a table that was larger than half of the memory had three quarters of it written, in the turn in which it saw that.
#[test]
fn what_fits_into_memory_is_not_written_when_pages_begin() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(folder.path(), 1_000_000);
    let mut table = Table::<u32, String>::default();
    table.share(&memory.for_tables());
    let mut keys = 0..100_000u32;
    while table.paged.is_none() {
        for key in keys.by_ref().take(100) {
            table.insert(key, "x".repeat(50));
        }
        table.settle().unwrap();
    }
    let used = memory.used();
    assert!(used > 400_000 && used < 1_000_000, "{used} bytes");
    assert_eq!(memory.traffic(), (0, 0));
    // What does not fit is written, as before.
    let mut other = Table::<u32, String>::default();
    other.share(&memory.for_tables());
    (0..keys.start).for_each(|key| drop(other.insert(key, "x".repeat(50))));
    for _ in 0..2 {
        other.settle().unwrap();
        table.settle().unwrap();
    }
    let used = memory.used();
    assert!(used > 700_000 && used < 1_050_000, "{used} bytes");
    assert!(memory.traffic().0 > 0);
}

/// Few keys, whose values grow without end.
#[test]
fn values_that_grow_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(folder.path(), 100_000);
    let mut table = Table::<u32, String>::default();
    table.share(&memory.for_tables());
    for round in 0..100 {
        for key in 0..64 {
            let held = table.get_or_insert_with(key, String::new);
            held.push_str(&"x".repeat(round));
        }
        table.settle().unwrap();
    }
    assert!(memory.traffic().0 > 64, "{:?}", memory.traffic());
    assert_eq!(table.get(&7).map(String::len), Some(4_950));
}

#[test]
fn a_gap_between_the_parts_is_an_error() {
    let mut run = Run::default();
    for key in 0..100 {
        run.act(&Act::Insert(key, 1));
    }
    run.save();
    run.act(&Act::Insert(100, 2));
    run.save();
    run.saves.remove(0);
    let mut table = Table::<u8, u32>::default();
    let mut restoring = Restoring::of_saves(&[run.saves], 0, 1);
    let error = table.restore(KIND, &mut restoring).unwrap_err();
    assert!(error.to_string().contains("are missing"), "{error}");
}
