//! Sketches against the truth: errors within what is promised, answers that do not depend on order or merging.

use std::collections::{BTreeMap, BTreeSet};

use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::laws::{Dice, Items, added, check, items, stored};
use crate::function::{
    AggregateFunction, Distribution, distinct_approximate, heavy_hitters, quantiles,
};

fn at_once<T>(items: impl IntoIterator<Item = T>) -> Items<T> {
    items
        .into_iter()
        .map(|item| (Timestamp::EPOCH, item))
        .collect()
}

proptest! {
    /// In either form: adding, merging and storing give the same answer and the same registers.
    #[test]
    fn distinct_counts_do_not_depend_on_order(items in items(any::<u16>()), precision in 4_u8..10, seed: u64) {
        let function = distinct_approximate(precision, |item: &u16| *item);
        let mut sorted = items.clone();
        sorted.sort_unstable();
        let expected = added(&function, &sorted);
        check(&function, &items, seed, &function.finish(&expected));
        prop_assert_eq!(added(&function, &items), expected);
    }

    /// 120 values at most in 16,384 registers: linear counting, nearly exact.
    #[test]
    fn few_distinct_values_are_counted_nearly_exactly(items in items(any::<u64>())) {
        let function = distinct_approximate(14, |item: &u64| *item);
        let truth = items.iter().map(|(_, item)| *item).collect::<BTreeSet<u64>>().len() as f64;
        let found = function.finish(&added(&function, &items)) as f64;
        prop_assert!((found - truth).abs() <= 3.0 + 0.02 * truth, "{found} of {truth}");
    }

    #[test]
    fn quantiles_are_within_their_error(
        items in items(prop_oneof![
            -1e6..1e6,
            Just(0.0),
            (-20.0..40.0).prop_map(|power: f64| power.exp()),
            (-20.0..40.0).prop_map(|power: f64| -power.exp()),
        ]),
        error in 0.001..0.2,
        q in prop_oneof![0.0..=1.0, Just(0.0), Just(0.5), Just(1.0)],
        seed: u64,
    ) {
        let function = quantiles(error, |item: &f64| *item);
        let mut sorted: Vec<f64> = items.iter().map(|(_, item)| *item).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let whole: Distribution = function.finish(&added(&function, &items));
        check(&function, &items, seed, &whole);
        prop_assert_eq!(whole.count(), sorted.len() as u64);
        let Some(last) = sorted.len().checked_sub(1) else {
            prop_assert_eq!(whole.quantile(q), None);
            return Ok(());
        };
        let truth = sorted[(q * last as f64) as usize];
        let found = whole.quantile(q).unwrap();
        prop_assert!(
            (found - truth).abs() <= error * truth.abs() * (1.0 + 1e-9) + 1e-9,
            "{found} is not within {error} of {truth}"
        );
    }

    /// While there are few keys the counts are exact, and every law holds.
    #[test]
    fn few_keys_are_counted_exactly(items in items(0_u8..20), limit in 5_usize..30, seed: u64) {
        let mut truth = BTreeMap::new();
        for (_, key) in &items {
            *truth.entry(*key).or_insert(0_u64) += 1;
        }
        let mut expected: Vec<(u8, u64)> = truth.into_iter().collect();
        expected.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(&other.0)));
        expected.truncate(limit);
        check(&heavy_hitters(limit, 0.01, |key: &u8| *key), &items, seed, &expected);
    }
}

/// The error stays within three standard errors at every size, also where the form changes. The
/// hash is fixed, so this either always holds or never.
#[test]
fn distinct_counts_are_within_three_standard_errors() {
    for precision in [8_u8, 11, 14] {
        let function = distinct_approximate(precision, |item: &u64| *item);
        let standard = 1.04 / f64::from(1_u32 << precision).sqrt();
        let mut accumulator = function.create();
        let mut dice = Dice(u64::from(precision));
        for count in 1..=200_000_u32 {
            function.add(&mut accumulator, Timestamp::EPOCH, &dice.next());
            if count.is_power_of_two() || count % 25_000 == 0 {
                let found = function.finish(&accumulator) as f64;
                let error = (found - f64::from(count)).abs() / f64::from(count);
                assert!(
                    error <= 3.0 * standard,
                    "precision {precision}: {found} of {count}, {:.1} standard errors",
                    error / standard
                );
            }
        }
        let bytes = rmp_serde::to_vec(&accumulator).unwrap().len();
        assert!(
            bytes <= (1 << precision) + 64,
            "{bytes} bytes at {precision}"
        );
    }
}

/// Sizes of the registers bound the state, and the form is a function of the set.
#[test]
fn distinct_counts_merge_across_forms() {
    let function = distinct_approximate(6, |item: &u32| *item);
    for (one, other) in [(5, 1_000), (1_000, 5), (5, 7), (900, 1_000), (10, 12)] {
        let mut merged = added(&function, &at_once(0..one));
        function.merge(&mut merged, &added(&function, &at_once(1..other)));
        assert_eq!(merged, added(&function, &at_once(0..one.max(other))));
    }
}

/// A skewed stream: key k comes about n / (k · ln keys) times.
fn skewed(count: usize, seed: u64) -> Items<u32> {
    let mut dice = Dice(seed);
    at_once((0..count).map(|_| {
        let share = (dice.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (20_000_f64.powf(share)) as u32
    }))
}

/// Goal: what `heavy_hitters` promises of counts and of the list. Method: the exact counts of a
/// skewed stream of 20,000 keys, in one piece and merged from five.
#[test]
fn heavy_hitters_keep_their_bounds() {
    let (limit, error) = (20, 0.002);
    let function = heavy_hitters(limit, error, |key: &u32| *key);
    let items = skewed(60_000, 7);
    let mut truth = BTreeMap::new();
    for (_, key) in &items {
        *truth.entry(*key).or_insert(0_u64) += 1;
    }
    let whole = added(&function, &items);
    let mut merged = function.create();
    for part in items.chunks(12_000) {
        function.merge(&mut merged, &stored(&function, &added(&function, part)));
    }
    let bound = (error * items.len() as f64) as u64;
    for accumulator in [&whole, &merged] {
        let found = function.finish(accumulator);
        assert_eq!(found.len(), limit);
        assert!(found.is_sorted_by(|one, next| one.1 >= next.1), "{found:?}");
        for (key, count) in &found {
            assert!(
                *count >= truth[key],
                "{key} came {} times, not {count}",
                truth[key]
            );
            assert!(
                *count <= truth[key] + bound,
                "{key} came {} times, not {count}",
                truth[key]
            );
        }
        let share = items.len() as f64 * (0.5 / limit as f64 + error);
        for (key, _) in truth.iter().filter(|(_, count)| **count as f64 > share) {
            assert!(found.iter().any(|kept| kept.0 == *key), "{key} is missing");
        }
    }
}

#[test]
fn what_is_no_number_is_passed_over_and_the_infinite_counts_as_far() {
    let function = quantiles(0.01, |item: &f64| *item);
    let items = at_once([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-12, -0.0]);
    let found = function.finish(&added(&function, &items));
    assert_eq!(found.count(), 4);
    assert!((found.quantile(0.0).unwrap() + 1e18).abs() <= 1e16);
    assert_eq!(found.quantile(0.5), Some(0.0));
    assert!((found.quantile(1.0).unwrap() - 1e18).abs() <= 1e16);
}

#[test]
#[should_panic(expected = "the precision of a distinct count is 4 to 18, not 3")]
fn a_precision_out_of_range_is_refused() {
    let _ = distinct_approximate(3, |item: &u8| *item);
}

/// A list of two places behind a wide table: a key is listed as soon as it came more often than a listed one.
#[test]
fn a_key_that_becomes_frequent_late_is_found() {
    let function = heavy_hitters(1, 0.0001, |key: &char| *key);
    let accumulator = added(&function, &at_once("abcdeff".chars()));
    assert_eq!(function.finish(&accumulator), [('f', 2)]);
}

/// Sketches of streams that have no key in common: the frequent keys of either side are found, whichever is merged
/// into the other.
#[test]
fn merging_finds_the_frequent_keys_of_both_sides() {
    let function = heavy_hitters(4, 0.0001, |key: &u32| *key);
    let stream = |start: u32| {
        at_once(
            (start..start + 200)
                .chain([start + 9; 50])
                .chain([start + 7; 30]),
        )
    };
    let (one, other) = (
        added(&function, &stream(0)),
        added(&function, &stream(1_000)),
    );
    for (into, from) in [(&one, &other), (&other, &one)] {
        let mut merged = into.clone();
        function.merge(&mut merged, from);
        assert_eq!(
            function.finish(&merged),
            [(9, 51), (1_009, 51), (7, 31), (1_007, 31)]
        );
    }
}
