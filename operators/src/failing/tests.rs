//! Items that fail at random, with restarts, other numbers of partitions and decisions at any moment, against what should
//! come out: each key's items in their order, each once, without those that were given up.

mod batches;
mod edits;
mod mute;
mod nil_keys;
mod operators;
mod restarts;
mod rules;
mod world;

use millstream_engine::flow::Operator;
use proptest::prelude::*;

use self::operators::{Balances, Poison, TIMER, bounded, keyed, processed, unkeyed};
use self::world::{Item, Out, Step, World, steps};

/// Runs the steps, then mends everything and has all that is dead tried again.
fn run<O: Operator<Item, Out = Out>>(
    make: impl Fn(&Poison) -> O + 'static,
    poison: Poison,
    items: &[u8],
    steps: &[Step],
) -> Result<World<O>, TestCaseError> {
    let items = items.iter().enumerate();
    let items: Vec<Item> = items.map(|(id, key)| (*key, id as u64)).collect();
    let made = poison.clone();
    let mut world = World::new(items, Box::new(move || make(&made)));
    for step in steps {
        world.step(step)?;
    }
    world.finish(&poison)?;
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_keyed_function_keeps_the_order_of_each_key(
        items in prop::collection::vec(0..4u8, 1..60),
        poison in Poison::some(),
        steps in steps(),
    ) {
        let world = run(keyed, poison, &items, &steps)?;
        for key in 0..4 {
            prop_assert_eq!(world.given_of(key), world.expected_of(key), "key {}", key);
        }
    }

    #[test]
    fn a_function_without_keys_gives_each_item_once(
        items in prop::collection::vec(0..4u8, 1..60),
        poison in Poison::some(),
        steps in steps(),
    ) {
        let world = run(unkeyed, poison, &items, &steps)?;
        for key in 0..4 {
            let mut given = world.given_of(key);
            given.sort_unstable();
            prop_assert_eq!(given, world.expected_of(key), "key {}", key);
        }
    }

    #[test]
    fn what_finds_no_room_is_a_letter_of_its_own(
        items in prop::collection::vec(0..4u8, 1..60),
        poison in Poison::some(),
        steps in steps(),
    ) {
        let world = run(bounded, poison, &items, &steps)?;
        for key in 0..4 {
            let mut given = world.given_of(key);
            given.sort_unstable();
            prop_assert_eq!(given, world.expected_of(key), "key {}", key);
        }
    }

    #[test]
    fn a_process_has_the_state_of_its_successful_calls(
        items in prop::collection::vec(0..4u8, 1..60),
        poison in Poison::some(),
        steps in steps(),
    ) {
        let world = run(processed, poison, &items, &steps)?;
        for key in 0..4 {
            let given = world.given_of(key);
            let items: Vec<_> = given.iter().copied().filter(|id| *id < TIMER).collect();
            prop_assert_eq!(&items, &world.expected_of(key), "key {}", key);
            let mut timers: Vec<_> = given.iter().copied().filter(|id| *id >= TIMER).collect();
            timers.sort_unstable();
            let timer = |id: &u64| Balances::sets_timer(*id).then_some(TIMER + id);
            let mut expected: Vec<_> = items.iter().filter_map(timer).collect();
            expected.retain(|timer| !world.discarded.contains(timer));
            prop_assert_eq!(timers, expected, "timers of key {}", key);
            let counts = world.counts_of(key);
            prop_assert_eq!(counts, (1..=given.len() as u64).collect::<Vec<_>>());
        }
    }
}
