//! What a pattern is.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::matched::Matched;

/// Whether a step takes an item, given what was taken before.
type Condition<T> = Arc<dyn Fn(&T, &Matched<'_, T>) -> bool + Send + Sync>;

/// How a step follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Right after it.
    Next,
    /// The first after it that the step takes.
    First,
    /// Anywhere after it.
    Any,
}

/// What must not come.
#[derive(Clone)]
pub(super) struct Guard<T> {
    /// Only right after the item before; otherwise anywhere up to the next.
    pub(super) is_next: bool,
    pub(super) condition: Condition<T>,
}

#[derive(Clone)]
pub(super) struct Step<T> {
    pub(super) name: CompactString,
    pub(super) follows: Follows,
    pub(super) condition: Condition<T>,
    pub(super) items_min: u32,
    pub(super) items_max: u32,
    pub(super) is_optional: bool,
    /// What must not come before it.
    pub(super) guards: Vec<Guard<T>>,
}

/// What happens to other matches once one was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skip {
    /// All matches count.
    #[default]
    Nothing,
    /// None that begins at the same item: one match per beginning.
    ToNext,
    /// None that begins at or before the last item of the match.
    PastLast,
}

/// A sequence of items to look for.
///
/// ```
/// use std::time::Duration;
/// use millstream_operators::pattern::Pattern;
///
/// // A small payment and then a large one, of at least a hundred times as much, within ten minutes.
/// let probe = Pattern::begin("probe", |amount: &u64| *amount < 10)
///     .followed_by("strike", |amount| *amount > 500)
///     .given(|amount, matched| {
///         matched.last("probe").is_some_and(|probe| *amount >= 100 * probe)
///     })
///     .within(Duration::from_secs(600));
/// assert!(probe.validate().is_ok());
/// ```
#[derive(Clone)]
pub struct Pattern<T> {
    pub(super) steps: Vec<Step<T>>,
    /// What must not come after the last step.
    pub(super) last_guards: Vec<Guard<T>>,
    pub(super) within: Option<Duration>,
    pub(super) skip: Skip,
    faults: Vec<&'static str>,
}

/// A pattern that cannot be looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern {name:?}: {reason}")]
pub struct InvalidPattern {
    /// Its first step.
    pub name: String,
    /// What is wrong, and what to do.
    pub reason: &'static str,
}

impl<T> Pattern<T> {
    /// A pattern whose first step takes items for which `condition` holds.
    pub fn begin<F>(name: &str, condition: F) -> Self
    where
        F: Fn(&T) -> bool + Send + Sync + 'static,
    {
        let pattern = Self {
            steps: Vec::new(),
            last_guards: Vec::new(),
            within: None,
            skip: Skip::Nothing,
            faults: Vec::new(),
        };
        pattern.step(name, Follows::First, condition)
    }

    fn step<F>(mut self, name: &str, follows: Follows, condition: F) -> Self
    where
        F: Fn(&T) -> bool + Send + Sync + 'static,
    {
        if self.steps.iter().any(|step| &*step.name == name) {
            self.faults.push("two steps have one name");
        }
        self.steps.push(Step {
            name: name.into(),
            follows,
            condition: Arc::new(move |item, _| condition(item)),
            items_min: 1,
            items_max: 1,
            is_optional: false,
            guards: std::mem::take(&mut self.last_guards),
        });
        self
    }

    fn guard<F>(mut self, is_next: bool, condition: F) -> Self
    where
        F: Fn(&T) -> bool + Send + Sync + 'static,
    {
        let condition: Condition<T> = Arc::new(move |item, _| condition(item));
        self.last_guards.push(Guard { is_next, condition });
        self
    }

    /// Then, right after it, an item for which `condition` holds.
    #[must_use]
    pub fn next<F>(self, name: &str, condition: F) -> Self
    where
        F: Fn(&T) -> bool + Send + Sync + 'static,
    {
        self.step(name, Follows::Next, condition)
    }

    /// Then, with others between, the first item for which `condition` holds.
    #[must_use]
    pub fn followed_by<F>(self, name: &str, condition: F) -> Self
    where
        F: Fn(&T) -> bool + Send + Sync + 'static,
    {
        self.step(name, Follows::First, condition)
    }

    /// Then, with others between, any item for which `condition` holds: each of them makes a match of its own.
    #[must_use]
    pub fn followed_by_any<F>(self, name: &str, condition: F) -> Self
    where
        F: Fn(&T) -> bool + Send + Sync + 'static,
    {
        self.step(name, Follows::Any, condition)
    }

    /// The item right after it is none for which `condition` holds.
    #[must_use]
    pub fn not_next<F>(self, condition: F) -> Self
    where
        F: Fn(&T) -> bool + Send + Sync + 'static,
    {
        self.guard(true, condition)
    }

    /// No item up to that of the next step is one for which `condition` holds; without a next step, none until the
    /// pattern's time is over, which is when it has matched.
    #[must_use]
    pub fn not_followed_by<F>(self, condition: F) -> Self
    where
        F: Fn(&T) -> bool + Send + Sync + 'static,
    {
        self.guard(false, condition)
    }

    /// The step, or the negation, that was added last holds only if this does too: it sees what was taken before.
    #[must_use]
    pub fn given<F>(mut self, condition: F) -> Self
    where
        T: 'static,
        F: Fn(&T, &Matched<'_, T>) -> bool + Send + Sync + 'static,
    {
        let last = match self.last_guards.last_mut() {
            Some(guard) => &mut guard.condition,
            None => match self.steps.last_mut() {
                Some(step) => &mut step.condition,
                None => return self,
            },
        };
        let first = Arc::clone(last);
        *last = Arc::new(move |item, matched| first(item, matched) && condition(item, matched));
        self
    }

    fn items(mut self, min: u32, max: u32) -> Self {
        if !self.last_guards.is_empty() {
            self.faults.push("a negation has no number of items");
        }
        if min == 0 || max < min {
            self.faults
                .push("a step takes at least one item: make it optional if it may be missing");
        }
        if let Some(step) = self.steps.last_mut() {
            (step.items_min, step.items_max) = (min, max);
        }
        self
    }

    /// The step takes this many items.
    #[must_use]
    pub fn times(self, items: u32) -> Self {
        self.items(items, items)
    }

    /// The step takes so many items, at least and at most: each number that is found makes a match of its own.
    #[must_use]
    pub fn times_range(self, items: RangeInclusive<u32>) -> Self {
        self.items(*items.start(), *items.end())
    }

    /// The step takes one item or more: each number that is found makes a match of its own.
    #[must_use]
    pub fn one_or_more(self) -> Self {
        self.items(1, u32::MAX)
    }

    /// The step may be missing.
    #[must_use]
    pub fn optional(mut self) -> Self {
        if !self.last_guards.is_empty() {
            self.faults.push("a negation cannot be optional");
        }
        if let Some(step) = self.steps.last_mut() {
            step.is_optional = true;
        }
        self
    }

    /// The last item comes less than `within` of event time after the first. Needed: it bounds what is kept.
    #[must_use]
    pub const fn within(mut self, within: Duration) -> Self {
        self.within = Some(within);
        self
    }

    /// What happens to other matches once one was found. Default: all count. Of matches that end together, those that
    /// begin earlier come first, then those whose items are earlier.
    #[must_use]
    pub const fn skip(mut self, skip: Skip) -> Self {
        self.skip = skip;
        self
    }

    /// Whether it can be looked for.
    ///
    /// # Errors
    /// [`InvalidPattern`]: no time bound, or a step that makes no sense.
    pub fn validate(&self) -> Result<(), InvalidPattern> {
        let name = self.steps.first().map_or("", |step| &step.name);
        let mut faults = self.faults.clone();
        if self.within.is_none_or(|within| within.as_micros() == 0) {
            faults.push("what it keeps has no bound: give it a time with .within(…)");
        }
        if self.steps.iter().all(|step| step.is_optional) {
            faults.push("all its steps are optional, so that nothing matches it: one must not be");
        }
        if self.steps.len() > usize::from(u16::MAX) {
            faults.push("it has too many steps");
        }
        match faults.first() {
            None => Ok(()),
            Some(reason) => Err(InvalidPattern {
                name: name.to_owned(),
                reason,
            }),
        }
    }

    /// Steps that may come after step `from` (or first) is done, with what must not come before them: those up to the
    /// first that is not optional, and whether the pattern may end there.
    pub(super) fn after(&self, from: Option<usize>) -> (RangeInclusive<usize>, bool) {
        let first = from.map_or(0, |from| from + 1);
        let needed = (first..self.steps.len()).find(|&step| !self.steps[step].is_optional);
        match needed {
            Some(needed) => (first..=needed, false),
            None => (first..=self.steps.len().wrapping_sub(1), true),
        }
    }
}

impl<T> fmt::Debug for Pattern<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.steps.iter().map(|step| &*step.name);
        f.debug_struct("Pattern")
            .field("steps", &names.collect::<Vec<_>>())
            .field("within", &self.within)
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}
