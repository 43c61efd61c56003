//! A pattern as a process: buffers items, and looks at them when the watermark has passed them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::time::Timestamp;

use super::machine::{Found, PatternState, Rules};
use super::matched::{Match, collect};
use super::steps::{InvalidPattern, Pattern};
use crate::function::Stored;
use crate::keyed::{Context, KeyedProcess, Timer};

/// Looks for a pattern in each key's items. Items that are late go to the side output.
pub struct PatternMatcher<T> {
    rules: Arc<Rules<T>>,
    found: Vec<Found>,
}

impl<T> PatternMatcher<T> {
    /// Looks for `pattern`.
    ///
    /// # Errors
    /// [`InvalidPattern`]: it cannot be looked for.
    pub fn new(pattern: Pattern<T>) -> Result<Self, InvalidPattern> {
        pattern.validate()?;
        Ok(Self::of(pattern))
    }

    /// Finds nothing: stands in for a pattern that was refused, until the refusal is told.
    pub fn nothing() -> Self {
        Self::of(Pattern::begin("nothing", |_| false).within(Duration::from_micros(1)))
    }

    fn of(pattern: Pattern<T>) -> Self {
        let names = pattern.steps.iter().map(|step| step.name.clone());
        let rules = Rules {
            names: names.collect(),
            within: pattern.within.unwrap_or_default(),
            pattern,
        };
        Self {
            rules: Arc::new(rules),
            found: Vec::new(),
        }
    }
}

/// Sees to a look at `at`, if that is before the next one: a key has one timer, however many items wait.
fn arm<T, O, S>(state: &mut PatternState<T>, at: Option<Timestamp>, ctx: &mut Context<'_, O, S>) {
    let Some(at) = at else { return };
    match state.armed {
        Some(armed) if armed <= at => return,
        Some(armed) => ctx.delete_event_timer(armed),
        None => {}
    }
    ctx.set_event_timer(at);
    state.armed = Some(at);
}

impl<K, T> KeyedProcess<K, T> for PatternMatcher<T>
where
    K: Clone + Send + 'static,
    T: Stored,
{
    type State = PatternState<T>;
    type Out = Match<K, T>;
    type Side = T;

    fn item(
        &mut self,
        _key: &K,
        state: &mut PatternState<T>,
        time: Timestamp,
        item: T,
        ctx: &mut Context<'_, Match<K, T>, T>,
    ) {
        if ctx.is_late() {
            ctx.emit_side(item);
            if state.is_empty() {
                ctx.clear_state();
            }
            return;
        }
        state.add(time, item);
        // One of the same time may still come when the watermark is just there.
        arm(state, Some(Timestamp(time.0.saturating_add(1))), ctx);
    }

    fn timer(
        &mut self,
        key: &K,
        state: &mut PatternState<T>,
        _timer: Timer,
        ctx: &mut Context<'_, Match<K, T>, T>,
    ) {
        let watermark = ctx.watermark();
        let rules = &self.rules;
        state.armed = None;
        let next = state.advance(rules, watermark, &mut self.found);
        arm(state, next, ctx);
        for (at, chain) in self.found.drain(..) {
            let steps = &rules.pattern.steps;
            let found = collect(key.clone(), steps, &state.shared, chain);
            state.shared.release(chain);
            ctx.emit_at(at, found);
        }
        if state.is_empty() {
            debug_assert!(state.is_clean(), "a chain outlived its runs");
            ctx.clear_state();
        }
    }
}

impl<T> Clone for PatternMatcher<T> {
    fn clone(&self) -> Self {
        Self {
            rules: Arc::clone(&self.rules),
            found: Vec::new(),
        }
    }
}

impl<T> fmt::Debug for PatternMatcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternMatcher")
            .field("pattern", &self.rules.pattern)
            .finish_non_exhaustive()
    }
}
