//! What the pattern says of each step: what a run that has come to it waits for.

use std::time::Duration;

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::pattern::steps::{Guard, Pattern};

/// Steps by number; the number of steps stands for the end.
pub(super) type Waits = SmallVec<[u16; 4]>;

/// A pattern and the names of its steps.
pub(in crate::pattern) struct Rules<T> {
    pub(in crate::pattern) pattern: Pattern<T>,
    pub(in crate::pattern) names: Vec<CompactString>,
    pub(in crate::pattern) within: Duration,
}

impl<T> Rules<T> {
    pub(super) fn end(&self) -> u16 {
        self.pattern.steps.len() as u16
    }

    /// What must not come between an item of step `from` and one of step `to`.
    pub(super) fn guards(&self, from: u16, to: u16) -> impl Iterator<Item = &Guard<T>> {
        let steps = &self.pattern.steps;
        let (first, last) = (usize::from(from) + 1, usize::from(to) + 1);
        let between = steps.get(first..last.min(steps.len())).unwrap_or_default();
        let at_end = if to == self.end() {
            self.pattern.last_guards.as_slice()
        } else {
            &[]
        };
        between.iter().flat_map(|step| &step.guards).chain(at_end)
    }

    /// What a run waits for, and whether it matches as it is.
    pub(super) fn waits(&self, step: u16, count: u32) -> (Waits, bool) {
        let mut waits = Waits::new();
        let own = &self.pattern.steps[usize::from(step)];
        if count < own.items_max {
            waits.push(step);
        }
        if count < own.items_min {
            return (waits, false);
        }
        let (next, may_end) = self.pattern.after(Some(usize::from(step)));
        waits.extend(next.map(|step| step as u16));
        let ends = may_end && self.guards(step, self.end()).next().is_none();
        if may_end && !ends {
            waits.push(self.end());
        }
        (waits, ends)
    }
}
