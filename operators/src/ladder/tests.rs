//! Ladders beside sorted maps, in memory and on disk.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Those whose numbers leave this rest are valid no longer.
    Invalidate(u64),
    /// Goes on with a sweep by so many chunks.
    SweepSome(u8),
    /// A whole sweep.
    Sweep,
    /// Drops in one go what is not valid.
    Retain,
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
        2 => (0u64..5).prop_map(Act::Invalidate),
        6 => (1u8..6).prop_map(Act::SweepSome),
        1 => Just(Act::Sweep),
        1 => Just(Act::Retain),
        2 => Just(Act::Settle),
    ];
    let act = prop_oneof![60 => act, 1 => Just(Act::Clear)];
    prop::collection::vec(act, 0..120)
}

struct Beside {
    ladder: Ladder<Entry>,
    /// What is valid.
    model: BTreeMap<(i64, u64), Entry>,
    /// Numbers of what is not.
    invalid: BTreeSet<u64>,
    /// Those of them that the ladder still has.
    stale: BTreeSet<u64>,
    /// And had when the sweep that is under way began.
    owed: BTreeSet<u64>,
    number: u64,
}

impl Beside {
    fn pop(&mut self, until: i64, count: usize) -> Result<(), TestCaseError> {
        let (mut count, mut last) = (count, None);
        while count > 0 {
            let expected = self.model.first_key_value();
            let expected = expected.filter(|(key, _)| key.0 <= until);
            let found = self.ladder.pop(until);
            let Some(found) = found else {
                prop_assert_eq!(expected, None);
                // Whoever waits for the first one must not come again at once.
                prop_assert!(self.ladder.first().is_none_or(|first| first > until));
                break;
            };
            prop_assert!(found.time <= until && Some(found.rank()) > last);
            last = Some(found.rank());
            if self.invalid.contains(&found.number) {
                // Not swept yet; what is valid does not come behind it if it is due before.
                prop_assert!(expected.is_none_or(|(_, valid)| valid.rank() > found.rank()));
                prop_assert!(self.stale.remove(&found.number));
                continue;
            }
            prop_assert_eq!(Some(&found), expected.map(|(_, valid)| valid));
            self.model.pop_first();
            count -= 1;
        }
        Ok(())
    }

    /// Whether the sweep is over.
    fn sweep(&mut self, chunks: usize) -> Result<bool, TestCaseError> {
        if !self.ladder.is_sweeping() {
            self.owed = self.stale.clone();
        }
        let before = self.stale.len();
        let (invalid, stale) = (&self.invalid, &mut self.stale);
        let swept = self.ladder.sweep(chunks, |entry| {
            stale.remove(&entry.number);
            !invalid.contains(&entry.number)
        });
        prop_assert_eq!(swept.dropped, before - self.stale.len());
        prop_assert_eq!(swept.is_over, !self.ladder.is_sweeping());
        if swept.is_over {
            prop_assert!(self.owed.is_disjoint(&self.stale), "some were passed over");
        }
        Ok(swept.is_over)
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
            Act::Invalidate(rest) => {
                let is_valid = |number: u64| number % 5 != rest;
                let over = self.model.keys().map(|(_, number)| *number);
                let over: Vec<_> = over.filter(|number| !is_valid(*number)).collect();
                self.invalid.extend(&over);
                self.stale.extend(&over);
                self.model.retain(|(_, number), _| is_valid(*number));
            }
            Act::SweepSome(chunks) => {
                self.sweep(usize::from(chunks))?;
            }
            Act::Sweep => {
                // The one that is under way may have been where something has come since.
                while self.ladder.is_sweeping() && !self.sweep(1)? {}
                while !self.sweep(1)? {}
                prop_assert!(self.stale.is_empty());
            }
            Act::Retain => {
                let invalid = &self.invalid;
                self.ladder.retain(|entry| !invalid.contains(&entry.number));
                self.stale.clear();
            }
            Act::Settle => self.ladder.settle().unwrap(),
            Act::Clear => {
                self.ladder.clear();
                self.model.clear();
                self.stale.clear();
            }
        }
        let first = self.model.first_key_value().map(|(&(time, _), _)| time);
        match first {
            // Before anything was dropped it is exact.
            first if self.invalid.is_empty() => prop_assert_eq!(self.ladder.first(), first),
            Some(first) => prop_assert!(self.ladder.first().is_some_and(|found| found <= first)),
            None => {}
        }
        prop_assert_eq!(self.ladder.len(), self.model.len() + self.stale.len());
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
            invalid: BTreeSet::new(),
            stale: BTreeSet::new(),
            owed: BTreeSet::new(),
            number: 0,
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

/// Goal: a sweep of many pages on disk is done in pieces of a few of them, and comes to its end with the same left as one in
/// one go, while entries come and go between the pieces.
#[test]
fn a_sweep_goes_on_in_pieces_while_entries_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(folder.path(), 100_000);
    let mut ladder = Ladder::new();
    ladder.share(&memory);
    let count = 20_000u64;
    // Not in order, so that pages have some of everything.
    for number in 0..count {
        let time = (number * 7_919 % count).cast_signed();
        ladder.push(entry(10_000 + time, number));
    }
    ladder.settle().unwrap();
    let is_valid = |entry: &Entry| entry.number.is_multiple_of(4);
    let (mut pieces, mut time, mut number, mut last) = (0, 0, count, None);
    loop {
        let before = memory.traffic().1;
        let swept = ladder.sweep(4, is_valid);
        let read = memory.traffic().1 - before;
        assert!(read <= 4, "{read} pages in one piece");
        pieces += 1;
        if swept.is_over {
            break;
        }
        // One that is near, one that is far, and the first one goes.
        for (late, offset) in [(20_000, 0), (60_000, 4)] {
            ladder.push(entry(late + time, number + offset));
        }
        (time, number) = (time + 1, number + 8);
        let first = ladder.pop(i64::MAX).unwrap();
        assert!(Some(first.rank()) > last);
        last = Some(first.rank());
        ladder.settle().unwrap();
    }
    assert!(pieces > 100, "{pieces} pieces");
    let rest: Vec<_> = std::iter::from_fn(|| ladder.pop(i64::MAX)).collect();
    assert!(rest.is_sorted_by_key(Entry::rank));
    assert!(rest.iter().all(is_valid), "some were passed over");
    assert!(rest.len() > 4_000, "{} are left", rest.len());
}

/// Story: entries for ever earlier times made all that is far off move again each time that there were too many rungs.
#[test]
fn ever_earlier_entries_move_each_other_and_not_what_is_far_off() {
    let (far, earlier) = (5_000, 20_000);
    let mut ladder = Ladder::new();
    for number in 0..far {
        ladder.push(entry(1_000_000 + 1_000 * number, number.cast_unsigned()));
    }
    assert_eq!(ladder.pop(1_000_000).map(|first| first.number), Some(0));
    for number in far..far + earlier {
        ladder.push(entry(1_000_000 - number, number.cast_unsigned()));
        if number % 50 == 0 {
            // What opens the earliest of all again and again.
            let first = ladder.pop(1_000_000 - number);
            assert_eq!(first.map(|first| first.time), Some(1_000_000 - number));
        }
    }
    // Far ones twice, when the top and its first bucket were divided; the others about as often as their number doubled.
    let moves = ladder.moves;
    assert!(moves < 2 * 5_000 + 14 * 20_000, "{moves} moves");
    let rest: Vec<_> = std::iter::from_fn(|| ladder.pop(i64::MAX)).collect();
    assert_eq!(rest.len() as i64, far - 1 + earlier - earlier / 50);
    assert!(rest.is_sorted_by_key(Entry::rank));
}
