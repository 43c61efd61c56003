//! Tuples, adaptors and the contract's own defaults.

use proptest::prelude::*;

use super::laws::{check, items};
use crate::function::{Adapt, AggregateFunction, collect, count, fold, last, max, mean, min, sum};

proptest! {
    #[test]
    fn tuples_and_adaptors(items in items(-100_i32..100), seed: u64) {
        let positive = || items.iter().map(|(_, item)| *item).filter(|item| *item > 0);
        let function = (
            count().only(|item: &i32| *item > 0),
            sum(|item: &i32| *item).only(|item: &i32| *item > 0).map(|total: i64| -total),
            sum(|half: &i32| *half).of(|item: &i32| item / 2),
        );
        let expected = (
            positive().count() as u64,
            -positive().map(i64::from).sum::<i64>(),
            items.iter().map(|(_, item)| i64::from(item / 2)).sum::<i64>(),
        );
        check(&function, &items, seed, &expected);
        check(&function.map(|all: (u64, i64, i64)| all.2), &items, seed, &expected.2);
    }

    #[test]
    fn eight_functions_at_once(items in items(-100_i32..100), seed: u64) {
        let value = |item: &i32| *item;
        let function =
            (count(), sum(value), min(value), max(value), last(), mean(value), count(), count());
        let length = items.len() as u64;
        let values = || items.iter().map(|(_, item)| *item);
        let total: i64 = values().map(i64::from).sum();
        let expected = (
            length,
            total,
            values().min(),
            values().max(),
            items.iter().max().map(|(_, item)| *item),
            (length > 0).then(|| total as f64 / length as f64),
            length,
            length,
        );
        check(&function, &items, seed, &expected);
    }
}

/// Whether accumulators of functions of `u8` grow.
fn grows<F: AggregateFunction<u8>>(_function: &F) -> bool {
    F::GROWS
}

#[test]
fn what_is_made_of_what_grows_grows() {
    assert!(grows(&(count(), collect())));
    assert!(grows(
        &collect()
            .only(|item: &u8| *item > 1)
            .map(|all: Vec<u8>| all.len())
    ));
    assert!(!grows(&(count(), sum(|item: &u8| *item))));
}

/// Whether functions of `u8` merge and invert.
fn abilities<F: AggregateFunction<u8>>(_function: &F) -> (bool, bool) {
    (F::MERGES, F::INVERTS)
}

#[test]
fn a_tuple_can_what_all_its_parts_can() {
    let stays = |_: &mut u8, _: &u8| {};
    assert_eq!(abilities(&(count(),)), (true, true));
    assert_eq!(abilities(&(count(), sum(|item: &u8| *item))), (true, true));
    assert_eq!(abilities(&(count(), collect())), (true, false));
    assert_eq!(abilities(&(count(), fold(0, stays))), (false, false));
    assert_eq!(abilities(&sum(|item: &u8| f64::from(*item))), (true, false));
    let adapted = count()
        .only(|item: &u8| *item > 1)
        .map(|count: u64| count + 1);
    assert_eq!(abilities(&adapted), (true, true));
    assert_eq!(
        abilities(&fold(0, stays).map(|found: u8| found)),
        (false, false)
    );
}

#[test]
#[should_panic(expected = "set MERGES only together with an implementation of merge")]
fn merging_what_does_not_merge_says_so() {
    let function = fold(0, |_: &mut u8, _: &u8| {});
    function.merge(&mut 0, &0);
}

#[test]
#[should_panic(expected = "set INVERTS only together with implementations of subtract and merge")]
fn subtracting_what_does_not_invert_says_so() {
    let function = max(|item: &u8| *item);
    function.subtract(&mut function.create(), &function.create());
}
