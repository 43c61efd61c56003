//! Counts, sums, means, spread.

use millstream_engine::time::Timestamp;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::laws::{added, check, check_with, items};
use crate::function::{
    AggregateFunction, count, mean, stddev, stddev_sample, sum, variance, variance_sample,
};

/// Equal up to rounding, relative to `scale`.
fn near(found: Option<f64>, expected: Option<f64>, scale: f64) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * scale.max(1.0),
        (found, expected) => found == expected,
    }
}

proptest! {
    #[test]
    fn count_and_sums_of_integers(
        items in items((any::<i64>(), any::<u32>(), any::<u64>())),
        seed: u64,
    ) {
        check(&count(), &items, seed, &(items.len() as u64));
        let signed = items.iter().map(|(_, item)| i128::from(item.0)).sum();
        check(&sum(|item: &(i64, u32, u64)| item.0), &items, seed, &signed);
        let narrow = items.iter().map(|(_, item)| u64::from(item.1)).sum();
        check(&sum(|item: &(i64, u32, u64)| item.1), &items, seed, &narrow);
        let wide: u128 = items.iter().map(|(_, item)| u128::from(item.2)).sum();
        check(&sum(|item: &(i64, u32, u64)| item.2), &items, seed, &wide);
        let average = (!items.is_empty()).then(|| wide as f64 / items.len() as f64);
        check(&mean(|item: &(i64, u32, u64)| item.2), &items, seed, &average);
    }

    /// A total that fits is right even where a part of it did not fit.
    #[test]
    fn sums_wrap_and_come_back(items in items(any::<i128>()), seed: u64) {
        let expected = items.iter().fold(0_i128, |total, (_, item)| total.wrapping_add(*item));
        check(&sum(|item: &i128| *item), &items, seed, &expected);
    }

    #[test]
    fn sums_and_means_of_decimals(items in items(-1_000_000_i64..1_000_000), seed: u64) {
        let cents: i64 = items.iter().map(|(_, item)| *item).sum();
        let expected = Decimal::new(cents, 2);
        check(&sum(|item: &i64| Decimal::new(*item, 2)), &items, seed, &expected);
        let average = (!items.is_empty()).then(|| expected / Decimal::from(items.len()));
        check(&mean(|item: &i64| Decimal::new(*item, 2)), &items, seed, &average);
    }

    #[test]
    fn sums_means_and_spread_of_floats(items in items(-1e6..1e6), seed: u64) {
        let values: Vec<f64> = items.iter().map(|(_, item)| *item).collect();
        let count = values.len() as f64;
        let total: f64 = values.iter().sum();
        check_with(&sum(|item: &f64| *item), &items, seed, &total, |found, expected| {
            near(Some(*found), Some(*expected), 1e8)
        });
        let average = (count > 0.0).then(|| total / count);
        check_with(&mean(|item: &f64| *item), &items, seed, &average, |found, expected| {
            near(*found, *expected, 1e6)
        });

        // Two passes over the whole input.
        let squares: f64 = values.iter().map(|value| (value - total / count).powi(2)).sum();
        let population = (count > 0.0).then(|| squares / count);
        let sample = (count > 1.0).then(|| squares / (count - 1.0));
        let wide = |found: &Option<f64>, expected: &Option<f64>| near(*found, *expected, 1e12);
        check_with(&variance(|item: &f64| *item), &items, seed, &population, wide);
        check_with(&variance_sample(|item: &f64| *item), &items, seed, &sample, wide);
        let narrow = |found: &Option<f64>, expected: &Option<f64>| near(*found, *expected, 1e6);
        let root = population.map(f64::sqrt);
        check_with(&stddev(|item: &f64| *item), &items, seed, &root, narrow);
        let root = sample.map(f64::sqrt);
        check_with(&stddev_sample(|item: &f64| *item), &items, seed, &root, narrow);
    }
}

/// A sum of squares would lose all digits of a spread of 1 around 10^9.
#[test]
fn spread_far_from_zero_keeps_its_digits() {
    let function = variance(|item: &f64| *item);
    let mut one = function.create();
    let mut other = function.create();
    for step in 0..1_000 {
        let value = 1e9 + f64::from(step % 2) * 2.0;
        let part = if step % 3 == 0 { &mut one } else { &mut other };
        function.add(part, Timestamp::EPOCH, &value);
    }
    function.merge(&mut one, &other);
    let found = function.finish(&one).unwrap();
    assert!((found - 1.0).abs() < 1e-6, "{found}");
}

/// Windows merge parts into an empty accumulator.
#[test]
fn spread_of_what_is_merged_into_nothing_is_that_of_the_part() {
    let function = variance(|item: &f64| *item);
    let part = added(&function, &[(Timestamp::EPOCH, 1e200); 3]);
    let mut merged = function.create();
    function.merge(&mut merged, &part);
    assert_eq!(merged, part);
    assert_eq!(function.finish(&merged), Some(0.0));
}
