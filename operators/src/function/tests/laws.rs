//! The laws every function keeps, checked on given items: what windows rely on.

use std::fmt::Debug;

use millstream_engine::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::function::AggregateFunction;

/// Items with their event times, which collide often.
pub(super) type Items<T> = Vec<(Timestamp, T)>;

/// Up to 120 items at few different times.
pub(super) fn items<T: Debug>(item: impl Strategy<Value = T>) -> impl Strategy<Value = Items<T>> {
    vec(((-3_i64..12).prop_map(Timestamp), item), 0..120)
}

/// A small generator of its own, so that a case is told by its seed alone (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The accumulator of these items, added in order.
pub(super) fn added<T, F: AggregateFunction<T>>(
    function: &F,
    items: &[(Timestamp, T)],
) -> F::Accumulator {
    let mut accumulator = function.create();
    for (time, item) in items {
        function.add(&mut accumulator, *time, item);
    }
    accumulator
}

/// What is left of an accumulator after it was stored.
pub(super) fn stored<T, F: AggregateFunction<T>>(
    _function: &F,
    accumulator: &F::Accumulator,
) -> F::Accumulator {
    let bytes = rmp_serde::to_vec(accumulator).unwrap();
    rmp_serde::from_slice(&bytes).unwrap()
}

/// Checks all laws; `expected` is what a plain computation gives, `same` compares results.
pub(super) fn check_with<T, F>(
    function: &F,
    items: &[(Timestamp, T)],
    seed: u64,
    expected: &F::Output,
    same: impl Fn(&F::Output, &F::Output) -> bool,
) where
    T: Clone,
    F: AggregateFunction<T>,
    F::Output: Debug,
{
    let mut dice = Dice(seed);
    let assert_same = |accumulator: &F::Accumulator, expected: &F::Output, law: &str| {
        let found = function.finish(accumulator);
        assert!(
            same(&found, expected),
            "{law}: {found:?} is not {expected:?}"
        );
    };
    assert_same(&added(function, items), expected, "in order");

    let mut shuffled = items.to_vec();
    dice.shuffle(&mut shuffled);
    assert_same(&added(function, &shuffled), expected, "in any order");

    let (before, after) = shuffled.split_at(dice.below(shuffled.len() + 1));
    let mut accumulator = stored(function, &added(function, before));
    for (time, item) in after {
        function.add(&mut accumulator, *time, item);
    }
    assert_same(&accumulator, expected, "stored half-way");
    assert_same(&stored(function, &accumulator), expected, "stored");

    assert!(F::MERGES || !F::INVERTS, "what inverts merges");
    if !F::MERGES {
        return;
    }
    let parts = split(&shuffled, &mut dice);
    let mut merged = function.create();
    for part in &parts {
        function.merge(&mut merged, &stored(function, &added(function, part)));
    }
    function.merge(&mut merged, &function.create());
    assert_same(&merged, expected, "merged");
    let mut onto_first = added(function, &parts[0]);
    for part in parts[1..].iter().rev() {
        function.merge(&mut onto_first, &added(function, part));
    }
    assert_same(&onto_first, expected, "merged onto the first");

    if F::INVERTS {
        function.subtract(&mut merged, &added(function, &parts[0]));
        let rest = added(function, &parts[1..].concat());
        assert_same(&merged, &function.finish(&rest), "subtracted");
        function.merge(&mut merged, &added(function, &parts[0]));
        assert_same(&merged, expected, "merged again");
    }
}

/// [`check_with`] where results are equal or wrong.
pub(super) fn check<T, F>(function: &F, items: &[(Timestamp, T)], seed: u64, expected: &F::Output)
where
    T: Clone,
    F: AggregateFunction<T>,
    F::Output: Debug + PartialEq,
{
    check_with(function, items, seed, expected, |one, other| one == other);
}

/// Each item in one of 1 to 6 parts, some of them empty.
fn split<T: Clone>(items: &[(Timestamp, T)], dice: &mut Dice) -> Vec<Items<T>> {
    let mut parts = vec![Vec::new(); 1 + dice.below(6)];
    for item in items {
        let part = dice.below(parts.len());
        parts[part].push(item.clone());
    }
    parts
}
