//! Items in whose place somebody puts others.

use std::collections::HashMap;

use millstream_engine::flow::Operator;
use millstream_engine::state::DeadLetterStatus;

use super::operators::{Poison, keyed, policy, processed, unkeyed};
use super::world::{Item, Out, Step, World};
use crate::stateless::{OrderByKey, TryItems, TryMap};

/// Two items of a key, the first of which is a letter that a checkpoint has.
fn dead<O: Operator<Item, Out = Out>>(make: impl Fn(&Poison) -> O + 'static) -> World<O> {
    let poison = Poison::of(HashMap::from([(2, u32::MAX)]));
    let mut world = World::new(vec![(0, 2), (0, 4)], Box::new(move || make(&poison)));
    let clock = || Step::Clock(40);
    for step in [Step::Take(2), clock(), clock(), clock(), Step::Save] {
        world.step(&step).unwrap();
    }
    assert_eq!(world.letter().status, DeadLetterStatus::Dead);
    world
}

/// The edit was not taken: the letter says so, has the item as it was, and waits for somebody again.
fn is_refused<O: Operator<Item, Out = Out>>(world: &World<O>, class: &str, cause: &str) {
    let letter = world.letter();
    assert_eq!(letter.class, class);
    assert!(letter.cause[0].contains(cause), "{:?}", letter.cause);
    assert_eq!(letter.status, DeadLetterStatus::Dead);
    assert_eq!(letter.payload, b"[0,2]");
}

/// Goal: the state of a key, and what waits behind an item, are for items of that key: an edit that is one of another key is
/// refused, over a restart as well; one of the same key takes the place of its item.
fn an_edit_stays_of_its_key<O: Operator<Item, Out = Out>>(make: impl Fn(&Poison) -> O + 'static) {
    let mut world = dead(make);
    world.edit("[1, 8]");
    let cause = "the edit is an item of key 1, and one of key 0 stays one";
    is_refused(&world, "unreadable", cause);
    for step in [Step::Save, Step::Restart(3)] {
        world.step(&step).unwrap();
        is_refused(&world, "unreadable", cause);
    }
    world.edit("[0]");
    is_refused(&world, "unreadable", "the edit is no item of this stage");
    assert_eq!(world.letter().redrives, 2);
    assert!(world.given_of(0).is_empty() && world.given_of(1).is_empty());
    world.edit("[0, 8]");
    assert!(world.letters().is_empty());
    assert_eq!(world.given_of(0), [8, 4]);
}

#[test]
fn an_edit_of_another_key_is_refused() {
    an_edit_stays_of_its_key(keyed);
    an_edit_stays_of_its_key(processed);
}

/// Where no item waits behind another there is no key to keep.
#[test]
fn without_keys_any_item_takes_the_place() {
    let mut world = dead(unkeyed);
    assert_eq!(world.given_of(0), [4]);
    world.edit("[1, 8]");
    assert!(world.letters().is_empty());
    assert_eq!(world.given_of(1), [8]);
}

/// Danger: the program's function for keys panics on what somebody wrote, at each start again.
#[test]
fn an_edit_without_a_key_is_a_letter() {
    let mut world = dead(|poison| {
        let poison = poison.clone();
        let function = move |&(key, id): &Item| poison.touch(id).map(|()| (key, id, 0));
        let order = OrderByKey(|item: &Item| {
            assert_ne!(item.1, 13, "no item has this number");
            item.0
        });
        TryItems::new(policy(), 0, order, TryMap(function))
    });
    world.edit("[0, 13]");
    is_refused(&world, "panic", "no item has this number");
    world.edit("[0, 8]");
    assert_eq!(world.given_of(0), [8, 4]);
}
