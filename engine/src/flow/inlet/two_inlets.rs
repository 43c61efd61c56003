//! The beginning of a stage that follows others of two item types: a join's.
//!
//! Lanes of both sides count on: those of the right come behind those of the left, so that watermarks and barriers are merged
//! over all of them as over the lanes of one.
//! Invariant: the sides take turns, a message each, as long as both have any: neither is held up by how much the other has.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Intake;
use crate::batch::Batch;
use crate::checkpoint::{Restoring, Saving};
use crate::flow::barriers::Arrival;
use crate::flow::edge::Edge;
use crate::flow::head::{Head, Pull, tell_end};
use crate::flow::lanes::Lanes;
use crate::flow::operator::{Discard, Fault, Operator, Turn};
use crate::time::{Clock, Timestamp};

/// An item of one of two inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Side<L, R> {
    /// Of the first.
    Left(L),
    /// Of the second.
    Right(R),
}

/// Input of two item types: for joins.
pub struct TwoInlets<L, R> {
    left: Lanes<L>,
    right: Lanes<R>,
    intake: Intake,
    right_next: bool,
}

impl<L: Send + 'static, R: Send + 'static> TwoInlets<L, R> {
    /// Takes the lanes of both sides into `partition`.
    ///
    /// # Errors
    /// [`Fault`]: an edge was never connected.
    pub fn open(
        left: &[Arc<Edge<L>>],
        right: &[Arc<Edge<R>>],
        partition: usize,
    ) -> Result<Self, Fault> {
        let options = left.first().map(|edge| edge.options().clone());
        let (left, right) = (Lanes::take(left, partition), Lanes::take(right, partition));
        let Some(options) = options.filter(|_| left.len() > 0 && right.len() > 0) else {
            return Err(Fault("its lanes were taken or never connected".to_owned()));
        };
        let intake = Intake::new(left.len() + right.len(), &options.batch);
        Ok(Self {
            left,
            right,
            intake,
            right_next: false,
        })
    }

    /// Leaves the right side out of event time: it holds back no watermark, says none, and only its end is waited for.
    #[must_use]
    pub fn by_time_of_left(mut self) -> Self {
        for lane in 0..self.right.len() {
            self.intake.merger.leave_out(self.left.len() + lane);
        }
        self
    }

    /// One message of either side, the sides in turn; gives what it means for the lanes, by their number.
    fn take_one<O>(&mut self, operator: &mut O, now: Duration) -> Option<(usize, Option<Arrival>)>
    where
        O: Operator<Side<L, R>, Out = Infallible>,
    {
        for _ in 0..2 {
            self.right_next = !self.right_next;
            if self.right_next {
                if let Some((lane, message)) = self.left.next() {
                    let arrival = self.intake.barrier(lane, &message, now);
                    let emptied = self.intake.take::<L, Side<L, R>, O>(
                        lane,
                        message,
                        operator,
                        |operator, batch| drive(operator, batch, Side::Left),
                    );
                    if let Some(batch) = emptied {
                        self.left.recycle(lane, batch);
                    }
                    return Some((lane, arrival));
                }
            } else if let Some((lane, message)) = self.right.next() {
                let number = self.left.len() + lane;
                let arrival = self.intake.barrier(number, &message, now);
                let emptied = self.intake.take::<R, Side<L, R>, O>(
                    number,
                    message,
                    operator,
                    |operator, batch| drive(operator, batch, Side::Right),
                );
                if let Some(batch) = emptied {
                    self.right.recycle(lane, batch);
                }
                return Some((number, arrival));
            }
        }
        None
    }

    fn hold(&mut self, lane: usize) {
        match lane.checked_sub(self.left.len()) {
            None => self.left.hold(lane),
            Some(lane) => self.right.hold(lane),
        }
    }

    fn release(&mut self) {
        self.left.release();
        self.right.release();
    }
}

/// Gives a batch of one side to an operator that takes both.
#[inline]
fn drive<T, In, O: Operator<In, Out = Infallible>>(
    operator: &mut O,
    batch: &mut Batch<T>,
    side: impl Fn(T) -> In,
) {
    for (&time, item) in batch.times.iter().zip(batch.items.drain(..)) {
        operator.item(time, side(item), &mut Discard);
    }
    batch.times.clear();
}

impl<L, R, O> Head<O> for TwoInlets<L, R>
where
    L: Send + 'static,
    R: Send + 'static,
    O: Operator<Side<L, R>, Out = Infallible>,
{
    type Item = Side<L, R>;

    fn pull(&mut self, operator: &mut O, turn: &Turn, clock: &dyn Clock) -> Result<Pull, Fault> {
        if self.intake.ended {
            return Ok(tell_end(operator));
        }
        let mut last = turn.monotonic;
        loop {
            let before = self.intake.done();
            let Some((lane, arrival)) = self.take_one(operator, last) else {
                return Ok(Pull::Idle);
            };
            if self.intake.ended {
                return Ok(tell_end(operator));
            }
            match arrival {
                None | Some(Arrival::Stale) => {}
                Some(Arrival::Hold) => self.hold(lane),
                Some(Arrival::HoldAnew) => {
                    self.release();
                    self.hold(lane);
                }
                Some(Arrival::Complete(epoch)) => {
                    self.release();
                    return Ok(Pull::Barrier(epoch));
                }
            }
            if self.intake.done() != before {
                let items = (self.intake.items - before.0) as usize;
                let (enough, now) = Intake::is_enough(turn.monotonic, clock);
                if let Some(wanted) = self.intake.learn(items, now.saturating_sub(last)) {
                    self.left.want(wanted);
                    self.right.want(wanted);
                }
                last = now;
                if enough {
                    break;
                }
            }
            if operator.is_blocked() {
                break;
            }
        }
        Ok(if self.left.waiting() + self.right.waiting() > 0 {
            Pull::More
        } else {
            Pull::Idle
        })
    }

    fn is_idle(&self) -> bool {
        self.intake.merger.is_idle()
    }

    fn items_total(&self) -> u64 {
        self.intake.items
    }

    fn watermark(&self) -> Timestamp {
        self.intake.watermark()
    }

    /// Once all lanes have ended and the operator holds the end back: no barrier comes in any more.
    fn is_source(&self) -> bool {
        self.intake.ended
    }

    fn aligned(&self) -> Duration {
        self.intake.barriers.aligned()
    }

    fn save(&self, saving: &mut Saving) -> Result<(), Fault> {
        self.intake.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<Timestamp, Fault> {
        self.intake.restore(restoring)
    }
}

impl<L, R> fmt::Debug for TwoInlets<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TwoInlets")
            .field("items", &self.intake.items)
            .finish_non_exhaustive()
    }
}
