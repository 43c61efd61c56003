//! What restarts must leave as it is, each in a small example.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_engine::flow::{Operator, Turn};
use millstream_engine::time::Timestamp;

use super::operators::{Balances, Poison, TIMER, processed};
use super::world::{Item, Out, Step, World};
use crate::failing::{ItemPolicy, LetterStanding};
use crate::keyed::{NoSide, TryProcess};
use crate::restart::Saves;
use crate::stateless::{OrderByKey, TryItems, TryMap};

fn poison(times: &[(u64, u32)]) -> Poison {
    Poison::of(times.iter().copied().collect::<HashMap<_, _>>())
}

/// A timer that is reached while its key is held is in the queue of the key from then on, and nowhere else.
#[test]
fn a_timer_that_waits_is_one_after_any_number_of_restarts() {
    let poison = poison(&[(1, u32::MAX)]);
    let made = poison.clone();
    let items = vec![(0, 0), (0, 1), (0, 2)];
    let mut world = World::new(items, Box::new(move || processed(&made)));
    let reached = [Step::Take(3), Step::Watermark(10), Step::Save];
    let again = [Step::Restart(2), Step::Save, Step::Restart(3), Step::Save];
    let held = |world: &World<_>| world.held()["failed items and what waits behind them"];
    reached.iter().for_each(|step| world.step(step).unwrap());
    assert_eq!(held(&world), 3, "an item, the next one and the timer");
    again.iter().for_each(|step| world.step(step).unwrap());
    assert_eq!(held(&world), 3);
    world.finish(&poison).unwrap();
    assert_eq!(world.given_of(0), [0, 1, 2, TIMER]);
}

/// Ends with a dead letter, and begins again at the end with a policy that has it tried: what comes of that goes to
/// operators that are behind, which are not begun when the watermark is told once more.
fn restart_at_the_end<O: Operator<Item, Out = Out>>(make: impl Fn(ItemPolicy, Poison) -> O) {
    let poison = poison(&[(1, 1)]);
    let turn = Turn {
        now: Timestamp(1),
        monotonic: Duration::from_micros(1),
    };
    let mut given = Vec::new();
    let policy = ItemPolicy::dead_letter().attempts(1, Duration::ZERO);
    let mut operator = make(policy, poison.clone());
    operator.begin(&turn);
    for id in [1, 2] {
        operator.item(Timestamp(0), (0, id), &mut |_, item: Out| {
            given.push(item.1)
        });
    }
    operator.watermark(Timestamp::MAX, &mut |_, item: Out| given.push(item.1));
    let mut saves = Saves::default();
    saves.save(&mut operator);

    let policy = ItemPolicy::skip().attempts(2, Duration::ZERO);
    let mut operator = make(policy, poison);
    saves.restore(&mut operator);
    operator.watermark(Timestamp::MAX, &mut |_, item: Out| given.push(item.1));
    assert!(given.is_empty(), "{given:?}");
    operator.begin(&turn);
    assert!(operator.next_due().is_some_and(|due| due <= turn.now));
    operator.processing_time(turn.now, &mut |_, item: Out| given.push(item.1));
    assert_eq!(given, [1, 2]);
    assert!(operator.before_end(&mut |_, item: Out| given.push(item.1)));
    operator.end(&mut |_, item: Out| given.push(item.1));
    assert_eq!(given, [1, 2]);
}

#[test]
fn nothing_is_tried_before_the_first_turn() {
    restart_at_the_end(|policy, poison| {
        let function = move |&(key, id): &Item| poison.touch(id).map(|()| (key, id, 0));
        TryItems::new(
            policy,
            0,
            OrderByKey(|item: &Item| item.0),
            TryMap(function),
        )
    });
    restart_at_the_end(|policy, poison| {
        let process = Balances(poison);
        TryProcess::new(policy, |item: &Item| item.0, process, NoSide)
    });
}

/// Story: what failed while the clock was a day ahead was tried again a day after the restart.
#[test]
fn what_was_saved_waits_no_longer_than_it_may() {
    const DAY: Timestamp = Timestamp(86_400_000_000);
    let policy = ItemPolicy::dead_letter().attempts(5, Duration::from_millis(10));
    let poison = poison(&[(2, 1), (4, 1)]);
    let make = || {
        let poison = poison.clone();
        let function = move |&(key, id): &Item| poison.touch(id).map(|()| (key, id, 0));
        TryItems::new(
            policy,
            0,
            OrderByKey(|item: &Item| item.0),
            TryMap(function),
        )
    };
    let turn = |now| Turn {
        now,
        monotonic: Duration::ZERO,
    };
    let mut operator = make();
    operator.begin(&turn(DAY));
    for item in [(0, 2), (1, 4)] {
        operator.item(DAY, item, &mut |_, _: Out| panic!("{item:?} did not fail"));
    }
    let mut saves = Saves::default();
    saves.save(&mut operator);

    let mut operator = make();
    saves.restore(&mut operator);
    operator.begin(&turn(Timestamp::EPOCH));
    let latest = Timestamp::EPOCH.saturating_add(policy.retry.backoff_max);
    assert!(operator.next_due().is_some_and(|due| due <= latest));
    let mut given = Vec::new();
    // The other one comes a redrive's gap later.
    let latest = latest.saturating_add(Duration::from_millis(1));
    operator.begin(&turn(latest));
    operator.processing_time(latest, &mut |_, item: Out| given.push(item.1));
    given.sort_unstable();
    assert_eq!(given, [2, 4]);
}

/// What has come of an item in a run that was given up says nothing about it in the one that took its place.
#[test]
fn a_run_that_was_given_up_shows_nothing_any_more() {
    let poison = poison(&[(1, 3)]);
    let mut world = World::new(vec![(0, 1), (0, 2)], Box::new(move || processed(&poison)));
    let failed = [Step::Take(1), Step::Save];
    failed.iter().for_each(|step| world.step(step).unwrap());
    let given_up = world.give_up();
    let dead = [
        Step::Restart(2),
        Step::Clock(40),
        Step::Clock(40),
        Step::Save,
    ];
    dead.iter().for_each(|step| world.step(step).unwrap());
    let letter = *world.letters().keys().next().unwrap();
    let open = LetterStanding::Open { redrives: 0 };
    assert_eq!(world.shared.standing(letter), open);
    let turn = world.now();
    for mut operator in given_up {
        operator.begin(&turn);
        // Here the item succeeds.
        operator.processing_time(turn.now, &mut |_, _| {});
    }
    assert_eq!(world.shared.standing(letter), open);
}

/// A letter that is stored goes with its item also where the policy keeps none any more, and nobody is told to wait for
/// a checkpoint to decide about it.
#[test]
fn letters_of_an_earlier_policy_are_settled() {
    let poison = poison(&[(1, 2)]);
    let skips = Arc::new(AtomicBool::new(false));
    let make = {
        let (skips, poison) = (Arc::clone(&skips), poison);
        move || {
            let policy = match skips.load(Ordering::Relaxed) {
                true => ItemPolicy::skip(),
                false => ItemPolicy::dead_letter(),
            };
            let policy = policy.attempts(1, Duration::ZERO);
            let process = Balances(poison.clone());
            TryProcess::new(policy, |item: &Item| item.0, process, NoSide)
        }
    };
    let mut world = World::new(vec![(0, 1), (0, 2)], Box::new(make));
    let dead = [Step::Take(2), Step::Save];
    dead.iter().for_each(|step| world.step(step).unwrap());
    let letter = *world.letters().keys().next().unwrap();
    skips.store(true, Ordering::Relaxed);
    world.step(&Step::Restart(2)).unwrap();
    assert!(world.letters().is_empty());
    assert_eq!(world.given_of(0), [2]);
    assert_eq!(world.shared.standing(letter), LetterStanding::Unknown);
    assert!(world.shared.has_begun(letter.projection, "stage"));
    assert!(!world.shared.has_begun(letter.projection, "stage#2"));
}
