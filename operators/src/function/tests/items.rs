//! Functions that keep items: extremes, first and last, best, all, distinct, combined.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::laws::{Items, added, check, items};
use crate::function::{
    AggregateFunction, Optional, collect, collect_sorted, distinct, distinct_set, first, fold,
    fold_merging, last, max, max_all, max_by_key, min, min_all, min_by_key, reduce, top_k,
};

/// A key that ties often, and something to tell items apart.
type Item = (u8, String);

fn item() -> impl Strategy<Value = Item> {
    (0_u8..6, "[ab]{0,2}")
}

/// The items, sorted by a key.
fn sorted<K: Ord>(items: &Items<Item>, key: impl Fn(&(Timestamp, Item)) -> K) -> Vec<Item> {
    let mut sorted = items.clone();
    sorted.sort_by_key(key);
    sorted.into_iter().map(|(_, item)| item).collect()
}

proptest! {
    #[test]
    fn extremes(items in items(item()), seed: u64) {
        let keys = || items.iter().map(|(_, item)| item.0);
        check(&min(|item: &Item| item.0), &items, seed, &keys().min());
        check(&max(|item: &Item| item.0), &items, seed, &keys().max());

        let low = sorted(&items, |(time, item)| (item.0, *time, item.clone()));
        let high = sorted(&items, |(time, item)| (Reverse(item.0), *time, item.clone()));
        check(&min_by_key(|item: &Item| item.0), &items, seed, &low.first().cloned());
        check(&max_by_key(|item: &Item| item.0), &items, seed, &high.first().cloned());

        let ties = |sorted: &[Item]| -> Vec<Item> {
            let best = sorted.first().map(|item| item.0);
            sorted.iter().filter(|item| Some(item.0) == best).cloned().collect()
        };
        check(&min_all(|item: &Item| item.0), &items, seed, &ties(&low));
        check(&max_all(|item: &Item| item.0), &items, seed, &ties(&high));
    }

    #[test]
    fn first_and_last(items in items(item()), seed: u64) {
        let by_time = sorted(&items, Clone::clone);
        check(&first(), &items, seed, &by_time.first().cloned());
        check(&last(), &items, seed, &by_time.last().cloned());
        check(&collect_sorted(), &items, seed, &by_time);
    }

    #[test]
    fn the_best_k(items in items(item()), limit in 0_usize..12, seed: u64) {
        let mut best = sorted(&items, |(time, item)| (Reverse(item.0), *time, item.clone()));
        best.truncate(limit);
        check(&top_k(limit, |item: &Item| item.0), &items, seed, &best);
    }

    #[test]
    fn distinct_values(items in items(item()), seed: u64) {
        let set: BTreeSet<String> = items.iter().map(|(_, item)| item.1.clone()).collect();
        check(&distinct(|item: &Item| item.1.clone()), &items, seed, &(set.len() as u64));
        check(&distinct_set(|item: &Item| item.1.clone()), &items, seed, &set);
    }

    #[test]
    fn reduced_and_folded(items in items(0_u64..1_000), seed: u64) {
        let expected = items.iter().map(|(_, item)| *item).reduce(u64::max);
        check(&reduce(|one: &u64, other: &u64| *one.max(other)), &items, seed, &expected);
        let total: u64 = items.iter().map(|(_, item)| *item).sum();
        let adding = |total: &mut u64, item: &u64| *total += item;
        check(&fold(0, adding), &items, seed, &total);
        check(&fold_merging(0, adding, adding), &items, seed, &total);
    }

    /// That a value was `None` was forgotten where it was stored: it is the least of all, and the greatest of its like.
    #[test]
    fn extremes_of_optional_values(items in items(prop::option::weighted(0.3, 0_u8..4)), seed: u64) {
        let values = || items.iter().map(|(_, item)| *item);
        let itself = |item: &Option<u8>| *item;
        let (least, greatest) = (values().min(), values().max());
        check(&min(itself), &items, seed, &least);
        check(&max(itself), &items, seed, &greatest);
        check(&reduce(|one: &Option<u8>, other| *one.min(other)), &items, seed, &least);
        check(&min_by_key(itself), &items, seed, &least);
        check(&max_by_key(itself), &items, seed, &greatest);
        let ties = values().filter(|value| Some(*value) == least).collect();
        check(&min_all(itself), &items, seed, &ties);
        let by_time = items.iter().copied();
        check(&last(), &items, seed, &by_time.max().map(|(_, item)| item));
        check(&distinct_set(itself), &items, seed, &values().collect());
        let nothing: Items<()> = items.iter().map(|(time, _)| (*time, ())).collect();
        check(&max(|(): &()| ()), &nothing, seed, &nothing.first().map(|_| ()));
    }

    #[test]
    fn collected_as_they_come(items in items(item()), cut in 0.0..1.0) {
        let cut = (items.len() as f64 * cut) as usize;
        let mut accumulator = added(&collect(), &items[..cut]);
        let rest = added(&collect(), &items[cut..]);
        AggregateFunction::<Item>::merge(&collect(), &mut accumulator, &rest);
        let expected: Vec<Item> = items.iter().map(|(_, item)| item.clone()).collect();
        prop_assert_eq!(AggregateFunction::<Item>::finish(&collect(), &accumulator), expected);
    }
}

#[test]
fn a_fold_starts_from_its_start_and_keeps_the_order() {
    let function = fold(String::from(">"), |text: &mut String, item: &char| {
        text.push(*item)
    });
    let items: Items<char> = "mill"
        .chars()
        .map(|item| (Timestamp::EPOCH, item))
        .collect();
    assert_eq!(function.finish(&added(&function, &items)), ">mill");
}

/// A panic in user code must not lose what was kept before it.
#[test]
fn a_panic_in_reduce_leaves_the_accumulator_as_it_was() {
    let function = reduce(|one: &u32, other: &u32| {
        assert!(*other != 13, "an unlucky number");
        one + other
    });
    let mut accumulator = Optional(Some(7));
    let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        function.add(&mut accumulator, Timestamp::EPOCH, &13);
    }));
    assert!(attempt.is_err());
    assert_eq!(accumulator, Optional(Some(7)));
}
