//! The partition as a step core: turns, frames in flight, and what happens when the log stops.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use uuid::Uuid;

use super::dedup::DedupWindow;
use super::meter::Meter;
use super::turn::Workshop;
use super::{Completion, PartitionConfig, PartitionInput, Turn, Watch};
use crate::batch::BatchController;
use crate::event::{Offset, PartitionId};
use crate::log::frame::{COMMANDS, SHAPES, SealedFrame};
use crate::log::{Committed, Head, LogError, LogReader, LogWriter, StreamReader, Submission};
use crate::mailbox::Mailbox;
use crate::stage::{StageCore, Step};
use crate::time::{Clock, Timestamp};

/// Longest wait for a frame in flight before a look; its wake-up mostly comes first.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How often an idle partition is stepped for housekeeping.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// What outlives a core: its successor must know what is still on its way to the disk.
#[derive(Debug, Default)]
pub struct PartitionShared {
    submitted: AtomicU64,
    settled: AtomicU64,
    stopped: OnceLock<LogError>,
    watch: Watch,
}

impl PartitionShared {
    /// Why nothing is decided any more, if so.
    #[must_use]
    pub fn stopped(&self) -> Option<&LogError> {
        self.stopped.get()
    }

    /// What the partition is busy with.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    fn settle(&self, number: u64, committed: &Committed) {
        match committed {
            Ok(_) => self.settled.store(number, Ordering::Release),
            Err(cause) => {
                // The first cause stays.
                let _ = self.stopped.set(cause.clone());
            }
        }
    }
}

/// What a core is made from.
pub struct PartitionParts {
    /// Its partition.
    pub partition: PartitionId,
    /// Its limits, validated.
    pub config: PartitionConfig,
    /// Where its inputs' lanes belong.
    pub mailbox: Arc<Mailbox>,
    /// What feeds it.
    pub inputs: Vec<Box<dyn PartitionInput>>,
    /// Where its frames go.
    pub writer: LogWriter,
    /// Durable events.
    pub streams: Arc<dyn StreamReader>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Draws the base of a frame's event ids; [`random_ids`] but in simulations.
    pub ids: fn(Timestamp) -> Uuid,
    /// The same for every incarnation.
    pub shared: Arc<PartitionShared>,
}

impl fmt::Debug for PartitionParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionParts")
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

/// Why a partition could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenPartitionError {
    /// Frames of the core before are still on their way to the disk: try again in a moment.
    #[error("{frames} frames are still being written")]
    InFlight {
        /// How many.
        frames: u64,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

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
            shared,
        } = parts;
        let submitted = shared.submitted.load(Ordering::Acquire);
        let settled = shared.settled.load(Ordering::Acquire);
        if submitted != settled && shared.stopped().is_none() {
            let frames = submitted - settled;
            return Err(OpenPartitionError::InFlight { frames });
        }
        // A core that panicked has not ended its turn.
        shared.watch.end_turn();
        let head = streams.head(partition)?;
        let recorded_last = last_recorded(&*streams, partition, head)?;
        let window = DedupWindow::load(config.dedup, &*streams, partition)?;
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

    /// Decides one batch; gives how many items were taken.
    fn turn(&mut self, items: usize) -> usize {
        let now = self.clock.now().max(self.recorded_last);
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
        taken
    }

    /// Seals the frame of this turn and hands it over with the turn's answers.
    fn submit(&mut self) -> Result<(), String> {
        let completions: Vec<_> = self
            .inputs
            .iter_mut()
            .filter_map(|input| input.completion())
            .collect();
        let frame = self.seal().map_err(|error| error.to_string())?;
        if frame.is_none() && completions.is_empty() {
            return Ok(());
        }
        if frame.is_none() && self.in_flight() == 0 {
            // Decided on durable state alone.
            completions.into_iter().for_each(|answer| answer(&Ok(None)));
            return Ok(());
        }
        self.submitted += 1;
        let number = self.submitted;
        self.shared.submitted.store(number, Ordering::Release);
        let submission = Submission {
            frame,
            done: self.done(number, completions),
        };
        self.writer.submit(submission).map_err(|refused| {
            (refused.done)(&Err(LogError::Closed));
            "the log's writer takes nothing any more".to_owned()
        })
    }

    fn done(
        &self,
        number: u64,
        completions: Vec<Completion>,
    ) -> Box<dyn FnOnce(&Committed) + Send> {
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        Box::new(move |committed| {
            for answer in completions {
                answer(committed);
            }
            shared.settle(number, committed);
            mailbox.wake();
        })
    }

    fn seal(&mut self) -> Result<Option<SealedFrame>, crate::log::frame::DraftError> {
        let shop = &mut self.shop;
        shop.kinds.clear();
        if shop.builder.is_empty() {
            // Everything was taken back: shapes may have been named, and no event refers to them.
            shop.encoder.clear();
            shop.commands.clear();
            return Ok(None);
        }
        let mut dictionary = Vec::new();
        let mut attachments: Vec<(u8, &[u8])> = Vec::with_capacity(2);
        if shop.encoder.has_shapes() {
            shop.encoder.dictionary(&mut dictionary);
            attachments.push((SHAPES, &dictionary));
        }
        if !shop.commands.is_empty() {
            attachments.push((COMMANDS, &shop.commands));
        }
        let ids = (self.ids)(self.recorded_last);
        let frame = shop.builder.seal(
            self.partition,
            self.head.next,
            ids,
            self.head.hash,
            &attachments,
        )?;
        shop.encoder.clear();
        shop.commands.clear();
        self.head = Head {
            next: frame.first.plus(u64::from(frame.count)),
            hash: frame.hash,
        };
        shop.dedup.forget(self.head.next, self.recorded_last);
        Ok(Some(frame))
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

fn last_recorded(
    reader: &dyn LogReader,
    partition: PartitionId,
    head: Head,
) -> Result<Timestamp, LogError> {
    let Some(last) = head.next.0.checked_sub(1) else {
        return Ok(Timestamp::MIN);
    };
    let frame = reader.frame_at(partition, Offset(last))?;
    Ok(frame.map_or(Timestamp::MIN, |frame| frame.header().recorded_last))
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
        self.shared.watch.begin_turn(start);
        // With a frame in flight the next one waits for its commit in any case.
        let items = if self.in_flight() > 0 {
            self.controller.batch_items_most(queued)
        } else {
            self.controller.batch_items(queued)
        };
        let taken = self.turn(items);
        self.shared.watch.end_turn();
        if let Err(cause) = self.submit() {
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
