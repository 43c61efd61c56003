//! Single rules, each in a small example.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::flow::{Operator, Turn};
use millstream_engine::time::Timestamp;

use super::operators::{Poison, policy};
use super::world::{Item, Out};
use crate::failing::{ItemPolicy, WaitingLimits, WhenFull};
use crate::keyed::{Context, NoSide, Timer, TryKeyedProcess, TryProcess};
use crate::stateless::{OrderByKey, TryItems, TryMap};

/// An operator whose stage is not open, and what it gave.
struct Bench<O> {
    operator: O,
    given: Vec<u64>,
    now: i64,
    monotonic: Duration,
}

impl<O: Operator<Item, Out = Out>> Bench<O> {
    fn new(operator: O) -> Self {
        let mut bench = Self {
            operator,
            given: Vec::new(),
            now: 0,
            monotonic: Duration::ZERO,
        };
        bench.wait(0);
        bench
    }

    fn item(&mut self, key: u8, id: u64) {
        let given = &mut self.given;
        let mut out = |_, item: Out| given.push(item.1);
        self.operator.item(Timestamp(0), (key, id), &mut out);
    }

    fn wait(&mut self, millis: u64) {
        self.now += millis as i64 * 1_000;
        self.monotonic += Duration::from_millis(millis);
        let (now, monotonic) = (Timestamp(self.now), self.monotonic);
        self.operator.begin(&Turn { now, monotonic });
        if self.operator.next_due().is_some_and(|due| due <= now) {
            let given = &mut self.given;
            let mut out = |_, item: Out| given.push(item.1);
            self.operator.processing_time(now, &mut out);
        }
    }

    fn fault(&mut self) -> Option<String> {
        self.operator.flush(true).err().map(|fault| fault.0)
    }
}

fn poison(times: &[(u64, u32)]) -> Poison {
    Poison::of(times.iter().copied().collect::<HashMap<_, _>>())
}

fn keyed(policy: ItemPolicy, poison: &Poison) -> Bench<impl Operator<Item, Out = Out> + use<>> {
    let poison = poison.clone();
    let function = move |&(key, id): &Item| poison.touch(id).map(|()| (key, id, 0));
    let order = OrderByKey(|item: &Item| item.0);
    Bench::new(TryItems::new(policy, 0, order, TryMap(function)))
}

#[test]
fn later_items_of_a_key_wait_and_others_go_on() {
    let mut bench = keyed(policy(), &poison(&[(2, 1)]));
    for (key, id) in [(0, 2), (0, 4), (1, 6), (0, 8)] {
        bench.item(key, id);
    }
    assert_eq!(bench.given, [6]);
    bench.wait(3);
    assert_eq!(bench.given, [6], "half of the ten milliseconds at least");
    bench.wait(7);
    assert_eq!(bench.given, [6, 2, 4, 8]);
    assert_eq!(bench.operator.next_due(), None);
}

/// Story: what failed after the clock had been set back by an hour was tried again when it had come so far again.
#[test]
fn a_clock_that_goes_back_puts_off_no_try() {
    let mut bench = keyed(policy(), &poison(&[(2, 1), (4, 1)]));
    bench.wait(3_600_000);
    bench.item(0, 2);
    bench.now = 0;
    bench.wait(10);
    assert_eq!(bench.given, [2], "it was due");
    bench.item(0, 4);
    bench.wait(10);
    assert_eq!(bench.given, [2, 4]);
}

/// One that waited fails, too: those behind it go on waiting.
#[test]
fn what_waited_may_fail_as_well() {
    let mut bench = keyed(policy(), &poison(&[(2, 1), (4, 2)]));
    [2, 4, 6].into_iter().for_each(|id| bench.item(0, id));
    bench.wait(10);
    assert_eq!(bench.given, [2]);
    bench.item(0, 8);
    bench.wait(10);
    assert_eq!(bench.given, [2]);
    bench.wait(20);
    assert_eq!(bench.given, [2, 4, 6, 8]);
}

#[test]
fn what_is_skipped_holds_nothing_up() {
    let policy = ItemPolicy::skip().attempts(2, Duration::from_millis(10));
    let mut bench = keyed(policy, &poison(&[(2, u32::MAX)]));
    bench.item(0, 2);
    bench.item(0, 4);
    bench.wait(10);
    assert_eq!(bench.given, [4]);
    let once = ItemPolicy::skip().attempts(1, Duration::ZERO);
    let mut bench = keyed(once, &poison(&[(2, u32::MAX)]));
    bench.item(0, 2);
    bench.item(0, 4);
    assert_eq!(bench.given, [4]);
    assert_eq!(bench.fault(), None);
}

#[test]
fn a_policy_that_halts_names_the_cause() {
    let policy = ItemPolicy::halt().attempts(2, Duration::from_millis(10));
    let mut bench = keyed(policy, &poison(&[(2, u32::MAX)]));
    bench.item(7, 2);
    assert_eq!(bench.fault(), None);
    bench.wait(10);
    // It comes again after the restart.
    bench.item(1, 4);
    assert!(bench.given.is_empty());
    let fault = bench.fault().unwrap();
    assert_eq!(fault, "an item of key 7 failed 2 times: 2 cannot be borne");
}

#[test]
fn what_is_left_to_be_tried_at_the_end_is_tried_at_once() {
    let mut bench = keyed(policy(), &poison(&[(2, 2), (4, 1)]));
    [2, 4, 6].into_iter().for_each(|id| bench.item(0, id));
    let given = &mut bench.given;
    let mut out = |_, item: Out| given.push(item.1);
    bench.operator.watermark(Timestamp::MAX, &mut out);
    assert_eq!(bench.given, [2, 4, 6]);
}

/// Each row: what is done when there is no room, and what has come of it.
#[test]
fn what_waits_is_bounded() {
    let limits = WaitingLimits {
        key_items_max: 2,
        items_max: 4,
        ..WaitingLimits::default()
    };
    let bench = |when_full| {
        let policy = policy().waiting(limits, when_full);
        let mut bench = keyed(policy, &poison(&[(2, 1), (12, 1), (16, 9)]));
        [2, 4, 6, 8].into_iter().for_each(|id| bench.item(0, id));
        bench
    };
    let mut halted = bench(WhenFull::Halt);
    let fault = halted.fault().unwrap();
    assert!(fault.contains("`key_items_max`"), "{fault}");

    let mut skipped = bench(WhenFull::Skip);
    skipped.item(1, 12);
    skipped.item(2, 16);
    assert_eq!(skipped.fault(), None, "the fifth that waits is passed over");
    skipped.wait(10);
    skipped.item(2, 18);
    skipped.given.sort_unstable();
    assert_eq!(skipped.given, [2, 4, 6, 12, 18]);

    let mut dead = bench(WhenFull::DeadLetter);
    assert_eq!(dead.fault(), None);
    dead.item(1, 12);
    let fault = dead.fault().unwrap();
    assert!(fault.contains("`items_max`"), "{fault}");
}

#[test]
fn bytes_that_wait_are_bounded() {
    let limits = WaitingLimits {
        key_bytes_max: 40,
        ..WaitingLimits::default()
    };
    let mut bench = keyed(policy().waiting(limits, WhenFull::Halt), &poison(&[(2, 1)]));
    (1..20).for_each(|n| bench.item(0, 2 * n));
    let fault = bench.fault().unwrap();
    assert!(fault.contains("`key_bytes_max`"), "{fault}");
}

/// Changes all that it can before it fails.
#[derive(Clone)]
struct Pushing(Poison);

impl TryKeyedProcess<u8, Item> for Pushing {
    type State = Vec<u64>;
    type Out = Out;
    type Side = Infallible;
    type Error = String;

    fn item(
        &mut self,
        key: &u8,
        state: &mut Vec<u64>,
        _time: Timestamp,
        &(_, id): &Item,
        ctx: &mut Context<'_, Out>,
    ) -> Result<(), String> {
        state.push(id);
        ctx.set_processing_timer(Timestamp(1));
        if id == 100 {
            ctx.clear_state();
            panic!("a panic after changes");
        }
        ctx.emit((*key, state.iter().sum(), 0));
        self.0.touch(id)
    }
}

#[test]
fn a_call_that_failed_has_changed_nothing() {
    let poison = poison(&[(4, 9)]);
    let policy = ItemPolicy::skip().attempts(1, Duration::ZERO);
    let process = Pushing(poison);
    let mut bench = Bench::new(TryProcess::new(
        policy,
        |item: &Item| item.0,
        process,
        NoSide,
    ));
    for id in [1, 4, 100, 2, 4, 8] {
        bench.item(0, id);
    }
    assert_eq!(bench.given, [1, 3, 11]);
    // Of a key whose only call failed nothing is left, neither state nor timer.
    bench.item(5, 4);
    let mut held = Vec::new();
    bench.operator.state_items(&mut held);
    assert_eq!(held[..2], [("keyed states", 1), ("timers", 1)]);
}

/// Goal: with nothing that fails nothing is cloned, and the key is asked for no more than before.
#[test]
fn items_that_succeed_cost_nothing() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let order = OrderByKey(move |item: &Item| {
        counted.fetch_add(1, Ordering::Relaxed);
        item.0
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let function = move |item: &Item| {
        kept.lock().unwrap().push(item.1);
        Ok::<_, Infallible>((item.0, item.1, 0))
    };
    let operator = TryItems::new(policy(), 0, order, TryMap(function));
    let mut bench = Bench::new(operator);
    (0..9).for_each(|id| bench.item(0, id));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(bench.given, *seen.lock().unwrap());
}

/// Sets a timer of the clock for each item, as many seconds on as its number, and numbers timers from a thousand.
#[derive(Clone)]
struct Waking(Poison);

impl TryKeyedProcess<u8, Item> for Waking {
    type State = Vec<u64>;
    type Out = Out;
    type Side = Infallible;
    type Error = String;

    fn item(
        &mut self,
        key: &u8,
        state: &mut Vec<u64>,
        _time: Timestamp,
        &(_, id): &Item,
        ctx: &mut Context<'_, Out>,
    ) -> Result<(), String> {
        state.push(id);
        ctx.set_processing_timer(Timestamp(id as i64 * 1_000_000));
        ctx.emit((*key, id, 0));
        self.0.touch(id)
    }

    fn timer(
        &mut self,
        key: &u8,
        _state: &mut Vec<u64>,
        timer: Timer,
        ctx: &mut Context<'_, Out>,
    ) -> Result<(), String> {
        if let Timer::Processing(at) = timer {
            ctx.emit((*key, 1_000 + at.0 as u64 / 1_000_000, 0));
        }
        Ok(())
    }
}

fn waking(policy: ItemPolicy, poison: &Poison) -> Bench<impl Operator<Item, Out = Out> + use<>> {
    let process = Waking(poison.clone());
    let key = |item: &Item| item.0;
    Bench::new(TryProcess::new(policy, key, process, NoSide))
}

/// What waits behind the item came before the time of the timer, although both are dealt with in one turn.
#[test]
fn a_timer_comes_behind_what_waited_before_it_was_reached() {
    let policy = ItemPolicy::dead_letter().attempts(2, Duration::from_secs(2));
    let mut bench = waking(policy, &poison(&[(8, 1)]));
    [1, 8, 10].into_iter().for_each(|id| bench.item(0, id));
    bench.wait(2_000);
    assert_eq!(bench.given, [1, 8, 10, 1_001]);
}

/// Behind an item without a place in the queue of its key, the last of that key.
#[test]
fn a_state_stays_for_whatever_waits_of_its_key() {
    let limits = WaitingLimits {
        key_items_max: 1,
        ..WaitingLimits::default()
    };
    let policy = policy().waiting(limits, WhenFull::DeadLetter);
    let mut bench = waking(policy, &poison(&[(2, 1)]));
    [2, 4, 6].into_iter().for_each(|id| bench.item(0, id));
    bench.item(1, 8);
    let given = &mut bench.given;
    let mut out = |_, item: Out| given.push(item.1);
    bench.operator.watermark(Timestamp::MAX, &mut out);
    bench.given.sort_unstable();
    assert_eq!(bench.given, [2, 4, 8, 1_002, 1_004, 1_008]);
    let mut held = Vec::new();
    bench.operator.state_items(&mut held);
    assert_eq!(held[0], ("keyed states", 1), "of the item that has no room");
}
