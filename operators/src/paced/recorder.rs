//! Takes what an inlet gives and keeps it, in order.

use std::collections::VecDeque;
use std::convert::Infallible;

use millstream_engine::checkpoint::Epoch;
use millstream_engine::flow::{Discard, Emit, Operator, stateless};
use millstream_engine::time::Timestamp;

/// What is told between items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// No item with an earlier time is expected.
    Watermark(Timestamp),
    /// Nothing may come for a while.
    Idle,
    /// A checkpoint: what came before is part of it.
    Barrier(Epoch),
    /// Nothing will come.
    End,
}

impl Mark {
    /// Gives the mark to an operator. A barrier and the end are the head's business.
    pub fn tell<T, O: Operator<T, Out = Infallible>>(self, operator: &mut O) {
        match self {
            Self::Watermark(watermark) => operator.watermark(watermark, &mut Discard),
            Self::Idle => operator.idle(),
            Self::Barrier(_) | Self::End => {}
        }
    }
}

/// Gives on what was recorded, with the limit of lateness that goes with it: an item's own, and for what is given out
/// at a mark, or by the clock afterwards, that of the watermark which was told last.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    watermark: Timestamp,
    /// What the operator was told last.
    limit: Timestamp,
}

impl Teller {
    /// Nothing was told yet.
    pub const fn new() -> Self {
        Self {
            watermark: Timestamp::MIN,
            limit: Timestamp::MIN,
        }
    }

    /// Begins where it was: what was told then.
    pub fn resume(&mut self, watermark: Timestamp) {
        self.watermark = self.watermark.max(watermark);
    }

    /// Gives an item to an operator.
    #[inline]
    pub fn item<T, O: Operator<T, Out = Infallible>>(
        &mut self,
        operator: &mut O,
        (time, limit, item): (Timestamp, Timestamp, T),
    ) {
        self.limit(operator, limit);
        operator.item(time, item, &mut Discard);
    }

    /// Gives a mark to an operator.
    pub fn mark<T, O: Operator<T, Out = Infallible>>(&mut self, operator: &mut O, mark: Mark) {
        self.rest(operator);
        mark.tell(operator);
        if let Mark::Watermark(watermark) = mark {
            self.watermark = self.watermark.max(watermark);
        }
    }

    /// No item follows for now.
    pub fn rest<T, O: Operator<T, Out = Infallible>>(&mut self, operator: &mut O) {
        self.limit(operator, self.watermark);
    }

    fn limit<T, O: Operator<T, Out = Infallible>>(&mut self, operator: &mut O, limit: Timestamp) {
        if limit != self.limit {
            self.limit = limit;
            operator.late_before(limit);
        }
    }
}

impl Default for Teller {
    fn default() -> Self {
        Self::new()
    }
}

/// One thing that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded<T> {
    /// An item, its time, and the time before which it would be late.
    Item(Timestamp, Timestamp, T),
    /// Something between items.
    Mark(Mark),
}

/// Keeps what it is given until it is taken.
///
/// Says that it is blocked while it holds anything, so that an inlet stops after each batch that had items.
#[derive(Clone, Debug)]
pub struct Recorder<T> {
    held: VecDeque<Recorded<T>>,
    items: usize,
    limit: Timestamp,
}

impl<T> Recorder<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self {
            held: VecDeque::new(),
            items: 0,
            limit: Timestamp::MIN,
        }
    }

    /// The next thing that came.
    pub fn take(&mut self) -> Option<Recorded<T>> {
        let taken = self.held.pop_front();
        if matches!(taken, Some(Recorded::Item(..))) {
            self.items -= 1;
        }
        taken
    }

    /// A barrier came behind everything that is held.
    pub fn add_barrier(&mut self, epoch: Epoch) {
        self.held.push_back(Recorded::Mark(Mark::Barrier(epoch)));
    }

    /// Whether the next thing is an item.
    pub fn is_item_next(&self) -> bool {
        matches!(self.held.front(), Some(Recorded::Item(..)))
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Items that are held.
    pub const fn items(&self) -> usize {
        self.items
    }
}

impl<T> Default for Recorder<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + 'static> Operator<T> for Recorder<T> {
    type Out = Infallible;

    #[inline]
    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: T, _out: &mut E) {
        self.items += 1;
        let item = Recorded::Item(time, self.limit, item);
        self.held.push_back(item);
    }

    fn watermark<E: Emit<Infallible>>(&mut self, watermark: Timestamp, _out: &mut E) {
        // One watermark right after another says all that both say.
        if let Some(Recorded::Mark(Mark::Watermark(last))) = self.held.back_mut() {
            *last = watermark;
            return;
        }
        let mark = Mark::Watermark(watermark);
        self.held.push_back(Recorded::Mark(mark));
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.limit = limit;
    }

    fn is_blocked(&self) -> bool {
        self.items > 0
    }

    fn idle(&mut self) {
        self.held.push_back(Recorded::Mark(Mark::Idle));
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.held.push_back(Recorded::Mark(Mark::End));
    }

    stateless!();
}
