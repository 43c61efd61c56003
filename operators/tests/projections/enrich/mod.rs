//! Promise: what a projection looks up in the tables of another one is what the events up to its own had made there: whichever
//! of the two is ahead, whatever fails, wherever it crashes, live, made anew and in a replay.

mod projections;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_operators::projection::Retention;
use proptest::prelude::*;

use projections::{Item, Looked};
use world::{Happens, World};

const KEYS: u32 = 4;
/// Values of events; any of them may be one that fails.
const VALUES: u32 = 6;

#[derive(Clone, Debug)]
enum Act {
    Add(Vec<(bool, u32, [u32; 2], u32)>),
    StepItems(u8),
    StepOrders(u8),
    StepSecond(u8),
    /// Time passes.
    Wait(u8),
    FailItems(BTreeSet<u32>),
    FailOrders(BTreeSet<u32>),
    /// The second version of the orders begins.
    Begin,
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    let event = || {
        let keys = [0..KEYS, 0..KEYS];
        (any::<bool>(), 0..KEYS, keys, 0..VALUES)
    };
    let failing = || prop::collection::btree_set(0..VALUES, 0..3);
    prop_oneof![
        8 => prop::collection::vec(event(), 1..8).prop_map(Act::Add),
        7 => (1..6u8).prop_map(Act::StepItems),
        7 => (1..6u8).prop_map(Act::StepOrders),
        4 => (1..6u8).prop_map(Act::StepSecond),
        4 => (1..12u8).prop_map(Act::Wait),
        2 => failing().prop_map(Act::FailItems),
        2 => failing().prop_map(Act::FailOrders),
        1 => Just(Act::Begin),
        2 => Just(Act::Crash),
    ]
}

/// An event of an item or an order. With rows by partition an order looks at items that share its partition key.
fn happens(all: bool, (is_item, number, keys, value): &(bool, u32, [u32; 2], u32)) -> Happens {
    let item = |key: u32| format!("i{}@k{}", key / 2, key % 2);
    if *is_item {
        return Happens::Item(item(*number), *value);
    }
    let near = |key: u32| if all { key } else { key / 2 * 2 + number % 2 };
    let keys = keys.map(|key| item(near(key)));
    Happens::Order(format!("o{number}@k{}", number % 2), keys, *value)
}

/// Runs; gives what failed, if that may be.
fn run<const ALL: bool, const OF_ALL: bool>(acts: &[Act], may_fail: bool) -> World<ALL, OF_ALL> {
    let mut world = World::<ALL, OF_ALL>::new();
    for act in acts {
        match act {
            Act::Add(events) => {
                let events: Vec<_> = events.iter().map(|event| happens(ALL, event)).collect();
                world.add(&events);
            }
            Act::StepItems(times) => {
                for _ in 0..*times {
                    world.step_items();
                }
            }
            Act::StepOrders(times) => {
                for _ in 0..*times {
                    world.step_orders().unwrap();
                }
            }
            Act::StepSecond(times) => {
                for _ in 0..*times {
                    world.step_second();
                }
            }
            Act::Wait(millis) => world.advance(Duration::from_millis(u64::from(*millis))),
            Act::FailItems(values) if may_fail => {
                world.items_moods.poison(values.iter().copied());
            }
            Act::FailOrders(values) => {
                world.orders_moods.poison(values.iter().copied());
            }
            Act::FailItems(_) => {}
            Act::Begin => world.begin_second(),
            Act::Crash => world.crash(),
        }
    }
    world.settle();
    world
}

/// Where no item fails: what one event after the other makes.
fn holds<const ALL: bool, const OF_ALL: bool>(acts: &[Act]) {
    let mut world = run::<ALL, OF_ALL>(acts, false);
    let expected = world.expected();
    assert_eq!(world.found(), expected);
    assert_eq!(world.replayed(), expected);
    world.begin_second();
    world.settle();
    assert_eq!(world.found_again(), expected);
}

/// Where items fail: what is made anew is what was made.
fn repeats<const ALL: bool, const OF_ALL: bool>(acts: &[Act]) {
    let mut world = run::<ALL, OF_ALL>(acts, true);
    let found = world.found();
    if acts.iter().any(|act| matches!(act, Act::Begin)) {
        assert_eq!(world.found_again(), found);
    }
    world.begin_second();
    world.settle();
    assert_eq!(world.found_again(), found);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_of_one_partition(acts in prop::collection::vec(act(), 1..40)) {
        holds::<false, false>(&acts);
    }

    #[test]
    fn rows_of_all_partitions(acts in prop::collection::vec(act(), 1..40)) {
        holds::<true, false>(&acts);
    }

    #[test]
    fn rows_that_all_partitions_make(acts in prop::collection::vec(act(), 1..40)) {
        holds::<true, true>(&acts);
    }

    #[test]
    fn the_same_again_where_items_fail(acts in prop::collection::vec(act(), 1..40)) {
        repeats::<false, false>(&acts);
        repeats::<true, false>(&acts);
        repeats::<true, true>(&acts);
    }
}

fn item(id: &str, value: u32) -> Happens {
    Happens::Item(id.to_owned(), value)
}

fn order(id: &str, keys: [&str; 2]) -> Happens {
    Happens::Order(id.to_owned(), keys.map(str::to_owned), 1)
}

#[test]
fn an_order_waits_for_what_it_looks_up_and_says_so() {
    let mut world = World::<false, false>::new();
    world.add(&[item("i@k", 7), order("o@k", ["i@k", "j@k"])]);
    for _ in 0..9 {
        assert!(!world.step_orders().unwrap(), "it goes round and round");
    }
    assert!(world.found().is_empty());
    let (of, _, cause) = world.board().waits_for().unwrap();
    assert_eq!(of, "items");
    assert!(cause.is_none());
    world.board_of_items().stop("it broke");
    let (_, _, cause) = world.board().waits_for().unwrap();
    assert!(cause.unwrap().to_string().contains("it broke"));
    world.settle();
    assert!(world.board().waits_for().is_none());
    assert_eq!(world.found()["o@k/0"], [Some(vec![7]), None]);
}

/// Story: it was an error once it was stored, so that what was made of an order depended on when it was looked at.
#[test]
fn a_row_of_another_partition_is_none_whenever_it_is_looked_up() {
    let mut world = World::<false, false>::new();
    let all = ["i@a", "i@b", "i@c", "i@d"];
    let orders = all.map(|key| order("o@a", ["i@a", key]));
    world.add(&orders);
    world.settle();
    world.add(&all.map(|key| item(key, 7)));
    world.settle();
    world.add(&orders);
    world.settle();
    let found = world.found();
    let near = found.values().flatten().filter(|row| row.is_some());
    assert!(
        near.count() < all.len() * 2,
        "keys are of several partitions"
    );
    assert_eq!(world.replayed(), found);
    world.begin_second();
    world.settle();
    assert_eq!(world.found_again(), found);
}

#[test]
fn what_is_not_kept_any_more_is_an_error() {
    let mut world = World::<false, false>::new();
    world.retention = Retention::last(1);
    world.crash();
    for value in 1..200 {
        world.add(&[item("i@k", value), order("o@k", ["i@k", "j@k"])]);
        world.step_items();
        world.advance(Duration::from_millis(9));
        world.step_items();
    }
    let mut failed = None;
    for _ in 0..50 {
        if let Err(cause) = world.step_orders() {
            failed = Some(cause);
            break;
        }
    }
    let cause = failed.expect("the first versions are gone");
    assert!(cause.contains("is not kept any more"), "{cause}");
    assert!(world.found().is_empty());
}

/// Goal: an event that was edited finds what stood at its own place in the log, however far the others are by then; and so it
/// does in a replay, in rows that are made anew and after a crash.
fn an_edited_order_looks_from_its_place<const ALL: bool, const OF_ALL: bool>() {
    let mut world = World::<ALL, OF_ALL>::new();
    world.attempts_max = 1;
    world.crash();
    world.orders_moods.poison([5]);
    let keys = ["i@k", "j@k"].map(str::to_owned);
    let poison = Happens::Order("o@k".to_owned(), keys, 5);
    world.add(&[item("i@k", 1), poison]);
    world.come_to_rest();
    let later = [item("i@k", 2), item("j@k", 3), order("o@k", ["i@k", "j@k"])];
    world.add(&later);
    world.come_to_rest();
    assert!(world.found().is_empty(), "the later one waits");
    // In another order than the event has them: it is seen which of the two was applied.
    world.edit(&Looked::At(["j@k", "i@k"].map(str::to_owned), 1));
    world.settle();
    let found = world.found();
    assert_eq!(found["o@k/0"], [None, Some(vec![1])]);
    assert_eq!(found["o@k/1"], [Some(vec![1, 2]), Some(vec![3])]);
    assert_eq!(world.replayed(), found);
    world.begin_second();
    world.settle();
    assert_eq!(world.found_again(), found);
    world.crash();
    world.settle();
    assert_eq!(world.found(), found);
}

#[test]
fn an_edited_order_finds_what_stood_at_its_place() {
    an_edited_order_looks_from_its_place::<false, false>();
    an_edited_order_looks_from_its_place::<true, false>();
    an_edited_order_looks_from_its_place::<true, true>();
}

/// Goal: where events of the others are edited, what is found is the edited, in a replay as well.
#[test]
fn an_order_finds_items_as_they_were_edited() {
    let mut world = World::<false, false>::new();
    world.attempts_max = 1;
    world.crash();
    world.items_moods.poison([5]);
    world.add(&[item("i@k", 1), item("i@k", 5), item("i@k", 2)]);
    world.come_to_rest();
    world.edit(&Item::Value(4));
    world.settle();
    world.add(&[order("o@k", ["i@k", "j@k"])]);
    world.settle();
    let found = world.found();
    assert_eq!(found["o@k/0"], [Some(vec![1, 4, 2]), None]);
    assert_eq!(world.replayed(), found);
}
