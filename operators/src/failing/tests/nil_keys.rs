//! A key that is written as nothing, such as `None` or `()`, was taken for no key after a restart. What waited for it was then
//! given up without a word, with its letter, and items of the key that came later went ahead.

use std::collections::HashMap;
use std::convert::Infallible;

use millstream_engine::flow::{exchange_hash, target_of};
use millstream_engine::time::Timestamp;

use super::operators::{Balances, Poison, TIMER, policy};
use super::world::{Item, Out, Step, World};
use crate::Key;
use crate::failing::{ItemPolicy, WaitingLimits, WhenFull};
use crate::keyed::{Context, NoSide, Timer, TryKeyedProcess, TryProcess};

/// [`Balances`] of any kind of key.
#[derive(Clone)]
struct Numbered(Poison);

impl<K: Key> TryKeyedProcess<K, Item> for Numbered {
    /// How many there were, and the number of the last one's key.
    type State = (u64, u8);
    type Out = Out;
    type Side = Infallible;
    type Error = String;

    fn item(
        &mut self,
        _key: &K,
        state: &mut (u64, u8),
        _time: Timestamp,
        &(key, id): &Item,
        ctx: &mut Context<'_, Out>,
    ) -> Result<(), String> {
        *state = (state.0 + 1, key);
        ctx.emit((key, id, state.0));
        if Balances::sets_timer(id) {
            ctx.set_event_timer(Timestamp(Balances::timer_at(id)));
        }
        self.0.touch(id)
    }

    fn timer(
        &mut self,
        _key: &K,
        state: &mut (u64, u8),
        _timer: Timer,
        ctx: &mut Context<'_, Out>,
    ) -> Result<(), String> {
        state.0 += 1;
        ctx.emit((state.1, TIMER, state.0));
        self.0.touch(TIMER)
    }
}

type Process<K> = TryProcess<Item, K, fn(&Item) -> K, Numbered>;

fn world<K: Key>(
    policy: ItemPolicy,
    key: fn(&Item) -> K,
    target: fn(u8, usize) -> usize,
    items: &[Item],
    poison: &Poison,
) -> World<Process<K>> {
    let process = Numbered(poison.clone());
    let make = move || TryProcess::new(policy, key, process.clone(), NoSide);
    World::new(items.to_vec(), Box::new(make)).targeted(target)
}

fn optional((key, _): &Item) -> Option<u8> {
    (*key > 0).then_some(*key)
}

fn target(key: u8, partitions: usize) -> usize {
    target_of(exchange_hash(&optional(&(key, 0))), partitions)
}

fn poison(id: u64) -> Poison {
    Poison::of(HashMap::from([(id, u32::MAX)]))
}

const ITEMS: [Item; 5] = [(0, 0), (0, 1), (0, 2), (1, 4), (0, 5)];

/// What waits, in all.
fn held<K: Key>(world: &World<Process<K>>) -> usize {
    world.held()["failed items and what waits behind them"]
}

/// From what was saved last, perhaps as a version before would have saved it.
fn restart<K: Key>(world: &mut World<Process<K>>, partitions: usize, is_before: bool) {
    if is_before {
        world.rewrite_saved(b"\xa2of\x91\xc0", b"\xa3key\xc0");
    }
    // It also sees to it that all letters are what they were.
    world.step(&Step::Restart(partitions)).unwrap();
}

/// An item fails, another one, a timer and `others` wait behind it, and one more that comes after a restart.
fn waits<K: Key>(world: &mut World<Process<K>>, others: usize, is_before: bool, poison: &Poison) {
    let failed = [Step::Take(4), Step::Watermark(10), Step::Save];
    failed.iter().for_each(|step| world.step(step).unwrap());
    assert_eq!(held(world), 3 + others);
    assert_eq!(world.letter().key, "null");
    for partitions in [2, 3] {
        restart(world, partitions, is_before);
        world.step(&Step::Take(1)).unwrap();
        assert_eq!(held(world), 4 + others);
        assert_eq!(world.given_of(0), [0]);
    }
    world.finish(poison).unwrap();
}

#[test]
fn what_waits_for_a_key_of_nothing_waits_after_restarts() {
    for is_before in [false, true] {
        let poison = poison(1);
        let mut world = world(policy(), optional, target, &ITEMS, &poison);
        waits(&mut world, 0, is_before, &poison);
        assert_eq!(world.given_of(0), [0, 1, 2, TIMER, 5]);
        assert_eq!(world.given_of(1), [4]);
    }
}

#[test]
fn so_it_does_where_all_have_one_key() {
    for is_before in [false, true] {
        let poison = poison(1);
        let target = |_, partitions| target_of(exchange_hash(&()), partitions);
        let mut world = world(policy(), |_| (), target, &ITEMS, &poison);
        waits(&mut world, 1, is_before, &poison);
        assert_eq!(world.given_of(0), [0, 1, 2, 5]);
        assert_eq!(world.given_of(1), [4, TIMER]);
    }
}

/// No item tells the key of a timer that waits alone.
#[test]
fn a_timer_of_a_key_of_nothing_waits() {
    for is_before in [false, true] {
        let poison = poison(TIMER);
        let mut world = world(policy(), optional, target, &ITEMS[..1], &poison);
        let failed = [Step::Take(1), Step::Watermark(10), Step::Save];
        failed.iter().for_each(|step| world.step(step).unwrap());
        restart(&mut world, 3, is_before);
        assert_eq!(held(&world), 1);
        world.finish(&poison).unwrap();
        assert_eq!(world.given_of(0), [0, TIMER]);
    }
}

/// Nothing waits behind what did not find room behind another item.
#[test]
fn a_letter_of_an_item_that_found_no_room_keeps_its_key() {
    let limits = WaitingLimits {
        key_items_max: 1,
        ..WaitingLimits::default()
    };
    let policy = policy().waiting(limits, WhenFull::DeadLetter);
    for is_before in [false, true] {
        let poison = poison(1);
        let mut world = world(policy, optional, target, &ITEMS[1..], &poison);
        let full = [Step::Take(4), Step::Save];
        full.iter().for_each(|step| world.step(step).unwrap());
        let keys = |world: &World<_>| -> Vec<_> {
            let letters = world.letters().into_values();
            letters.map(|letter| letter.key.to_string()).collect()
        };
        assert_eq!(keys(&world), ["null", "null"]);
        restart(&mut world, 3, is_before);
        assert_eq!(keys(&world), ["null", "null"]);
        world.finish(&poison).unwrap();
        let mut given = world.given_of(0);
        given.sort_unstable();
        assert_eq!(given, [1, 2, 5]);
    }
}
