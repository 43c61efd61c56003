//! Ladders beside sorted maps, in memory and on disk.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::table::StateMemory;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    time: i64,
    number: u64,
    name: String,
}

impl Ranked for Entry {
    fn rank(&self) -> u128 {
        rank(self.time, self.number)
    }
}

fn entry(time: i64, number: u64) -> Entry {
    let name = format!("{time} {number}");
    Entry { time, number, name }
}

#[derive(Clone, Debug)]
enum Act {
    /// So many at this time, the next ones so much later.
    Push(i64, u8, i64),
    /// All that are due.
    Pop(i64),
    /// At most so many of them.
    PopSome(i64, u8),
    /// Only those whose numbers leave another rest are kept.
    Sweep(u64),
    Settle,
    Clear,
}

/// Near, far, and as far as there is.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => -50i64..50,
        3 => -100_000i64..100_000,
        2 => any::<i64>(),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let step = prop::sample::select(vec![0, 0, 1, -1, 7, 1_000, -40_000]);
    let act = prop_oneof![
        8 => (time(), 1u8..30, step).prop_map(|(time, count, step)| Act::Push(time, count, step)),
        3 => time().prop_map(Act::Pop),
        3 => (time(), 0u8..20).prop_map(|(time, count)| Act::PopSome(time, count)),
        1 => (0u64..3).prop_map(Act::Sweep),
        2 => Just(Act::Settle),
    ];
    let act = prop_oneof![60 => act, 1 => Just(Act::Clear)];
    prop::collection::vec(act, 0..120)
}

struct Beside {
    ladder: Ladder<Entry>,
    model: BTreeMap<(i64, u64), Entry>,
    number: u64,
    is_swept: bool,
}

impl Beside {
    fn pop(&mut self, until: i64, count: usize) -> Result<(), TestCaseError> {
        for _ in 0..count {
            let first = self.model.first_entry();
            let expected = first.filter(|first| first.key().0 <= until);
            let expected = expected.map(|first| first.remove());
            let found = self.ladder.pop(until);
            prop_assert_eq!(&found, &expected);
            if found.is_none() {
                // Whoever waits for the first one must not come again at once.
                prop_assert!(self.ladder.first().is_none_or(|first| first > until));
                break;
            }
        }
        Ok(())
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match *act {
            Act::Push(time, count, step) => {
                for number in 0..i64::from(count) {
                    let time = time.saturating_add(step.saturating_mul(number));
                    let entry = entry(time, self.number);
                    self.ladder.push(entry.clone());
                    self.model.insert((time, self.number), entry);
                    self.number += 1;
                }
            }
            Act::Pop(until) => self.pop(until, usize::MAX)?,
            Act::PopSome(until, count) => self.pop(until, usize::from(count))?,
            Act::Sweep(rest) => {
                self.ladder.retain(|entry| entry.number % 3 != rest);
                self.model.retain(|(_, number), _| number % 3 != rest);
                self.is_swept = true;
            }
            Act::Settle => self.ladder.settle().unwrap(),
            Act::Clear => {
                self.ladder.clear();
                self.model.clear();
            }
        }
        self.is_swept &= !self.model.is_empty();
        let first = self.model.first_key_value().map(|(&(time, _), _)| time);
        if self.is_swept {
            prop_assert!(self.ladder.first() <= first);
        } else {
            prop_assert_eq!(self.ladder.first(), first);
        }
        prop_assert_eq!(self.ladder.len(), self.model.len());
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_ladder_is_a_priority_queue(acts in acts(), memory in prop::sample::select(vec![None, Some(1), Some(2_000)])) {
        let folder = tempfile::tempdir().unwrap();
        let memory = memory.map(|bytes| StateMemory::new(&folder.path().join("spill"), bytes));
        let mut beside = Beside {
            ladder: Ladder::new(),
            model: BTreeMap::new(),
            number: 0,
            is_swept: false,
        };
        if let Some(memory) = &memory {
            beside.ladder.share(memory);
        }
        for act in &acts {
            beside.act(act)?;
        }
        beside.pop(i64::MAX, usize::MAX)?;
        prop_assert_eq!(beside.ladder.len(), 0);
        if let Some(memory) = &memory {
            beside.ladder.settle().unwrap();
            prop_assert_eq!(memory.used(), 0, "nothing is left, in memory or on disk");
        }
    }
}

/// Goal: entries for ever earlier times make no more rungs than there may be, and come out in order.
#[test]
fn ever_earlier_entries_make_few_rungs() {
    let mut ladder = Ladder::new();
    for number in 0..100u64 {
        ladder.push(entry(1_000_000 + number as i64, number));
    }
    assert_eq!(ladder.pop(1_000_000), Some(entry(1_000_000, 0)));
    for number in 100..10_000 {
        ladder.push(entry(1_000_000 - number, number.cast_unsigned()));
        assert!(ladder.rungs.len() <= RUNGS_MAX);
    }
    let times: Vec<_> = std::iter::from_fn(|| ladder.pop(i64::MAX)).collect();
    assert_eq!(times.len(), 9_999);
    assert!(times.is_sorted_by_key(|entry| entry.time));
}

/// Goal: entries that all have one time are in memory as little as others: their numbers tell them apart.
#[test]
fn entries_of_one_time_fit_into_memory_too() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(folder.path(), 100_000);
    let mut ladder = Ladder::new();
    ladder.share(&memory);
    let mut used = 0;
    for number in 0..20_000 {
        ladder.push(entry(7, number));
        used = used.max(memory.used());
    }
    for number in 0..20_000 {
        assert_eq!(ladder.pop(7), Some(entry(7, number)));
        ladder.settle().unwrap();
        used = used.max(memory.used());
    }
    let (written, read) = memory.traffic();
    assert!(
        written > 2_000 && read > 2_000,
        "{written} and {read} pages"
    );
    let entries = 20_000 * size_of::<Entry>();
    assert!(entries > 700_000 && used < 120_000, "{used} of {entries}");
}

/// Goal: a ladder that finds no room on disk says so, keeps what it has in memory, and loses nothing.
#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(folder.path(), 1_000);
    let store = memory.store().unwrap();
    let mut ladder = Ladder::new();
    ladder.share(&memory);
    for number in 0..100u64 {
        ladder.push(entry(number.cast_signed() % 10, number));
    }
    ladder.settle().unwrap();
    store.budget().set_disk_bytes_max(0);
    for number in 100..200u64 {
        ladder.push(entry(number.cast_signed() % 10, number));
    }
    let told = ladder.settle().unwrap_err();
    assert!(told.0.contains("finds no room"), "{told:?}");
    let found: Vec<_> = std::iter::from_fn(|| ladder.pop(9)).collect();
    assert_eq!(found.len(), 200);
    assert!(found.is_sorted_by_key(Entry::rank));
}

/// Story: each time that the last bucket of a rung was opened one more rung was kept, of which nothing could come any more; after
/// two dozen all that was far off was moved again.
#[test]
fn rungs_that_are_over_are_let_go() {
    let mut ladder = Ladder::new();
    let far = 2_000;
    for number in 0..far {
        let number = number as u64;
        ladder.push(entry(1_000_000 + 1_000 * number as i64, number));
    }
    let ahead = 40;
    for now in 0..20_000 {
        ladder.push(entry(now + ahead, far as u64 + now as u64));
        let due = ladder.pop(now);
        assert_eq!(due.map(|due| due.time), (now >= ahead).then_some(now));
        assert!(
            ladder.rungs.len() <= 6,
            "{} rungs at {now}",
            ladder.rungs.len()
        );
    }
    assert_eq!(ladder.len(), far + ahead as usize);
}
