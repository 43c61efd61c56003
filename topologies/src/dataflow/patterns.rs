//! Patterns over keyed streams.

use std::convert::Infallible;
use std::fmt;

use millstream_engine::flow::{Forward, Operator, Outlet};
use millstream_operators::Key;
use millstream_operators::function::Stored;
use millstream_operators::pattern::{Pattern, PatternMatcher};
use millstream_operators::window::CountLate;

use millstream_operators::sink::LateLetters;
use serde::Serialize;

use super::check::DataflowFault;
use super::flow::SideOutput;
use super::keyed::KeyedStream;
use super::origin::Origin;
use super::processed::Processed;
use super::site::{LateWay, Note};
use super::windowed::place;

/// A keyed stream in which a pattern is looked for.
#[must_use = "a stream does nothing unless it ends in a sink"]
pub struct PatternStream<P, O, F, T, L = CountLate> {
    keyed: KeyedStream<P, O, F>,
    pattern: Pattern<T>,
    late: L,
    late_way: LateWay,
}

impl<P, O, K, F> KeyedStream<P, O, F>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Send + 'static,
    K: Key,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
{
    /// Looks for `pattern` in each key's items, in the order of event time.
    pub const fn pattern(self, pattern: Pattern<O::Out>) -> PatternStream<P, O, F, O::Out> {
        PatternStream {
            keyed: self,
            pattern,
            late: CountLate::new(),
            late_way: LateWay::Counted,
        }
    }
}

impl<P, O, K, F, L> PatternStream<P, O, F, O::Out, L>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Stored,
    K: Key,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
    L: Operator<O::Out, Out = Infallible> + Clone,
{
    /// Sends items that are late to a side output. Default: they are counted in the metrics.
    pub fn late_to(
        self,
        side: &SideOutput<O::Out>,
    ) -> PatternStream<P, O, F, O::Out, Outlet<O::Out, Forward>> {
        PatternStream {
            late: side.outlet_of(self.keyed.partitions),
            keyed: self.keyed,
            pattern: self.pattern,
            late_way: LateWay::Side(side.id),
        }
    }

    /// Keeps items that are late as dead letters, which `millstream dead-letters list` shows: with stage, time and
    /// watermark, the last 10,000 of each partition of the stage. Needs an engine. Each start drops those of the one
    /// before.
    pub fn late_to_dead_letters(self) -> PatternStream<P, O, F, O::Out, LateLetters<O::Out>>
    where
        O::Out: Serialize,
    {
        self.keyed.stream.flow.draft.borrow_mut().has_letters = true;
        PatternStream {
            keyed: self.keyed,
            pattern: self.pattern,
            late: LateLetters::new(),
            late_way: LateWay::Letters,
        }
    }

    /// Names the state; needed once a dataflow has more than one operator with state.
    pub fn named(mut self, name: &str) -> Self {
        self.keyed = self.keyed.named(name);
        self
    }

    /// The matches.
    pub fn matches(self) -> Processed<O::Out, K, F, PatternMatcher<O::Out>, L> {
        let matcher = PatternMatcher::new(self.pattern).unwrap_or_else(|error| {
            self.keyed.stream.flow.fault(DataflowFault::Impossible {
                place: format!("pattern {:?}", error.name),
                reason: error.reason.to_owned(),
            });
            PatternMatcher::nothing()
        });
        let (late, way) = (self.late, self.late_way);
        let place = place("a pattern", self.keyed.state.as_deref());
        let mut stream = self.keyed.processed("pattern", matcher, late, way.edge());
        stream.site.has_late_letters |= matches!(way, LateWay::Letters);
        stream.noted(Note::in_time(place, true, true))
    }
}

impl<P, O, F, T, L> fmt::Debug for PatternStream<P, O, F, T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternStream")
            .field("pattern", &self.pattern)
            .finish_non_exhaustive()
    }
}
