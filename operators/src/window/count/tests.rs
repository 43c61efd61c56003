//! Windows of another number of items than those that were stored.
//!
//! Once nothing was noticed: a window that had more items than the new number was never full, and grew for ever.

use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;

use super::{Count, CountWindows};
use crate::function::{AggregateFunction, collect, fold, sum};
use crate::restart::Saves;
use crate::window::{CountLate, Windowed};

type Item = (u8, i64);
type Windows<A> = CountWindows<Item, u8, fn(&Item) -> u8, A, CountLate>;

fn windows<A>(count: Count, function: A) -> Windows<A>
where
    A: AggregateFunction<Item>,
{
    CountWindows::new(count, |item| item.0, function, CountLate::new())
}

/// What is saved after so many items of one key.
fn saved<A: AggregateFunction<Item>>(count: Count, function: A, items: i64) -> Saves {
    let mut operator = windows(count, function);
    for number in 0..items {
        operator.item(Timestamp(number), (7, number), &mut |_, _| {});
    }
    operator.watermark(Timestamp(3), &mut |_, _| {});
    let mut saves = Saves::default();
    saves.save(&mut operator);
    saves
}

/// The same as earlier versions saved it.
fn saved_once<A: AggregateFunction<Item>>(count: Count, function: A, items: i64) -> Saves {
    let mut saves = saved(count, function, items);
    saves.replace("watermark of count windows", &Timestamp(3));
    saves
}

#[test]
fn windows_of_another_number_of_items_are_refused() {
    let saves = saved(Count::of(3), collect(), 2);
    assert_eq!(saves.refusal(&mut windows(Count::of(3), collect())), None);
    for other in [Count::of(2), Count::of(4), Count::of(3).every(2)] {
        let said = saves.refusal(&mut windows(other, collect())).unwrap();
        assert!(said.contains("count windows of 3 items every 3,"), "{said}");
    }
    // Also where no key has anything.
    let said = saved(Count::of(3), collect(), 3).refusal(&mut windows(Count::of(2), collect()));
    assert!(said.unwrap().contains("now has 2 items every 2"));
}

#[test]
fn windows_whose_number_was_not_stored_go_on_where_they_can() {
    let number: fn(&Item) -> i64 = |item| item.1;
    let last = fold(0, |last: &mut i64, item: &Item| *last = item.1);
    // What each key has is what the new windows would have of it.
    let saves = saved_once(Count::of(3), collect(), 2);
    for same in [Count::of(3), Count::of(4)] {
        assert_eq!(saves.refusal(&mut windows(same, collect())), None);
    }
    let mut operator = windows(Count::of(3), collect());
    saves.restore(&mut operator);
    let mut given = Vec::new();
    let mut out = |_, window: Windowed<u8, Vec<Item>>| given.push(window.value);
    operator.item(Timestamp(9), (7, 9), &mut out);
    assert_eq!(given, [[(7, 0), (7, 1), (7, 9)]]);
    let saves = saved_once(Count::of(6).every(4), sum(number), 11);
    assert_eq!(
        saves.refusal(&mut windows(Count::of(6).every(4), sum(number))),
        None
    );
    // It is not.
    let saves = saved_once(Count::of(3), collect(), 2);
    let said = saves.refusal(&mut windows(Count::of(2), collect()));
    assert!(said.unwrap().contains("another number of items"));
    let saves = saved_once(Count::of(2).every(5), last, 4);
    for other in [Count::of(5), Count::of(2).every(3)] {
        assert!(saves.refusal(&mut windows(other, last)).is_some());
    }
    let saves = saved_once(Count::of(6).every(4), sum(number), 11);
    // Other runs, runs that are gone, and windows that share none.
    for other in [Count::of(9).every(3), Count::of(12).every(2), Count::of(6)] {
        let said = saves.refusal(&mut windows(other, sum(number)));
        assert!(said.is_some(), "{other:?}");
    }
}
