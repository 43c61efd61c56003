//! Runs of a pattern over the items of one key.
//!
//! A run is what was taken so far and the steps that it waits for. An item is shown to each wait of each run: a wait that
//! takes it makes a new run, longer by one item, and is then over (unless it is of `followed_by_any`); waits that a
//! negation forbids, or whose item had to come right after the last, are over too. A run without waits is gone. So a
//! run is one way of choosing, and each way is tried once.

mod rules;

use std::collections::BTreeMap;

use millstream_engine::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::matched::{Matched, Shared, Taken};
use super::steps::{Follows, Guard, Skip};
use crate::keyed::{KeyedState, Left, Now};

pub(super) use rules::Rules;
use rules::Waits;

/// One way in which the pattern may go on to match.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    /// What was taken.
    chain: u32,
    /// Step of the last item, and how many items it has.
    step: u16,
    count: u32,
    /// Of the last item.
    place: u64,
    /// Of the first item.
    start_place: u64,
    start: Timestamp,
    waits: Waits,
}

/// A run longer by one item, to be made.
struct Growth {
    before: Option<u32>,
    step: u16,
    count: u32,
    start_place: u64,
    start: Timestamp,
}

/// What is kept of one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: DeserializeOwned"))]
pub struct PatternState<T> {
    /// Items that the watermark has not passed, by time and arrival.
    buffer: BTreeMap<(Timestamp, u64), T>,
    arrivals: u64,
    /// Items looked at so far.
    places: u64,
    pub(super) shared: Shared<T>,
    runs: Vec<Run>,
    /// When the key is looked at next.
    pub(super) armed: Option<Timestamp>,
}

impl<T> Default for PatternState<T> {
    fn default() -> Self {
        Self {
            buffer: BTreeMap::new(),
            arrivals: 0,
            places: 0,
            shared: Shared::default(),
            runs: Vec::new(),
            armed: None,
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> KeyedState for PatternState<T> {
    fn expire(&mut self, _now: &Now) -> Left {
        Left::kept()
    }
}

/// A match: when it was found, and its chain, which is held.
pub(super) type Found = (Timestamp, u32);

/// What became of a wait.
struct Waited {
    takes: bool,
    /// The end was waited for, and is reached.
    ends: bool,
    stays: bool,
}

impl<T> PatternState<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.runs.is_empty()
    }

    pub(super) fn add(&mut self, time: Timestamp, item: T) {
        self.buffer.insert((time, self.arrivals), item);
        self.arrivals += 1;
    }

    /// Looks at all items before `watermark`, and ends runs whose time is over by then. Gives matches to `found`,
    /// and says up to where the watermark must come before there is more to do.
    pub(super) fn advance(
        &mut self,
        rules: &Rules<T>,
        watermark: Timestamp,
        found: &mut Vec<Found>,
    ) -> Option<Timestamp> {
        loop {
            let first = self.buffer.first_key_value().map(|((time, _), _)| *time);
            // At the end of time there is no watermark after an item that has that time.
            let is_over = watermark == Timestamp::MAX;
            let next = first.filter(|time| is_over || *time < watermark);
            let deadline = self.runs.iter().map(|run| run.start).min();
            let deadline = deadline.map(|start| start.saturating_add(rules.within));
            let is_due = |at: &Timestamp| match next {
                // One that would be later than the end of time is not over before the items are.
                Some(next) => *at <= next && *at < Timestamp::MAX,
                None => *at <= watermark,
            };
            match deadline.filter(is_due) {
                Some(deadline) => self.expire(rules, deadline, found),
                None if next.is_none() => {
                    let item = first.map(|time| Timestamp(time.0.saturating_add(1)));
                    return [item, deadline].into_iter().flatten().min();
                }
                None => {
                    if let Some(((time, _), item)) = self.buffer.pop_first() {
                        self.look_at(rules, time, item, found);
                    }
                }
            }
        }
    }

    /// Ends the runs whose time is over at `deadline`.
    fn expire(&mut self, rules: &Rules<T>, deadline: Timestamp, found: &mut Vec<Found>) {
        let is_over = |run: &mut Run| run.start.saturating_add(rules.within) <= deadline;
        let over: Vec<_> = self.runs.extract_if(.., is_over).collect();
        let mut complete = Vec::new();
        for run in over {
            if run.waits.contains(&rules.end()) {
                complete.push(run.chain);
            } else {
                self.shared.release(run.chain);
            }
        }
        let at = Timestamp(deadline.0.saturating_sub(1));
        self.finish(rules, at, complete, found);
    }

    fn look_at(&mut self, rules: &Rules<T>, time: Timestamp, item: T, found: &mut Vec<Found>) {
        let place = self.places;
        self.places += 1;
        let number = self.shared.items.add((time, item));
        let (mut grown, mut complete, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        let mut runs = std::mem::take(&mut self.runs);
        runs.retain_mut(|run| {
            let mut waits = std::mem::take(&mut run.waits);
            waits.retain(|wait| {
                let waited = self.show(rules, run, *wait, number, place);
                if waited.takes {
                    let is_same = *wait == run.step;
                    grown.push(Growth {
                        before: Some(run.chain),
                        step: *wait,
                        count: if is_same { run.count + 1 } else { 1 },
                        start_place: run.start_place,
                        start: run.start,
                    });
                }
                if waited.ends {
                    complete.push(run.chain);
                }
                waited.stays
            });
            run.waits = waits;
            if run.waits.is_empty() {
                dead.push(run.chain);
            }
            !run.waits.is_empty()
        });
        self.runs = runs;
        complete
            .iter()
            .for_each(|&chain| self.shared.chains.hold(chain));
        let begun = self.begin(rules, number, place, time);
        grown.extend(begun);
        for growth in grown {
            self.grow(rules, growth, number, place, &mut complete);
        }
        dead.into_iter()
            .for_each(|chain| self.shared.release(chain));
        self.shared.items.release(number);
        self.finish(rules, time, complete, found);
    }

    /// Shows an item to one wait of a run.
    fn show(&self, rules: &Rules<T>, run: &Run, wait: u16, number: u32, place: u64) -> Waited {
        let is_next = place == run.place + 1;
        let item = &self.shared.items.get(number).1;
        let matched = Matched {
            shared: &self.shared,
            names: &rules.names,
            last: Some(run.chain),
        };
        let forbidden = |guard: &Guard<T>| (guard.condition)(item, &matched);
        let is_same = wait == run.step;
        let guards = || rules.guards(run.step, wait).filter(|_| !is_same);
        let mut waited = Waited {
            takes: false,
            ends: false,
            stays: false,
        };
        if is_next && guards().any(|guard| guard.is_next && forbidden(guard)) {
            return waited;
        }
        if wait == rules.end() {
            let waits_on = guards().any(|guard| !guard.is_next);
            waited.ends = !waits_on;
            waited.stays = waits_on;
        } else {
            let step = &rules.pattern.steps[usize::from(wait)];
            let follows = if is_same {
                Follows::First
            } else {
                step.follows
            };
            // Nothing but the item right after it is shown to a wait that is over after that.
            waited.takes = (step.condition)(item, &matched);
            waited.stays = match follows {
                Follows::Next => false,
                Follows::First => !waited.takes,
                Follows::Any => true,
            };
        }
        if waited.stays && guards().any(|guard| !guard.is_next && forbidden(guard)) {
            waited.stays = false;
        }
        waited
    }

    /// Runs that begin with an item.
    fn begin(&self, rules: &Rules<T>, number: u32, place: u64, time: Timestamp) -> Vec<Growth> {
        let item = &self.shared.items.get(number).1;
        let matched = Matched {
            shared: &self.shared,
            names: &rules.names,
            last: None,
        };
        let (first, _) = rules.pattern.after(None);
        first
            .filter(|&step| (rules.pattern.steps[step].condition)(item, &matched))
            .map(|step| Growth {
                before: None,
                step: step as u16,
                count: 1,
                start_place: place,
                start: time,
            })
            .collect()
    }

    fn grow(
        &mut self,
        rules: &Rules<T>,
        growth: Growth,
        item: u32,
        place: u64,
        complete: &mut Vec<u32>,
    ) {
        let Growth {
            before,
            step,
            count,
            start_place,
            start,
        } = growth;
        let chain = self.shared.extend(Taken {
            step,
            place,
            item,
            before,
        });
        let (waits, ends) = rules.waits(step, count);
        if ends {
            self.shared.chains.hold(chain);
            complete.push(chain);
        }
        if waits.is_empty() {
            self.shared.release(chain);
            return;
        }
        self.runs.push(Run {
            chain,
            step,
            count,
            place,
            start_place,
            start,
            waits,
        });
    }

    /// Gives out matches that were found together, as far as those before them leave them.
    fn finish(
        &mut self,
        rules: &Rules<T>,
        at: Timestamp,
        complete: Vec<u32>,
        found: &mut Vec<Found>,
    ) {
        if complete.is_empty() {
            return;
        }
        let places = |chain: u32| {
            let taken = self.shared.chain(Some(chain));
            let mut taken: Vec<_> = taken.map(|taken| (taken.place, taken.step)).collect();
            taken.reverse();
            taken.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()
        };
        let mut complete: Vec<_> = complete
            .into_iter()
            .map(|chain| (places(chain), chain))
            .collect();
        complete.sort_unstable();
        // Starts up to this, or equal to it, are taken.
        let mut taken: Option<u64> = None;
        for ((places, _), chain) in complete {
            let (first, last) = (places[0], places[places.len() - 1]);
            let is_skipped = |start: u64| match rules.pattern.skip {
                Skip::Nothing => false,
                Skip::ToNext => taken == Some(start),
                Skip::PastLast => taken.is_some_and(|taken| start <= taken),
            };
            if is_skipped(first) {
                self.shared.release(chain);
                continue;
            }
            found.push((at, chain));
            let is_over: &dyn Fn(u64) -> bool = match rules.pattern.skip {
                Skip::Nothing => continue,
                Skip::ToNext => &move |start| start == first,
                Skip::PastLast => &move |start| start <= last,
            };
            taken = Some(if rules.pattern.skip == Skip::ToNext {
                first
            } else {
                last
            });
            for run in self.runs.extract_if(.., |run| is_over(run.start_place)) {
                self.shared.release(run.chain);
            }
        }
    }

    /// Whether no item or chain is held that nothing can use.
    pub(super) fn is_clean(&self) -> bool {
        self.is_empty() && self.shared.items.is_empty() && self.shared.chains.is_empty()
    }
}
