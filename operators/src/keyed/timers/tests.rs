//! Timers beside naive ones, over checkpoints and restarts, and more of them than memory has room for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::flow::{Operator, Turn};
use millstream_engine::spill::{MemoryBudget, SpillStore};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use crate::keyed::{Context, KeyedProcess, NoSide, Process, Timer};
use crate::restart::{Saves, resources, wiring, wiring_with};
use crate::window::TimeDomain;

/// What an item asks for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Set(Timer),
    Delete(Timer),
    /// So many timers of event time, one after the other from this one on.
    SetMany(i64, i64),
}

/// Does what it is asked, and gives out each timer.
#[derive(Clone)]
struct Alarms;

impl KeyedProcess<u16, (u16, Ask)> for Alarms {
    type State = ();
    type Out = (u16, Timer);
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u16,
        (): &mut (),
        _time: Timestamp,
        (_, ask): (u16, Ask),
        ctx: &mut Context<'_, (u16, Timer)>,
    ) {
        match ask {
            Ask::Set(Timer::Event(time)) => ctx.set_event_timer(time),
            Ask::Set(Timer::Processing(time)) => ctx.set_processing_timer(time),
            Ask::Delete(Timer::Event(time)) => ctx.delete_event_timer(time),
            Ask::Delete(Timer::Processing(time)) => ctx.delete_processing_timer(time),
            Ask::SetMany(from, count) => {
                (from..from + count).for_each(|time| ctx.set_event_timer(Timestamp(time)));
            }
        }
    }

    fn timer(&mut self, key: &u16, (): &mut (), timer: Timer, ctx: &mut Context<'_, (u16, Timer)>) {
        ctx.emit((*key, timer));
    }
}

type Alarming = Process<(u16, Ask), u16, fn(&(u16, Ask)) -> u16, Alarms>;

fn alarming() -> Alarming {
    Process::new(|item| item.0, Alarms, NoSide)
}

/// Whether it is of processing time, and its time.
fn parts(timer: Timer) -> (bool, i64) {
    match timer {
        Timer::Event(time) => (false, time.0),
        Timer::Processing(time) => (true, time.0),
    }
}

/// Timers as one would write them down.
#[derive(Default)]
struct Naive {
    /// By kind of time, time and number.
    due: BTreeMap<(bool, i64, u64), u16>,
    set: BTreeMap<(u16, bool, i64), u64>,
    number: u64,
}

impl Naive {
    fn ask(&mut self, key: u16, ask: Ask) {
        match ask {
            Ask::Set(timer) => self.set(key, parts(timer)),
            Ask::Delete(timer) => {
                let (kind, time) = parts(timer);
                if let Some(number) = self.set.remove(&(key, kind, time)) {
                    self.due.remove(&(kind, time, number));
                }
            }
            Ask::SetMany(from, count) => {
                (from..from + count).for_each(|time| self.set(key, (false, time)));
            }
        }
    }

    fn set(&mut self, key: u16, (kind, time): (bool, i64)) {
        let number = self.number;
        if self.set.contains_key(&(key, kind, time)) {
            return;
        }
        self.number += 1;
        self.set.insert((key, kind, time), number);
        self.due.insert((kind, time, number), key);
    }

    fn fire(&mut self, kind: bool, until: i64, out: &mut Vec<(u16, Timer)>) {
        let reached = self
            .due
            .range((kind, i64::MIN, 0)..=(kind, until, u64::MAX));
        let reached: Vec<_> = reached.map(|(&due, &key)| (due, key)).collect();
        for (due, key) in reached {
            self.due.remove(&due);
            self.set.remove(&(key, kind, due.1));
            let time = Timestamp(due.1);
            out.push((
                key,
                if kind {
                    Timer::Processing(time)
                } else {
                    Timer::Event(time)
                },
            ));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Item(u16, Ask),
    Watermark(i64),
    Clock(i64),
    Checkpoint,
    /// From the last checkpoint, which is made now.
    Restart,
}

fn timer() -> impl Strategy<Value = Timer> {
    let time = prop_oneof![
        8 => -20i64..60,
        2 => any::<i64>(),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]),
    ];
    (any::<bool>(), time).prop_map(|(is_processing, time)| {
        let time = Timestamp(time);
        if is_processing {
            Timer::Processing(time)
        } else {
            Timer::Event(time)
        }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let set = (0u16..6, timer()).prop_map(|(key, timer)| Step::Item(key, Ask::Set(timer)));
    let delete = (0u16..6, timer()).prop_map(|(key, timer)| Step::Item(key, Ask::Delete(timer)));
    let many = (0u16..6, -10i64..60, 1i64..30)
        .prop_map(|(key, from, count)| Step::Item(key, Ask::SetMany(from, count)));
    let step = prop_oneof![
        8 => set,
        4 => delete,
        3 => many,
        3 => (0i64..12).prop_map(Step::Watermark),
        2 => (0i64..12).prop_map(Step::Clock),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..100)
}

/// Steps of an operator with next to no memory, and what comes of them.
struct Run {
    operator: Alarming,
    saves: Saves,
    watermark: i64,
    now: i64,
    given: Vec<(u16, Timer)>,
}

impl Run {
    fn step(&mut self, step: &Step) {
        let given = &mut self.given;
        let mut out = |_, timer| given.push(timer);
        let operator = &mut self.operator;
        match *step {
            Step::Item(key, ask) => operator.item(Timestamp(0), (key, ask), &mut out),
            Step::Watermark(by) => {
                self.watermark = self.watermark.max(0).saturating_add(by);
                operator.watermark(Timestamp(self.watermark), &mut out);
            }
            Step::Clock(by) => {
                self.now = self.now.max(0) + by;
                let monotonic = Duration::from_micros(self.now.cast_unsigned());
                let now = Timestamp(self.now);
                operator.begin(&Turn { now, monotonic });
                if operator.next_due().is_some_and(|due| due <= now) {
                    operator.processing_time(now, &mut out);
                }
                assert!(operator.next_due().is_none_or(|due| due > now));
            }
            Step::Checkpoint => self.saves.save(operator),
            Step::Restart => {
                self.saves.save(operator);
                *operator = alarming();
                operator.open(&wiring()).unwrap();
                self.saves.restore(operator);
                operator.watermark(Timestamp(self.watermark), &mut out);
            }
        }
        self.operator.flush(true).unwrap();
    }
}

proptest! {
    #[test]
    fn timers_fire_in_the_order_of_times_and_of_setting(steps in steps()) {
        let mut run = Run {
            operator: alarming(),
            saves: Saves::default(),
            watermark: i64::MIN,
            now: i64::MIN,
            given: Vec::new(),
        };
        run.operator.open(&wiring()).unwrap();
        let (mut naive, mut expected) = (Naive::default(), Vec::new());
        for step in steps.iter().chain([&Step::Watermark(i64::MAX)]) {
            run.step(step);
            if let Step::Item(key, ask) = *step {
                naive.ask(key, ask);
            }
            naive.fire(false, run.watermark, &mut expected);
            let is_over = run.watermark == i64::MAX;
            naive.fire(true, if is_over { i64::MAX } else { run.now }, &mut expected);
            prop_assert_eq!(&run.given, &expected, "after {:?}", step);
            prop_assert_eq!(run.operator.table.timers_len(), naive.due.len());
        }
    }
}

const KEYS: u16 = 40;
const PER_KEY: i64 = 700;
/// A tenth of what the timers take, without what the keys know of theirs.
const MEMORY: usize = 67_000;

/// Bytes of all timers in the queue.
const TIMERS: usize = KEYS as usize * PER_KEY as usize * size_of::<super::Due<u16>>();

/// Has the process do something, looking after each thing that is given out and at the end how much memory is used.
fn watched(
    budget: &MemoryBudget,
    operator: &mut Alarming,
    act: impl FnOnce(&mut Alarming, &mut dyn FnMut(Timestamp, (u16, Timer))),
) -> (Vec<(u16, i64)>, usize) {
    let (mut given, mut used) = (Vec::new(), 0);
    let mut out = |_, (key, timer)| {
        given.push((key, parts(timer).1));
        used = used.max(budget.used());
    };
    act(operator, &mut out);
    operator.flush(true).unwrap();
    (given, used.max(budget.used()))
}

/// Goal: with many times more timers than there is memory for, all fire in their order, over a restart too, and memory
/// stays what it may be.
#[test]
fn timers_that_do_not_fit_into_memory_fire_as_others_do() {
    let resources = resources(MEMORY);
    let wiring = wiring_with(Arc::clone(&resources));
    let store = resources.get::<SpillStore>().unwrap();
    let budget = Arc::clone(store.budget());
    let mut operator = alarming();
    operator.open(&wiring).unwrap();
    let (mut expected, mut used) = (Vec::new(), 0);
    // The later half first, and times of neighbours overlap.
    for key in (KEYS / 2..KEYS).chain(0..KEYS / 2) {
        let from = i64::from(key) * (PER_KEY - 100);
        let ask = Ask::SetMany(from, PER_KEY);
        let (given, most) = watched(&budget, &mut operator, |operator, mut out| {
            operator.item(Timestamp(0), (key, ask), &mut out);
        });
        assert_eq!(given, []);
        used = used.max(most);
        expected.extend((from..from + PER_KEY).map(|time| (time, key)));
    }
    // Of equal times those that were set first.
    expected.sort_by_key(|(time, _)| *time);
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(time, key)| (key, time))
        .collect();
    let mut saves = Saves::default();
    let mut found = Vec::new();
    for (number, watermark) in [2_000, 12_000, 12_001, i64::MAX].into_iter().enumerate() {
        let (given, most) = watched(&budget, &mut operator, |operator, mut out| {
            operator.watermark(Timestamp(watermark), &mut out);
        });
        found.extend(given);
        used = used.max(most);
        if number == 1 {
            saves.save(&mut operator);
            operator = alarming();
            operator.open(&wiring).unwrap();
            saves.restore(&mut operator);
            used = used.max(budget.used());
        }
    }
    assert_eq!(found, expected);
    let (written, read) = budget.traffic();
    assert!(
        written > 1_000 && read > 1_000,
        "{written} and {read} pages"
    );
    assert!(
        TIMERS >= 10 * MEMORY && used < MEMORY + MEMORY / 4,
        "{used} of {TIMERS}"
    );
}

/// Goal: timers that are taken off one by one, most of them on disk, are swept without a call that reads more than a few
/// pages, do not pile up, and the others fire.
#[test]
fn timers_on_disk_are_swept_a_few_pages_at_a_time() {
    let resources = resources(MEMORY);
    let store = resources.get::<SpillStore>().unwrap();
    let budget = Arc::clone(store.budget());
    let mut operator = alarming();
    operator.open(&wiring_with(resources)).unwrap();
    for key in 0..KEYS {
        let ask = Ask::SetMany(i64::from(key) * PER_KEY, PER_KEY);
        operator.item(Timestamp(0), (key, ask), &mut |_, _| {});
        operator.flush(true).unwrap();
    }
    let (mut expected, mut most) = (Vec::new(), 0);
    let read_before = budget.traffic().1;
    for time in 0..PER_KEY {
        for key in 0..KEYS {
            let at = i64::from(key) * PER_KEY + time;
            if time % 8 == 0 {
                expected.push((key, at));
                continue;
            }
            let before = budget.traffic().1;
            let ask = Ask::Delete(Timer::Event(Timestamp(at)));
            operator.item(Timestamp(0), (key, ask), &mut |_, _| {});
            most = most.max(budget.traffic().1 - before);
            operator.flush(true).unwrap();
            let timers = operator.table.timers(TimeDomain::Event);
            let (set, entries) = (timers.len(), timers.entries());
            assert!(entries <= set * 5 / 2 + 200, "{entries} for {set}");
        }
    }
    // And those of the keys that are asked whether they still know theirs.
    let pages = super::PIECE_CHUNKS + usize::from(KEYS);
    assert!(most <= pages as u64, "{most} pages at a time");
    let read = budget.traffic().1 - read_before;
    assert!(read > 1_000, "{read} pages");
    expected.sort_by_key(|(_, time)| *time);
    let (given, _) = watched(&budget, &mut operator, |operator, mut out| {
        operator.watermark(Timestamp::MAX, &mut out);
    });
    assert_eq!(given, expected);
}
