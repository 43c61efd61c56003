//! The beginning of a stage that follows others: drains lanes, merges their watermarks, drives the operator.

mod two_inlets;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::two_inlets::{Side, TwoInlets};
use super::barriers::{Arrival, Barriers};
use super::edge::{BatchSize, Edge};
use super::head::{Head, Pull, tell_end};
use super::lanes::Lanes;
use super::merge::{Merged, WatermarkMerger};
use super::message::Message;
use super::operator::{Discard, Fault, Operator, Turn};
use crate::batch::{Batch, BatchController};
use crate::checkpoint::{Restoring, Saving};
use crate::time::{Clock, Timestamp};

/// Its kind of state in checkpoints.
pub(crate) const KIND: &str = "input";
/// Work after which the others of the thread have their turn.
const TURN: Duration = Duration::from_millis(1);

/// Time, end and batch size of a stage's input, whatever its types.
struct Intake {
    merger: WatermarkMerger,
    barriers: Barriers,
    /// `None` when the size is fixed.
    controller: Option<BatchController>,
    told: usize,
    items: u64,
    ended: bool,
}

impl Intake {
    fn new(lanes: usize, size: &BatchSize) -> Self {
        let controller = match size {
            BatchSize::Dynamic(limits) => Some(BatchController::new(limits.clone())),
            BatchSize::Fixed(_) => None,
        };
        Self {
            merger: WatermarkMerger::new(lanes),
            barriers: Barriers::new(lanes),
            controller,
            told: 0,
            items: 0,
            ended: false,
        }
    }

    /// Drives the operator with one message, whose items `drive` gives it.
    fn take<T, In, O: Operator<In, Out = Infallible>>(
        &mut self,
        lane: usize,
        message: Message<T>,
        operator: &mut O,
        drive: impl FnOnce(&mut O, &mut Batch<T>),
    ) -> Option<Batch<T>> {
        let (limit, mut batch) = match message {
            Message::Batch(batch) => (Timestamp::MIN, batch),
            Message::Late { limit, batch } => (limit, batch),
            Message::Watermark(watermark) => {
                // What this fires comes before the new watermark, whatever the last batch was late for.
                operator.late_before(self.merger.watermark());
                let merged = self.merger.advance(lane, watermark);
                self.tell::<In, O>(merged, operator);
                return None;
            }
            Message::Idle => {
                operator.late_before(self.merger.watermark());
                let merged = self.merger.set_idle(lane);
                self.tell::<In, O>(merged, operator);
                return None;
            }
            Message::End => {
                operator.late_before(self.merger.watermark());
                let merged = self.merger.end(lane);
                self.tell::<In, O>(merged, operator);
                return None;
            }
            // Whoever drains the lanes sees to it.
            Message::Barrier(_) => return None,
        };
        self.merger.active(lane);
        self.items += batch.len() as u64;
        operator.late_before(limit.max(self.merger.watermark()));
        drive(operator, &mut batch);
        if limit > self.merger.watermark() {
            // What is given out at a watermark or by the clock is nobody's late item.
            operator.late_before(self.merger.watermark());
        }
        Some(batch)
    }

    fn tell<In, O: Operator<In, Out = Infallible>>(&mut self, merged: Merged, operator: &mut O) {
        match merged {
            Merged::Same => {}
            Merged::Watermark(watermark) => operator.watermark(watermark, &mut Discard),
            Merged::Idle => operator.idle(),
            Merged::Ended => {
                // Whoever drives the operator tells it.
                self.ended = true;
                return;
            }
        }
        if self.merger.became_idle() {
            operator.idle();
        }
    }

    /// As [`Head::watermark`] has it: also where lanes ended without a word of time.
    fn watermark(&self) -> Timestamp {
        if self.ended {
            return Timestamp::MAX;
        }
        self.merger.watermark()
    }

    /// Changes with whatever may have taken time: items, and a watermark, at which windows close.
    fn done(&self) -> (u64, Timestamp) {
        (self.items, self.merger.watermark())
    }

    /// Learns what `items`, if there were any, cost and says what is wanted now, if that changed.
    fn learn(&mut self, items: usize, elapsed: Duration) -> Option<usize> {
        let controller = self.controller.as_mut().filter(|_| items > 0)?;
        controller.observe(items, elapsed);
        let wanted = controller.batch_items(usize::MAX);
        (self.told != wanted).then(|| {
            self.told = wanted;
            wanted
        })
    }

    /// What a message means for the lanes: `None` if it is no barrier, and ends no lane that one is waited for from.
    fn barrier<T>(&mut self, lane: usize, message: &Message<T>, now: Duration) -> Option<Arrival> {
        match *message {
            Message::Barrier(epoch) => Some(self.barriers.arrive(lane, epoch, now)),
            Message::End => self.barriers.end(lane, now).map(Arrival::Complete),
            _ => None,
        }
    }

    fn save(&self, saving: &mut Saving) -> Result<(), Fault> {
        let watermark = self.merger.saved(saving.holds_end());
        Ok(saving.whole(KIND, &watermark)?)
    }

    /// The earliest of several partitions: none had told more than it.
    fn restore(&mut self, restoring: &mut Restoring) -> Result<Timestamp, Fault> {
        let saved = restoring.whole::<Timestamp>(KIND)?;
        let watermark = saved.into_iter().min().unwrap_or(Timestamp::MIN);
        self.merger.resume(watermark);
        Ok(watermark)
    }

    /// Whether this turn has done enough.
    fn is_enough(start: Duration, clock: &dyn Clock) -> (bool, Duration) {
        let now = clock.monotonic();
        (now.saturating_sub(start) >= TURN, now)
    }
}

/// Input of one item type, over any number of edges.
pub struct Inlet<T> {
    lanes: Lanes<T>,
    intake: Intake,
}

impl<T: Send + 'static> Inlet<T> {
    /// Takes the lanes of `edges` into `partition`.
    ///
    /// # Errors
    /// [`Fault`]: an edge was never connected.
    pub fn open(edges: &[Arc<Edge<T>>], partition: usize) -> Result<Self, Fault> {
        let lanes = Lanes::take(edges, partition);
        let Some(first) = edges.first().filter(|_| lanes.len() > 0) else {
            return Err(Fault("its lanes were taken or never connected".to_owned()));
        };
        let intake = Intake::new(lanes.len(), &first.options().batch);
        Ok(Self { lanes, intake })
    }
}

impl<T: Send + 'static, O: Operator<T, Out = Infallible>> Head<O> for Inlet<T> {
    type Item = T;

    fn pull(&mut self, operator: &mut O, turn: &Turn, clock: &dyn Clock) -> Result<Pull, Fault> {
        if self.intake.ended {
            return Ok(tell_end(operator));
        }
        let mut last = turn.monotonic;
        while let Some((lane, message)) = self.lanes.next() {
            let arrival = self.intake.barrier(lane, &message, last);
            let before = self.intake.done();
            let emptied =
                self.intake
                    .take::<T, T, O>(lane, message, operator, |operator, batch| {
                        operator.batch(batch, &mut Discard);
                    });
            if let Some(batch) = emptied {
                self.lanes.recycle(lane, batch);
            }
            if self.intake.ended {
                return Ok(tell_end(operator));
            }
            match arrival {
                None | Some(Arrival::Stale) => {}
                Some(Arrival::Hold) => self.lanes.hold(lane),
                Some(Arrival::HoldAnew) => {
                    self.lanes.release();
                    self.lanes.hold(lane);
                }
                Some(Arrival::Complete(epoch)) => {
                    self.lanes.release();
                    return Ok(Pull::Barrier(epoch));
                }
            }
            if self.intake.done() != before {
                let items = (self.intake.items - before.0) as usize;
                let (enough, now) = Intake::is_enough(turn.monotonic, clock);
                if let Some(wanted) = self.intake.learn(items, now.saturating_sub(last)) {
                    self.lanes.want(wanted);
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
        Ok(if self.lanes.waiting() > 0 {
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

impl<T> fmt::Debug for Inlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inlet")
            .field("items", &self.intake.items)
            .finish_non_exhaustive()
    }
}
