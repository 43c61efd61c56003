//! What a key's slices come to, and what is kept of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::function::{collect, count, distinct_set, fold_merging, max_all};

/// Items in all that a window keeps.
fn items_of<A: Clone>(fifo: &Fifo<A>, items: impl Fn(&A) -> usize) -> usize {
    let parts = fifo.parts.iter().map(|(_, part)| part);
    let sums = fifo.front.iter().chain(&fifo.back);
    let shared = fifo.sums.iter().flat_map(|sums| sums.iter());
    parts.chain(sums).chain(shared).map(items).sum()
}

/// Story: at each flip a list was kept for each slice of all that came in it and later, as many items as the square of
/// the window's. A window of 100 slices slides over 1,000, some of which change once more; of what each has there must be
/// one copy.
#[test]
fn what_grows_with_its_items_keeps_each_once() {
    const SLICES: i64 = 100;
    let function = (collect(), distinct_set(|item: &i64| *item % 7), count());
    let mut fifo = Fifo::default();
    for number in 0..1_000 {
        let (first, keep) = (number - SLICES + 1, number - SLICES - 4);
        fifo.expire::<i64, _>(&function, first, keep);
        let mut part = AggregateFunction::<i64>::create(&function);
        for item in [number * 10, number * 10 + 1] {
            function.add(&mut part, Timestamp::EPOCH, &item);
        }
        fifo.enter::<i64, _>(&function, number, first, part);
        if number % 10 == 9 {
            let late = number * 10 - 20 + 5;
            let amended = |sum: &mut _| function.add(sum, Timestamp::EPOCH, &late);
            fifo.amend::<i64, _>(&function, number - 2, first, amended);
        }
        // As a model has it: all items of the slices that are in the window.
        let late = |slice: i64| (slice % 10 == 7 && slice + 2 <= number).then_some(slice * 10 + 5);
        let of_slice = |slice: i64| {
            let came = [slice * 10, slice * 10 + 1];
            came.into_iter().chain(late(slice))
        };
        let expected: Vec<_> = (first.max(0)..=number).flat_map(of_slice).collect();
        let (items, distinct, count) = fifo.value::<i64, _>(&function).unwrap();
        assert_eq!((items, count), (expected.clone(), expected.len() as u64));
        let kinds: BTreeSet<_> = expected.iter().map(|item| item % 7).collect();
        assert_eq!(distinct, kinds);
        let kept = items_of(&fifo, |part| part.0.len());
        assert!(kept < expected.len() * 3, "{kept} for {}", expected.len());
    }
}

/// State that was stored when sums of slices were kept for everything.
#[test]
fn sums_that_were_stored_once_count_for_nothing() {
    let stored = serde_json::json!({
        "parts": [[1, [10]], [2, [20]], [3, [30]]], "forgotten": 0, "dead": 1, "front": [[20]], "behind": [[30]], "back": null,
    });
    let mut fifo: Fifo<Vec<i64>> = serde_json::from_value(stored).unwrap();
    let function = collect();
    assert_eq!(fifo.value::<i64, _>(&function), Some(vec![20, 30]));
    fifo.expire::<i64, _>(&function, 3, 3);
    assert_eq!(fifo.value::<i64, _>(&function), Some(vec![30]));
    assert_eq!(items_of(&fifo, Vec::len), fifo.parts.len());
}

/// Accumulators may be `None` themselves, as of a maximum that nothing has passed the condition for.
#[test]
fn an_accumulator_of_nothing_is_not_no_accumulator() {
    let fifo = Fifo::<Option<u8>> {
        back: Some(None),
        ..Fifo::default()
    };
    let bytes = rmp_serde::to_vec_named(&fifo).unwrap();
    let read: Fifo<Option<u8>> = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(read.back, Some(None));
    // As it was written once.
    let old = serde_json::json!({"parts": [], "forgotten": 0, "dead": 0, "front": [], "back": 7});
    let old = rmp_serde::to_vec_named(&old).unwrap();
    let read: Fifo<Option<u8>> = rmp_serde::from_slice(&old).unwrap();
    assert_eq!(read.back, Some(Some(7)));
}

/// Counts merges.
#[derive(Clone)]
struct Merges<A> {
    function: A,
    count: Arc<AtomicUsize>,
}

impl<T, A: AggregateFunction<T>> AggregateFunction<T> for Merges<A> {
    type Accumulator = A::Accumulator;
    type Output = A::Output;
    const MERGES: bool = A::MERGES;
    const GROWS: bool = A::GROWS;

    fn create(&self) -> A::Accumulator {
        self.function.create()
    }

    fn add(&self, accumulator: &mut A::Accumulator, time: Timestamp, item: &T) {
        self.function.add(accumulator, time, item);
    }

    fn merge(&self, accumulator: &mut A::Accumulator, other: &A::Accumulator) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.function.merge(accumulator, other);
    }

    fn finish(&self, accumulator: &A::Accumulator) -> A::Output {
        self.function.finish(accumulator)
    }
}

/// A function whose merges are counted.
fn counted<A>(function: A) -> (Merges<A>, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    (Merges { function, count }, counted)
}

/// Slices of one item each pass through a window of `slices`, as many as five times those; gives the merges for each window, and the
/// most values that were kept for one that the slices themselves have.
fn slide(slices: i64, value: impl Fn(i64) -> i64) -> (f64, f64) {
    slide_to(slices, slices * 5, value)
}

/// The same for so many windows.
fn slide_to(slices: i64, windows: i64, value: impl Fn(i64) -> i64) -> (f64, f64) {
    let (function, count) = counted(distinct_set(|item: &i64| *item));
    let mut fifo = Fifo::default();
    let mut most = 0.0_f64;
    for number in 0..windows {
        let first = number - slices + 1;
        fifo.expire::<i64, _>(&function, first, first);
        fifo.enter::<i64, _>(&function, number, first, BTreeSet::from([value(number)]));
        let found = fifo.value::<i64, _>(&function).unwrap();
        if number % 97 == 0 {
            let expected: BTreeSet<_> = (first.max(0)..=number).map(&value).collect();
            assert_eq!(found, expected);
        }
        let kept = items_of(&fifo, BTreeSet::len);
        most = most.max(kept as f64 / fifo.parts.len() as f64);
    }
    let merges = count.load(Ordering::Relaxed) as f64;
    (merges / windows as f64, most)
}

/// Story: lest a set be kept for each slice of all that came in it and later, all slices were merged for each window: thousands
/// where few values come, and two had done.
#[test]
fn sets_of_few_values_share_merges() {
    let (merges, kept) = slide(1_000, |number| number * 7 % 5);
    assert!(merges < 10.0, "{merges} merges");
    assert!(kept < 3.1, "{kept} kept");
    // The more values, the fewer sets of them are kept.
    let (merges, kept) = slide(1_000, |number| number * 7 % 100);
    assert!(merges < 150.0, "{merges} merges");
    assert!(kept < 3.1, "{kept} kept");
}

/// Story: the first eight slices of a set had different values, so it was taken for a list until the last of them had left: a window
/// that is long merged all its slices each time it was asked for until it was full once.
#[test]
fn sets_of_few_values_share_merges_before_the_window_is_full() {
    let (merges, kept) = slide_to(2_000, 2_000, |number| number * 7 % 100);
    assert!(merges < 150.0, "{merges} merges");
    assert!(kept < 3.1, "{kept} kept");
    // One that goes on being a list is asked no more often than slices double.
    let (merges, kept) = slide_to(1_000, 1_000, |number| number);
    assert!(merges < 505.0, "{merges} merges");
    assert!(kept < 1.01, "{kept} kept");
}

/// State that was stored when nobody counted the slices that sums were made of: it is found anew whether there are any to share.
#[test]
fn sums_without_a_count_are_read() {
    let function = distinct_set(|item: &i64| *item);
    let mut fifo = Fifo::default();
    for number in 0..200 {
        fifo.enter::<i64, _>(&function, number, 0, BTreeSet::from([number % 8]));
        if number < 8 {
            fifo.expire::<i64, _>(&function, 0, 0);
        }
    }
    let is_list_like = |fifo: &Fifo<_>| {
        let sums = fifo.sums.as_ref().unwrap();
        sums.iter().next().is_none()
    };
    assert!(is_list_like(&fifo));
    let mut stored = serde_json::to_value(&fifo).unwrap();
    let sums = stored["sums"].as_object_mut().unwrap();
    assert_eq!(sums.remove("slices"), Some(8.into()));
    let bytes = rmp_serde::to_vec_named(&stored).unwrap();
    let mut fifo: Fifo<BTreeSet<i64>> = rmp_serde::from_slice(&bytes).unwrap();
    assert!(is_list_like(&fifo));
    let values = || Some((0..8).collect());
    assert_eq!(fifo.value::<i64, _>(&function), values());
    fifo.expire::<i64, _>(&function, 1, 1);
    assert!(!is_list_like(&fifo));
    assert_eq!(fifo.value::<i64, _>(&function), values());
}

/// Where each slice has its own, merging them costs what the result does, and sums would be copies.
#[test]
fn sets_of_ever_new_values_are_kept_once() {
    let (_, kept) = slide(200, |number| number);
    assert!(kept < 1.01, "{kept} kept");
}

/// A fold might grow, and nothing says whether it does: one that does not shares merges as a sum does.
#[test]
fn a_fold_that_does_not_grow_shares_merges() {
    const SLICES: i64 = 1_000;
    let add = |sum: &mut i64, item: &i64| *sum += item;
    let (function, count) = counted(fold_merging(0, add, add));
    let mut fifo = Fifo::default();
    for number in 0..SLICES * 3 {
        let first = number - SLICES + 1;
        fifo.expire::<i64, _>(&function, first, first);
        fifo.enter::<i64, _>(&function, number, first, number);
        let sum: i64 = (first.max(0)..=number).sum();
        assert_eq!(fifo.value::<i64, _>(&function), Some(sum));
    }
    let merges = count.load(Ordering::Relaxed) as i64 / (SLICES * 3);
    assert!(merges < 10, "{merges} merges");
}

/// As many greatest ones as there are items, or a fold into a list: once the square of the window.
#[test]
fn ties_and_folds_that_grow_are_kept_once() {
    const SLICES: i64 = 100;
    let fold = fold_merging(
        Vec::new(),
        |list: &mut Vec<i64>, item: &i64| list.push(*item),
        |list, other| list.extend_from_slice(other),
    );
    let function = (max_all(|_: &i64| 7), fold);
    let mut fifo = Fifo::default();
    for number in 0..SLICES * 3 {
        let first = number - SLICES + 1;
        fifo.expire::<i64, _>(&function, first, first);
        let mut part = AggregateFunction::<i64>::create(&function);
        function.add(&mut part, Timestamp(number), &number);
        fifo.enter::<i64, _>(&function, number, first, part);
        let sum = fifo.value::<i64, _>(&function).unwrap();
        let expected: Vec<_> = (first.max(0)..=number).collect();
        let (ties, list) = AggregateFunction::<i64>::finish(&function, &sum);
        assert_eq!((&ties, &list), (&expected, &expected));
        let kept = items_of(&fifo, |part| part.1.len());
        assert!(kept <= fifo.parts.len(), "{kept} kept");
    }
}

/// What one step does with the slices of a key.
#[derive(Clone, Debug)]
enum Step {
    Enter(Vec<u8>),
    /// Slices pass in which the key has nothing.
    Pass(i64),
    /// A late item, for a slice so far behind the newest.
    Late(i64, u8),
    /// It is stored and read.
    Stored,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let values = prop::collection::vec(0_u8..6, 1..4);
    let step = prop_oneof![
        20 => values.prop_map(Step::Enter),
        2 => (1_i64..30).prop_map(Step::Pass),
        2 => (0_i64..20, 0_u8..6).prop_map(|(behind, value)| Step::Late(behind, value)),
        1 => Just(Step::Stored),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever comes and is kept, a window has all its slices and no other, merged in their order.
    #[test]
    fn windows_have_their_slices(steps in steps(), slices in 1_i64..60) {
        // Values in the order in which they were first there, which shows that of the merges.
        let push = |list: &mut Vec<u8>, item: &u8| {
            if !list.contains(item) {
                list.push(*item);
            }
        };
        let function = fold_merging(Vec::new(), push, move |list, other: &Vec<u8>| {
            other.iter().for_each(|item| push(list, item));
        });
        let mut fifo = Fifo::default();
        let mut model = std::collections::BTreeMap::<i64, Vec<u8>>::new();
        let mut number = 0;
        for step in steps {
            let first = number - slices + 1;
            match step {
                Step::Pass(count) => number += count,
                Step::Enter(values) => {
                    number += 1;
                    let first = number - slices + 1;
                    let mut part = Vec::new();
                    values.iter().for_each(|value| push(&mut part, value));
                    model.insert(number, part.clone());
                    fifo.expire::<u8, _>(&function, first, first);
                    fifo.enter::<u8, _>(&function, number, first, part);
                }
                Step::Late(behind, value) => {
                    let slice = number - behind.min(slices - 1);
                    push(model.entry(slice).or_default(), &value);
                    fifo.expire::<u8, _>(&function, first, first);
                    fifo.amend::<u8, _>(&function, slice, first, |part| push(part, &value));
                }
                Step::Stored => {
                    let bytes = rmp_serde::to_vec_named(&fifo).unwrap();
                    fifo = rmp_serde::from_slice(&bytes).unwrap();
                }
            }
            let first = number - slices + 1;
            fifo.expire::<u8, _>(&function, first, first);
            let mut expected = Vec::new();
            let live = model.range(first..).flat_map(|(_, part)| part);
            live.for_each(|value| push(&mut expected, value));
            let found = fifo.value::<u8, _>(&function);
            prop_assert_eq!(found.unwrap_or_default(), expected);
        }
    }
}
