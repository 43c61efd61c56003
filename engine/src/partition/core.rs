//! The partition as a step core: turns, frames in flight, and what happens when the log stops.

mod parts;
mod sealing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::dedup::{DedupWindow, Moment};
use super::meter::Meter;
use super::turn::Workshop;
use super::{Completion, PartitionConfig, PartitionInput, Turn};
use crate::batch::BatchController;
use crate::event::PartitionId;
use crate::log::frame::{COMMANDS, SHAPES, SealedFrame};
use crate::log::{
    Committed, Head, LogError, LogWriter, Stamp, Stamps, StreamReader, Submission, recorded_before,
};
use crate::mailbox::Mailbox;
use crate::stage::{StageCore, Step};
use crate::time::{Clock, Timestamp};

pub use parts::{OpenPartitionError, PartitionParts, PartitionShared};

/// Longest wait for a frame in flight before a look; its wake-up mostly comes first.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How often an idle partition is stepped for housekeeping.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// The single writer of a partition.
pub struct PartitionCore {
    partition: PartitionId,
    config: PartitionConfig,
    mailbox: Arc<Mailbox>,
    inputs: Vec<Box<dyn PartitionInput>>,
    writer: LogWriter,
    streams: Arc<dyn StreamReader>,
    clock: Arc<dyn Clock>,
    ids: fn(Timestamp) -> Uuid,
    stamps: Arc<Stamps>,
    shared: Arc<PartitionShared>,
    controller: BatchController,
    shop: Workshop,
    /// Where the next frame goes; ahead of the durable head by what is in flight.
    head: Head,
    recorded_last: Timestamp,
    submitted: u64,
    settled: u64,
    /// Input that is asked first in the next turn.
    first: usize,
    stopping: bool,
    /// Whether an input holds something that housekeeping may let go later, or figures are not at rest.
    holds: bool,
    meter: Meter,
}

impl fmt::Debug for PartitionCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionCore")
            .field("partition", &self.partition)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl PartitionCore {
    /// A core that goes on where the log ends.
    ///
    /// # Errors
    /// [`OpenPartitionError::InFlight`] right after a core failed; [`OpenPartitionError::Log`].
    pub fn open(parts: PartitionParts) -> Result<Self, OpenPartitionError> {
        let PartitionParts {
            partition,
            config,
            mailbox,
            inputs,
            writer,
            streams,
            clock,
            ids,
            stamps,
            shared,
        } = parts;
        let submitted = shared.submitted.load(Ordering::Acquire);
        let settled = shared.settled.load(Ordering::Acquire);
        let is_stopped = shared.stopped().is_some() || writer.stopped().is_some();
        if submitted != settled && !is_stopped {
            let frames = submitted - settled;
            return Err(OpenPartitionError::InFlight { frames });
        }
        let (head, recorded_last, window) = if is_stopped {
            // A log that stopped may not be readable either, and callers wait to be told why: all that this core does.
            (
                Head::default(),
                Timestamp::MIN,
                DedupWindow::new(config.dedup),
            )
        } else {
            let head = streams.head(partition)?;
            let recorded_last = recorded_before(&*streams, partition, head.next)?;
            let now = Moment {
                recorded: clock.now(),
                monotonic: clock.monotonic(),
            };
            let window = DedupWindow::load(config.dedup, &*streams, partition, now)?;
            (head, recorded_last, window)
        };
        Ok(Self {
            controller: BatchController::new(config.batch.clone()),
            shop: Workshop::new(window),
            meter: Meter::new(partition, clock.monotonic()),
            partition,
            config,
            mailbox,
            inputs,
            writer,
            streams,
            clock,
            ids,
            stamps,
            shared,
            head,
            recorded_last,
            submitted,
            settled,
            first: 0,
            stopping: false,
            holds: false,
        })
    }

    /// Decides one batch; gives how many items were taken, and when.
    fn turn(&mut self, items: usize) -> (usize, Stamp) {
        let not_before = self.clock.now().max(self.recorded_last);
        let stamp = self.stamps.begin(self.partition, not_before);
        let now = stamp.at();
        let count = self.inputs.len();
        let mut turn = Turn {
            partition: self.partition,
            now,
            monotonic: self.clock.monotonic(),
            frame: self.submitted + 1,
            settled: self.settled,
            streams: &*self.streams,
            clock: &*self.clock,
            watch: &self.shared.watch,
            first: self.head.next,
            frame_bytes_max: self.config.frame_bytes_max,
            is_closed: false,
            shop: &mut self.shop,
        };
        let mut taken = 0;
        for step in 0..count {
            if taken >= items || turn.is_full() {
                break;
            }
            let input = &mut self.inputs[(self.first + step) % count];
            taken += input.take(items - taken, &mut turn);
        }
        self.first = (self.first + 1) % count.max(1);
        self.recorded_last = now;
        (taken, stamp)
    }

    fn in_flight(&self) -> u64 {
        self.submitted - self.settled
    }

    fn learn_settled(&mut self) {
        let settled = self.shared.settled.load(Ordering::Acquire);
        if settled != self.settled {
            self.settled = settled;
            for input in &mut self.inputs {
                input.settled(settled);
            }
        }
    }

    fn tidy(&mut self) {
        let turn = Turn {
            partition: self.partition,
            now: self.recorded_last,
            monotonic: self.clock.monotonic(),
            frame: self.submitted + 1,
            settled: self.settled,
            streams: &*self.streams,
            clock: &*self.clock,
            watch: &self.shared.watch,
            first: self.head.next,
            frame_bytes_max: self.config.frame_bytes_max,
            is_closed: false,
            shop: &mut self.shop,
        };
        let mut holds = false;
        for input in &mut self.inputs {
            holds |= input.tidy(&turn);
        }
        self.holds = holds;
    }

    fn show(&mut self, now: Duration) {
        let moving = self.meter.show(now, &self.controller, &self.mailbox);
        self.holds |= moving;
    }

    /// What to do until something happens. A stage that stops would end at [`Step::Idle`] with an empty
    /// mailbox, but frames in flight may still have callers to answer and items that were put back behind
    /// them.
    fn rest(&self, left: usize) -> Step {
        if left > 0 {
            Step::IdleUntil(LOOK_AGAIN)
        } else if self.stopping {
            let is_done = self.in_flight() == 0 && self.mailbox.is_drained();
            if is_done {
                Step::Done
            } else {
                Step::IdleUntil(LOOK_AGAIN)
            }
        } else if self.holds {
            Step::IdleUntil(TIDY_EVERY)
        } else {
            Step::Idle
        }
    }

    fn queued(&self) -> usize {
        self.inputs.iter().map(|input| input.queued()).sum()
    }
}

/// Draws the base of a frame's event ids: a version 7 id of this moment, random but for the time.
#[must_use]
pub fn random_ids(now: Timestamp) -> Uuid {
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    let nanos = (micros % 1_000_000) as u32 * 1_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(
        uuid::NoContext,
        micros / 1_000_000,
        nanos,
    ))
}

/// A turn under way, for whoever watches. It ends also where an input panics: what nobody works on any more does not hang.
struct Busy(Arc<PartitionShared>);

impl Busy {
    fn begin(shared: &Arc<PartitionShared>, now: Duration) -> Self {
        shared.watch.begin_turn(now);
        Self(Arc::clone(shared))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.watch.end_turn();
    }
}

impl StageCore for PartitionCore {
    fn step(&mut self) -> Step {
        self.learn_settled();
        // The writer knows it also of the others: what stores nothing is not answered from a stopped log either.
        let stopped = self.shared.stopped().or_else(|| self.writer.stopped());
        if let Some(cause) = stopped {
            self.inputs.iter_mut().for_each(|input| input.refuse(cause));
            return Step::Idle;
        }
        let queued = self.queued();
        if self.in_flight() >= u64::from(self.config.frames_in_flight_max) {
            return self.rest(queued); // The next settled frame wakes this stage.
        }
        if queued == 0 {
            self.tidy();
            self.show(self.clock.monotonic());
            return self.rest(0);
        }
        let start = self.clock.monotonic();
        let busy = Busy::begin(&self.shared, start);
        // With a frame in flight the next one waits for its commit in any case.
        let items = if self.in_flight() > 0 {
            self.controller.batch_items_most(queued)
        } else {
            self.controller.batch_items(queued)
        };
        let (taken, stamp) = self.turn(items);
        drop(busy);
        if let Err(cause) = self.submit(stamp) {
            return Step::Failed(cause);
        }
        // Also under load: what is over a budget must not wait for a quiet moment.
        self.tidy();
        let end = self.clock.monotonic();
        self.controller.observe(taken, end.saturating_sub(start));
        let left = self.queued();
        self.meter.turn(taken, left, start, end);
        self.show(end);
        if taken > 0 && left > 0 {
            Step::Again
        } else {
            self.rest(left)
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn waited(&mut self, wait: Duration) {
        self.meter.waited(wait);
    }
}
