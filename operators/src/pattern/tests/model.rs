//! Patterns as a model has them: it tries every choice of items and every way of giving them to steps.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;

/// A kind, of which conditions choose some, and a value.
pub(super) type Item = (u8, u8);

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
pub(super) struct Model {
    steps: Vec<ModelStep>,
    last_guards: Vec<(bool, Wanted)>,
    pub(super) within: i64,
    skip: Skip,
}

pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// When it is found, in an order with everything else; then by start, items and steps.
pub(super) type Key = ((i64, u8, usize), Vec<usize>, Vec<usize>);

impl Model {
    pub(super) fn pattern(&self) -> Pattern<Item> {
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
    pub(super) fn matches(&self, items: &[(i64, Item)]) -> Vec<Key> {
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

pub(super) fn model() -> impl Strategy<Value = Model> {
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
