//! One key's part of one window with a trigger, and how it is given out.

use millstream_engine::flow::Emit;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::aligned::{Shape, Span};
use super::{Revision, Trigger, Window, Windowed};
use crate::function::AggregateFunction;

/// What was given out last.
#[derive(Clone, Serialize, Deserialize)]
enum Shown<A> {
    Nothing,
    Current,
    /// Only kept if results are taken back.
    Before(Box<A>),
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pane<A> {
    pub(super) sum: A,
    /// Items since it was given out.
    pub(super) changes: u64,
    /// Time of its latest item.
    pub(super) latest: i64,
    /// Whether it waits for an early result by the clock.
    pub(super) dirty: bool,
    shown: Shown<A>,
}

impl<A: Clone> Pane<A> {
    pub(super) const fn new(sum: A) -> Self {
        Self {
            sum,
            changes: 0,
            latest: i64::MIN,
            dirty: false,
            shown: Shown::Nothing,
        }
    }

    /// Keeps what was given out, if it will be taken back.
    pub(super) fn before_change(&mut self, retracting: bool) {
        if matches!(self.shown, Shown::Current) {
            self.shown = if retracting {
                Shown::Before(Box::new(self.sum.clone()))
            } else {
                Shown::Nothing
            };
        }
    }
}

/// What all keys and windows have in common.
#[derive(Clone)]
pub(super) struct Giving<A> {
    pub(super) function: A,
    /// `None`: one window for all time.
    pub(super) span: Option<Span>,
    pub(super) trigger: Trigger,
    pub(super) retracting: bool,
    /// Windows that end by this have been given out.
    pub(super) watermark: i64,
    /// The watermark before that one.
    pub(super) earlier: i64,
}

impl<A> Giving<A> {
    pub(super) fn shape(&self) -> Shape {
        self.span.as_ref().map_or(Shape::ENDLESS, Span::shape)
    }

    /// The window that ends at `end` and what its results are stamped with. A window of all time has no last time
    /// that would mean anything: it is that of its latest item, or the watermark where that is later, so that no
    /// result is late.
    fn window(&self, end: i64, latest: i64) -> (Window, Timestamp) {
        if let Some(span) = &self.span {
            let window = span.window_ending(end);
            return (window, window.last());
        }
        let window = Window {
            start: Timestamp::MIN,
            end: Timestamp::MAX,
        };
        let watermark = if self.watermark == i64::MAX {
            self.earlier
        } else {
            self.watermark
        };
        (window, Timestamp(latest.max(watermark)))
    }

    /// Gives a pane out, after taking back what it replaces.
    pub(super) fn give<T, K, E>(
        &self,
        end: i64,
        key: &K,
        pane: &mut Pane<A::Accumulator>,
        revision: Revision,
        out: &mut E,
    ) where
        K: Clone,
        A: AggregateFunction<T>,
        E: Emit<Windowed<K, A::Output>>,
    {
        let (window, time) = self.window(end, pane.latest);
        let mut emit = |sum: &A::Accumulator, revision| {
            let result = Windowed {
                key: key.clone(),
                window,
                value: self.function.finish(sum),
                revision,
            };
            out.emit(time, result);
        };
        match std::mem::replace(&mut pane.shown, Shown::Current) {
            Shown::Current if self.retracting => emit(&pane.sum, Revision::Retraction),
            Shown::Before(sum) => emit(&sum, Revision::Retraction),
            Shown::Nothing | Shown::Current => {}
        }
        emit(&pane.sum, revision);
        pane.changes = 0;
    }
}
