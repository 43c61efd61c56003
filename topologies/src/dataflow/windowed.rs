//! Windows over keyed streams: what is computed of each, and where late items go.

use std::convert::Infallible;
use std::fmt;

use millstream_engine::flow::{Forward, Operator, Outlet};
use millstream_operators::Key;
use millstream_operators::function::AggregateFunction;
use millstream_operators::window::{CountLate, Trigger, Triggered};

use millstream_operators::sink::LateLetters;
use serde::Serialize;

use super::check::DataflowFault;
use super::flow::SideOutput;
use super::keyed::KeyedStream;
use super::origin::{InletOrigin, Origin};
use super::site::{LateWay, Note};
use super::stream::Stream;
use super::windows::{Retracting, WindowKind};

/// A keyed stream in windows.
#[must_use = "a stream does nothing unless it ends in a sink"]
pub struct WindowedStream<P, O, F, W, L = CountLate> {
    pub(super) keyed: KeyedStream<P, O, F>,
    pub(super) window: W,
    pub(super) late: L,
    /// Where late items go, as the stage is told.
    pub(super) late_way: LateWay,
}

impl<P, O, F, W> WindowedStream<P, O, F, W> {
    pub(super) const fn new(keyed: KeyedStream<P, O, F>, window: W) -> Self {
        Self {
            keyed,
            window,
            late: CountLate::new(),
            late_way: LateWay::Counted,
        }
    }
}

impl<P, O, F, W, L> WindowedStream<P, O, F, W, L> {
    /// Gives results out as `trigger` says. Default: at the watermark, and with each item that is late but allowed.
    pub fn trigger(self, trigger: Trigger) -> WindowedStream<P, O, F, Triggered<W>, L> {
        WindowedStream {
            keyed: self.keyed,
            window: Triggered::new(self.window, trigger),
            late: self.late,
            late_way: self.late_way,
        }
    }

    /// Takes back each result ([`Retraction`]) before one that replaces it is given out, for whoever adds results up
    /// instead of replacing them. Default: a result replaces the one before of its key and window.
    ///
    /// [`Retraction`]: millstream_operators::window::Revision::Retraction
    pub fn retracting(mut self) -> Self
    where
        W: Retracting,
    {
        self.window = self.window.retracting();
        self
    }
}

impl<P, O, K, F, W, L> WindowedStream<P, O, F, W, L>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Send + 'static,
    K: Key,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
    W: WindowKind,
    L: Operator<O::Out, Out = Infallible> + Clone,
{
    /// Sends items that are late to a side output. Default: they are counted in the metrics.
    pub fn late_to(
        self,
        side: &SideOutput<O::Out>,
    ) -> WindowedStream<P, O, F, W, Outlet<O::Out, Forward>> {
        WindowedStream {
            late: side.outlet_of(self.keyed.partitions),
            keyed: self.keyed,
            window: self.window,
            late_way: LateWay::Side(side.id),
        }
    }

    /// Keeps items that are late as dead letters, which `millstream dead-letters list` shows: with stage, time and
    /// watermark, the last 10,000 of each partition of the stage. Needs an engine. Each start drops those of the one
    /// before.
    pub fn late_to_dead_letters(self) -> WindowedStream<P, O, F, W, LateLetters<O::Out>>
    where
        O::Out: Serialize,
    {
        self.keyed.stream.flow.draft.borrow_mut().has_letters = true;
        WindowedStream {
            keyed: self.keyed,
            window: self.window,
            late: LateLetters::new(),
            late_way: LateWay::Letters,
        }
    }

    /// Names the state; needed once a dataflow has more than one operator with state.
    pub fn named(mut self, name: &str) -> Self {
        self.keyed = self.keyed.named(name);
        self
    }

    /// What `function` computes of each key's items of each window.
    #[expect(
        clippy::type_complexity,
        reason = "the operators so far are in the type"
    )]
    pub fn aggregate<A: AggregateFunction<O::Out>>(
        self,
        function: A,
    ) -> Stream<InletOrigin<O::Out>, W::Windows<O::Out, K, F, A, L>> {
        let place = place("a window", self.keyed.state.as_deref());
        let notes = Note::of_window(&place, self.window.timing());
        if let Some(reason) = self.window.fault::<O::Out, A>() {
            let flow = &self.keyed.stream.flow;
            flow.fault(DataflowFault::Impossible { place, reason });
        }
        let (mut stream, key, name) = self.keyed.exchange("window");
        stream.site.leads_late(self.late_way);
        stream.site.notes.extend(notes);
        stream
            .begin_with(self.window.windows(key, function, self.late))
            .with_state("a window", name)
    }
}

/// How an operator is called in messages.
pub(super) fn place(kind: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{kind} named {name:?}"),
        None => kind.to_owned(),
    }
}

impl<P, O, F, W, L> fmt::Debug for WindowedStream<P, O, F, W, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowedStream")
            .field("keyed", &self.keyed)
            .finish_non_exhaustive()
    }
}
