//! Patterns against a model that tries every choice of items and every way of giving them to steps.

use std::time::Duration;

use millstream_engine::flow::{Emit, Operator, stateless};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::keyed::Process;
use crate::window::CountLate;

/// A kind, of which conditions choose some, and a value.
type Item = (u8, u8);

/// What a condition holds for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// Bit n: kind n.
    kinds: u8,
    /// Only if the value is at least that of the item before.
    rising: bool,
}

impl Wanted {
    fn holds(self, item: Item, before: Option<Item>) -> bool {
        self.kinds & (1 << item.0) != 0
            && (!self.rising || before.is_none_or(|before| item.1 >= before.1))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Follow {
    Next,
    First,
    Any,
}

#[derive(Clone, Debug)]
struct ModelStep {
    follow: Follow,
    wanted: Wanted,
    min: u32,
    max: u32,
    optional: bool,
    /// Must not come before it: whether only right after the item before, and what.
    guards: Vec<(bool, Wanted)>,
}

#[derive(Clone, Debug)]
struct Model {
    steps: Vec<ModelStep>,
    last_guards: Vec<(bool, Wanted)>,
    within: i64,
    skip: Skip,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// When it is found, in an order with everything else; then by start, items and steps.
type Key = ((i64, u8, usize), Vec<usize>, Vec<usize>);

impl Model {
    fn pattern(&self) -> Pattern<Item> {
        let mut pattern: Option<Pattern<Item>> = None;
        for (step, name) in self.steps.iter().zip(NAMES) {
            let wanted = step.wanted;
            let plain = Wanted {
                rising: false,
                ..wanted
            };
            let take = move |item: &Item| plain.holds(*item, None);
            let mut next = match pattern {
                None => Pattern::begin(name, take),
                Some(mut pattern) => {
                    for guard in &step.guards {
                        pattern = forbid(pattern, *guard);
                    }
                    match step.follow {
                        Follow::Next => pattern.next(name, take),
                        Follow::First => pattern.followed_by(name, take),
                        Follow::Any => pattern.followed_by_any(name, take),
                    }
                }
            };
            next = given(next, wanted);
            next = match (step.min, step.max) {
                (1, 1) => next,
                (1, u32::MAX) => next.one_or_more(),
                (min, max) if min == max => next.times(min),
                (min, max) => next.times_range(min..=max),
            };
            pattern = Some(if step.optional { next.optional() } else { next });
        }
        let mut pattern = pattern.unwrap();
        for guard in &self.last_guards {
            pattern = forbid(pattern, *guard);
        }
        pattern
            .within(Duration::from_micros(self.within as u64))
            .skip(self.skip)
    }

    /// All matches in items by time, in the order in which they are found.
    fn matches(&self, items: &[(i64, Item)]) -> Vec<Key> {
        let mut found = Vec::new();
        let mut chosen = Vec::new();
        for start in 0..items.len() {
            self.extend(items, &mut chosen, start, &mut found);
        }
        found.sort();
        let mut kept: Vec<Key> = Vec::new();
        for key in found {
            let first = key.1[0];
            let is_skipped = kept.iter().any(|before| match self.skip {
                Skip::Nothing => false,
                Skip::ToNext => before.1[0] == first,
                Skip::PastLast => first <= before.1[before.1.len() - 1],
            });
            if !is_skipped {
                kept.push(key);
            }
        }
        kept
    }

    /// Gives item `next` to every step, then every later one to what follows.
    fn extend(
        &self,
        items: &[(i64, Item)],
        chosen: &mut Vec<(usize, usize)>,
        next: usize,
        found: &mut Vec<Key>,
    ) {
        for step in 0..self.steps.len() {
            chosen.push((next, step));
            if self.is_valid(items, chosen) {
                if let Some(at) = self.complete(items, chosen) {
                    let (places, steps) = chosen.iter().copied().unzip();
                    found.push((at, places, steps));
                }
                for later in next + 1..items.len() {
                    self.extend(items, chosen, later, found);
                }
            }
            chosen.pop();
        }
    }

    /// Whether the last of `chosen` may follow the others, which may follow each other.
    fn is_valid(&self, items: &[(i64, Item)], chosen: &[(usize, usize)]) -> bool {
        let (&(q, to), before) = chosen.split_last().unwrap();
        let last = before.last().map(|&(p, _)| items[p].1);
        let wanted = self.steps[to].wanted;
        if !wanted.holds(items[q].1, last) || items[q].0 - items[chosen[0].0].0 >= self.within {
            return false;
        }
        let count = |step: usize| before.iter().filter(|(_, s)| *s == step).count() as u32;
        if count(to) + 1 > self.steps[to].max {
            return false;
        }
        let Some(&(p, from)) = before.last() else {
            return self.steps[..to].iter().all(|step| step.optional);
        };
        let is_first = |wanted: Wanted| (p + 1..q).all(|r| !wanted.holds(items[r].1, last));
        if from == to {
            return is_first(wanted);
        }
        if from > to || count(from) < self.steps[from].min {
            return false;
        }
        if !self.steps[from + 1..to].iter().all(|step| step.optional) {
            return false;
        }
        let follows = match self.steps[to].follow {
            Follow::Next => q == p + 1,
            Follow::First => is_first(wanted),
            Follow::Any => true,
        };
        let guards = self.steps[from + 1..=to]
            .iter()
            .flat_map(|step| &step.guards);
        follows
            && guards.into_iter().all(|(is_next, guard)| match is_next {
                true => !guard.holds(items[p + 1].1, last),
                false => is_first(*guard),
            })
    }

    /// When a choice matches, if it does.
    fn complete(
        &self,
        items: &[(i64, Item)],
        chosen: &[(usize, usize)],
    ) -> Option<(i64, u8, usize)> {
        let &(p, from) = chosen.last()?;
        let count = chosen.iter().filter(|(_, s)| *s == from).count() as u32;
        let rest = &self.steps[from + 1..];
        if count < self.steps[from].min || !rest.iter().all(|step| step.optional) {
            return None;
        }
        let guards: Vec<_> = rest
            .iter()
            .flat_map(|step| &step.guards)
            .chain(&self.last_guards)
            .collect();
        if guards.is_empty() {
            return Some((items[p].0, 1, p));
        }
        let deadline = items[chosen[0].0].0 + self.within;
        let later = || (p + 1..items.len()).filter(|&r| items[r].0 < deadline);
        let last = Some(items[p].1);
        let is_forbidden = guards.iter().any(|(is_next, guard)| {
            let mut later = later().take(if *is_next { 1 } else { usize::MAX });
            later.any(|r| guard.holds(items[r].1, last))
        });
        if is_forbidden {
            return None;
        }
        let waits = guards.iter().any(|(is_next, _)| !is_next);
        match later().next() {
            Some(next) if !waits => Some((items[next].0, 1, next)),
            _ => Some((deadline, 0, 0)),
        }
    }
}

fn forbid(pattern: Pattern<Item>, (is_next, wanted): (bool, Wanted)) -> Pattern<Item> {
    let plain = Wanted {
        rising: false,
        ..wanted
    };
    let condition = move |item: &Item| plain.holds(*item, None);
    let pattern = match is_next {
        true => pattern.not_next(condition),
        false => pattern.not_followed_by(condition),
    };
    given(pattern, wanted)
}

fn given(pattern: Pattern<Item>, wanted: Wanted) -> Pattern<Item> {
    if !wanted.rising {
        return pattern;
    }
    pattern.given(move |item, matched| {
        let before = matched.all().next().map(|(_, item)| *item);
        wanted.holds(*item, before)
    })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    (1u8..8, prop::bool::weighted(0.2)).prop_map(|(kinds, rising)| Wanted { kinds, rising })
}

fn guards() -> impl Strategy<Value = Vec<(bool, Wanted)>> {
    prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((any::<bool>(), wanted()), 1..3),
    ]
}

fn step() -> impl Strategy<Value = ModelStep> {
    let follow = prop_oneof![Just(Follow::Next), Just(Follow::First), Just(Follow::Any)];
    let times = prop_oneof![
        4 => Just((1, 1)),
        1 => Just((2, 2)),
        1 => Just((1, 3)),
        1 => Just((2, 3)),
        1 => Just((1, u32::MAX)),
    ];
    let optional = prop::bool::weighted(0.25);
    (follow, wanted(), times, optional, guards()).prop_map(
        |(follow, wanted, (min, max), optional, guards)| ModelStep {
            follow,
            wanted,
            min,
            max,
            optional,
            guards,
        },
    )
}

fn model() -> impl Strategy<Value = Model> {
    let skip = prop_oneof![
        Just(Skip::Nothing),
        Just(Skip::ToNext),
        Just(Skip::PastLast)
    ];
    (
        prop::collection::vec(step(), 1..5),
        guards(),
        1i64..12,
        skip,
    )
        .prop_map(|(mut steps, last_guards, within, skip)| {
            steps[0].guards.clear();
            if steps.iter().all(|step| step.optional) {
                steps[0].optional = false;
            }
            Model {
                steps,
                last_guards,
                within,
                skip,
            }
        })
}

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
