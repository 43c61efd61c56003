//! Tables beside a plain map, with checkpoints and restarts between any two changes.

use std::collections::BTreeMap;

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
}

impl Run {
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
                table.iter_mut().for_each(|(_, value)| *value ^= by);
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
                self.table = restored(std::slice::from_ref(&self.saves), 0, 1);
                assert_eq!(entries(&self.table), before, "in the same order");
            }
        }
    }

    fn save(&mut self) {
        let epoch = Epoch(self.saves.len() as u64 + 1);
        let mut saving = Saving::new(epoch);
        self.table.save(KIND, &mut saving).unwrap();
        self.saves.push((epoch, saving.into_parts()));
    }
}

fn entries(table: &Table<u8, u32>) -> Vec<(u8, u32)> {
    table.iter().map(|(key, value)| (*key, *value)).collect()
}

fn restored(
    saves: &[Vec<(Epoch, Vec<Part>)>],
    partition: usize,
    partitions: usize,
) -> Table<u8, u32> {
    let mut table = Table::default();
    let mut restoring = Restoring::of_saves(saves, partition, partitions);
    table.restore(KIND, &mut restoring).unwrap();
    restoring.finish().unwrap();
    table
}

proptest! {
    #[test]
    fn tables_are_maps_whatever_is_saved_and_restored(acts in acts()) {
        let mut run = Run::default();
        for act in &acts {
            run.act(act);
            let held: BTreeMap<_, _> = entries(&run.table).into_iter().collect();
            prop_assert_eq!(&held, &run.model, "after {:?}", act);
            prop_assert_eq!(run.table.len(), held.len());
            for (key, value) in &held {
                prop_assert_eq!(run.table.get(key), Some(value));
            }
        }
    }

    #[test]
    fn keys_of_several_partitions_are_spread_anew(acts in acts(), others in acts(), now in 1..4usize) {
        let runs = [acts, others].map(|acts| {
            let mut run = Run::default();
            acts.iter().for_each(|act| run.act(act));
            run.save();
            run
        });
        prop_assume!(now != 2);
        // A key belongs to one partition: the second has what the first has not.
        let [one, mut two] = runs;
        for key in one.model.keys() {
            two.model.remove(key);
            two.table.remove(key);
        }
        two.save();
        let saves = [one.saves, two.saves];
        let tables = (0..now).map(|partition| restored(&saves, partition, now));
        let held: Vec<_> = tables.flat_map(|table| entries(&table)).collect();
        let all: BTreeMap<_, _> = held.iter().copied().collect();
        prop_assert_eq!(held.len(), all.len(), "nobody has two partitions");
        let mut model = one.model;
        model.extend(two.model);
        prop_assert_eq!(all, model);
    }
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
