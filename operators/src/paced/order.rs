//! In which order results go on: that of their items, or that of being there, between two marks.

use std::collections::VecDeque;

use millstream_engine::time::Timestamp;

use super::recorder::Mark;

/// A result with its item's time and limit of lateness.
#[derive(Debug)]
pub(super) struct Done<R> {
    pub(super) time: Timestamp,
    pub(super) limit: Timestamp,
    pub(super) result: R,
}

/// What may go on next.
#[derive(Debug)]
pub(super) enum Next<R> {
    Item(Done<R>),
    Mark(Mark),
}

/// The place of a call whose result is not there yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    segment: u64,
    place: usize,
}

/// Items between two marks.
#[derive(Debug)]
struct Segment<R> {
    /// Results that are not there yet.
    pending: usize,
    /// If ordered, with a gap for each that is not there.
    done: VecDeque<Option<Done<R>>>,
    /// Taken out of `done` so far.
    given: usize,
    mark: Option<Mark>,
}

impl<R> Segment<R> {
    const fn new() -> Self {
        Self {
            pending: 0,
            done: VecDeque::new(),
            given: 0,
            mark: None,
        }
    }
}

/// All that has come and not gone on.
#[derive(Debug)]
pub(super) struct Order<R> {
    is_ordered: bool,
    /// Never empty; only the last one has no mark.
    segments: VecDeque<Segment<R>>,
    /// Number of the first segment.
    first: u64,
    items: usize,
}

impl<R> Order<R> {
    pub(super) fn new(is_ordered: bool) -> Self {
        Self {
            is_ordered,
            segments: VecDeque::from([Segment::new()]),
            first: 0,
            items: 0,
        }
    }

    /// Items that have not gone on, whether their results are there or not.
    pub(super) const fn items(&self) -> usize {
        self.items
    }

    pub(super) fn add_item(&mut self) -> Ticket {
        self.items += 1;
        let at = self.segments.len() - 1;
        let segment = &mut self.segments[at];
        let place = segment.given + segment.done.len();
        segment.pending += 1;
        if self.is_ordered {
            segment.done.push_back(None);
        }
        let segment = self.first + at as u64;
        Ticket { segment, place }
    }

    pub(super) fn add_mark(&mut self, mark: Mark) {
        let last = self.segments.len() - 1;
        let is_empty = self.segments[last].pending == 0 && self.segments[last].done.is_empty();
        if is_empty
            && let Mark::Watermark(_) = mark
            && let Some(before) = last.checked_sub(1).and_then(|at| self.segments.get_mut(at))
            && let Some(Mark::Watermark(_)) = before.mark
        {
            // One watermark right after another says all that both say, and a slow call lets many wait.
            before.mark = Some(mark);
            return;
        }
        if let Some(last) = self.segments.back_mut() {
            last.mark = Some(mark);
        }
        self.segments.push_back(Segment::new());
    }

    pub(super) fn finish(&mut self, ticket: Ticket, done: Done<R>) {
        let segment = &mut self.segments[(ticket.segment - self.first) as usize];
        segment.pending -= 1;
        if self.is_ordered {
            segment.done[ticket.place - segment.given] = Some(done);
        } else {
            segment.done.push_back(Some(done));
        }
    }

    pub(super) fn next(&mut self) -> Option<Next<R>> {
        let segment = self.segments.front_mut()?;
        if let Some(done) = segment.done.front_mut() {
            let done = done.take()?;
            segment.done.pop_front();
            segment.given += 1;
            self.items -= 1;
            return Some(Next::Item(done));
        }
        if segment.pending > 0 {
            return None;
        }
        let mark = segment.mark?;
        self.segments.pop_front();
        self.first += 1;
        Some(Next::Mark(mark))
    }
}
