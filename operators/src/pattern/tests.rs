//! Patterns against a model that tries every choice of items and every way of giving them to steps.

mod model;

use std::time::Duration;

use millstream_engine::flow::{Emit, Operator, stateless};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use self::model::{Item, Model, NAMES, model};
use super::*;
use crate::keyed::Process;
use crate::window::CountLate;

/// Matches with the time of each, entries of state at the end, and the late items.
type Found = (Vec<(i64, Match<u8, Item>)>, usize, Vec<(i64, Item)>);

/// The matcher takes bare items here: key and time are part of the test's.
fn run(model: &Model, arrivals: &[(i64, Item)], marks: &[(usize, i64)]) -> Found {
    let matcher = PatternMatcher::new(model.pattern()).unwrap();
    let mut process = Process::new(|_: &Item| 1u8, matcher, Collected::default());
    let mut found = Vec::new();
    let mut emit = |time: Timestamp, found_match| found.push((time.0, found_match));
    let mut watermark = i64::MIN;
    for (at, (time, item)) in arrivals.iter().enumerate() {
        for (_, mark) in marks.iter().filter(|mark| mark.0 == at) {
            if *mark > watermark {
                watermark = *mark;
                process.watermark(Timestamp(watermark), &mut emit);
            }
        }
        process.late_before(Timestamp(watermark));
        process.item(Timestamp(*time), *item, &mut emit);
    }
    let latest = arrivals.iter().map(|(time, _)| *time).max().unwrap_or(0);
    process.watermark(Timestamp(latest + 1 + model.within), &mut emit);
    let mut state = Vec::new();
    process.state_items(&mut state);
    let left = state.iter().map(|(_, items)| items).sum();
    let late = process.side().0.clone();
    (found, left, late)
}

#[derive(Default)]
struct Collected(Vec<(i64, Item)>);

impl Operator<Item> for Collected {
    type Out = std::convert::Infallible;

    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: Item, _out: &mut E) {
        self.0.push((time.0, item));
    }

    stateless!();
}

/// A match as places in `items`, which are told apart by time and value.
fn places(found: &Match<u8, Item>, items: &[(i64, Item)]) -> (Vec<Item>, Vec<usize>) {
    let mut taken = Vec::new();
    let mut steps = Vec::new();
    for step in &found.steps {
        let number = NAMES.iter().position(|name| *name == step.step).unwrap();
        taken.extend(step.items.iter().copied());
        steps.extend(step.items.iter().map(|_| number));
    }
    assert!(items.iter().any(|(time, _)| *time == found.start.0));
    (taken, steps)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_found_is_what_the_model_finds(
        model in model(),
        arrivals in prop::collection::vec((0i64..12, (0u8..3, 0u8..4)), 0..9),
        marks in prop::collection::vec((0usize..8, 0i64..12), 0..4),
    ) {
        let mut watermark = i64::MIN;
        let (mut items, mut late) = (Vec::new(), Vec::new());
        for (at, (time, item)) in arrivals.iter().enumerate() {
            for (_, mark) in marks.iter().filter(|mark| mark.0 == at) {
                watermark = watermark.max(*mark);
            }
            if *time < watermark {
                late.push((*time, *item));
            } else {
                items.push((*time, *item));
            }
        }
        items.sort_by_key(|(time, _)| *time);
        let (found, left, found_late) = run(&model, &arrivals, &marks);
        prop_assert_eq!(found_late, late);
        prop_assert_eq!(left, 0, "something is kept");
        let expected: Vec<_> = model
            .matches(&items)
            .into_iter()
            .map(|((at, kind, _), chosen, steps)| {
                let taken: Vec<_> = chosen.iter().map(|at| items[*at].1).collect();
                // At a deadline: the last moment before it.
                let at = if kind == 0 { at - 1 } else { at };
                (at, taken, steps)
            })
            .collect();
        let found: Vec<_> = found
            .iter()
            .map(|(at, found)| {
                let (taken, steps) = places(found, &items);
                (*at, taken, steps)
            })
            .collect();
        prop_assert_eq!(found, expected);
    }
}

fn texts(pattern: Pattern<u32>, items: &[(i64, u32)], end: i64) -> Vec<String> {
    let matcher = PatternMatcher::new(pattern).unwrap();
    let mut process = Process::new(|_: &u32| 0u8, matcher, Nowhere);
    let mut found = Vec::new();
    let mut emit = |time: Timestamp, found_match: Match<u8, u32>| {
        let steps = found_match
            .steps
            .iter()
            .map(|step| format!("{}{:?}", step.step, step.items));
        found.push(format!(
            "{} {}",
            time.0,
            steps.collect::<Vec<_>>().join(" ")
        ));
    };
    for (time, item) in items {
        process.item(Timestamp(*time), *item, &mut emit);
    }
    process.watermark(Timestamp(end), &mut emit);
    found
}

struct Nowhere;

impl Operator<u32> for Nowhere {
    type Out = std::convert::Infallible;

    fn item<E: Emit<Self::Out>>(&mut self, _time: Timestamp, _item: u32, _out: &mut E) {}

    stateless!();
}

#[test]
fn a_pattern_that_ends_in_a_negation_matches_when_its_time_is_over() {
    let ordered_not_paid = || {
        Pattern::begin("ordered", |item: &u32| *item == 1)
            .not_followed_by(|item| *item == 2)
            .within(Duration::from_micros(10))
    };
    let items = [(0, 1), (20, 1), (25, 2), (40, 1)];
    assert_eq!(texts(ordered_not_paid(), &items, 45), ["9 ordered[1]"]);
    let all = ["9 ordered[1]", "49 ordered[1]"];
    assert_eq!(texts(ordered_not_paid(), &items, 50), all);
    assert_eq!(texts(ordered_not_paid(), &items, i64::MAX), all);
}

/// Story: items of the end of time were never looked at, since no watermark comes after them.
#[test]
fn items_of_the_end_of_time_are_looked_at() {
    let both = Pattern::begin("a", |item: &u32| *item == 1)
        .followed_by("b", |item| *item == 2)
        .within(Duration::from_micros(10));
    let (last, max) = (i64::MAX - 1, i64::MAX);
    let items = [(last, 1), (max, 1), (max, 2)];
    let found = texts(both, &items, max);
    let expected = [last, max].map(|_| format!("{max} a[1] b[2]"));
    assert_eq!(found, expected);
    // What would be over after the end of time is over then.
    let alone = Pattern::begin("a", |item: &u32| *item == 1)
        .not_followed_by(|item| *item == 2)
        .within(Duration::from_micros(10));
    assert_eq!(texts(alone, &[(max, 1)], max), [format!("{last} a[1]")]);
}

#[test]
fn a_long_run_is_freed_without_recursion() {
    let items: Vec<_> = (0..20_000).map(|time| (time, 1)).collect();
    let first = Pattern::begin("first", |item: &u32| *item == 0)
        .followed_by("a", |item| *item == 1)
        .times(20_000)
        .within(Duration::from_secs(1));
    let mut with_first = vec![(0, 0)];
    with_first.extend(items);
    assert_eq!(texts(first, &with_first, i64::MAX).len(), 1);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let yes = |_: &u32| true;
    let minute = Duration::from_secs(60);
    let begin = || Pattern::begin("a", yes);
    let refused = [
        begin(),
        begin().optional().within(minute),
        begin().next("a", yes).within(minute),
        begin().times(0).within(minute),
        begin().not_next(yes).times(2).within(minute),
        begin().not_next(yes).optional().within(minute),
        begin().within(Duration::ZERO),
    ];
    for pattern in refused {
        let error = PatternMatcher::new(pattern).unwrap_err();
        assert_eq!(error.name, "a");
    }
    assert!(PatternMatcher::new(begin().within(minute)).is_ok());
}

/// However many items of a key wait for the watermark, and in whatever order they come.
#[test]
fn a_key_has_one_timer() {
    let pattern = Pattern::begin("any", |_: &Item| true).within(Duration::from_micros(50));
    let matcher = PatternMatcher::new(pattern).unwrap();
    let mut process = Process::new(|item: &Item| item.0, matcher, CountLate::new());
    let timers = |process: &Process<_, _, _, _, _>| {
        let mut items = Vec::new();
        Operator::<Item>::state_items(process, &mut items);
        items[1]
    };
    let mut found = 0;
    let mut count = |_: Timestamp, _| found += 1;
    for number in 0..1_000i64 {
        let time = Timestamp(number * 7_919 % 1_000);
        process.item(time, (1, 1), &mut count);
        assert_eq!(timers(&process), ("timers", 1));
    }
    for watermark in [1, 300, 301, 999] {
        process.watermark(Timestamp(watermark), &mut count);
        assert_eq!(timers(&process), ("timers", 1));
    }
    process.watermark(Timestamp(2_000), &mut count);
    assert_eq!(timers(&process), ("timers", 0));
    assert_eq!(found, 1_000);
}
