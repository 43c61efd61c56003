//! One partition of a stage of a dataflow, as a step core: a head that drives a fused operator.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::edge::Wiring;
use super::fence::Fence;
use super::head::{Head, Pull};
use super::load::{Doing, StageMeter};
use super::operator::{Discard, Fault, Operator, Turn};
use super::processing_time::ProcessingTime;
use crate::checkpoint::{Epoch, Part, Saving, StageLink};
use crate::fail_point;
use crate::spill::SpillStore;
use crate::stage::{Blocked, StageCore, Step};
use crate::time::{Clock, Timestamp};

/// How often a stage that has ended looks whether it may go.
const END_WAIT: Duration = Duration::from_millis(100);
/// How often the size of the state is counted.
const STATE_EVERY: Duration = Duration::from_millis(100);

/// What a stage is made from.
pub struct FlowStageParts<H, O> {
    /// Its input.
    pub head: H,
    /// Its operators.
    pub operator: O,
    /// Where it runs.
    pub wiring: Wiring,
    /// Counts its time.
    pub meter: StageMeter,
}

impl<H, O> fmt::Debug for FlowStageParts<H, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowStageParts")
            .field("wiring", &self.wiring)
            .finish_non_exhaustive()
    }
}

/// A stage at work.
pub struct FlowStage<H, O> {
    head: H,
    operator: O,
    clock: Arc<dyn Clock>,
    time: ProcessingTime,
    meter: StageMeter,
    counted_at: Duration,
    counts: Vec<(&'static str, usize)>,
    ended: bool,
    /// The state at the end is given, if anybody wants it.
    end_given: bool,
    checkpoints: Option<Checkpoints>,
    fence: Arc<Fence>,
    /// One that has come and is not passed on yet.
    barrier: Option<Epoch>,
    #[cfg(feature = "failpoints")]
    has_turned: bool,
    /// Where state goes that is too large for memory.
    spill: Option<Arc<SpillStore>>,
}

/// What a stage knows of checkpoints.
struct Checkpoints {
    link: StageLink,
    /// The last one that it gave its state for.
    taken: Epoch,
    /// The last complete one that its operators were told of.
    told: Epoch,
}

impl<H: Head<O>, O: Operator<H::Item, Out = Infallible>> FlowStage<H, O> {
    /// Opens the operators.
    ///
    /// # Errors
    /// [`Fault`]: one cannot start.
    pub fn open(parts: FlowStageParts<H, O>) -> Result<Self, Fault> {
        let FlowStageParts {
            head,
            mut operator,
            wiring,
            meter,
        } = parts;
        fail_point!(RESTORE_BEFORE_STAGE, Fault::of);
        operator.open(&wiring)?;
        let fence = wiring.fence();
        let mut head = head;
        let checkpoints = wiring.checkpoints.map(|link| Checkpoints {
            taken: link.requested(),
            told: link.completed(),
            link,
        });
        let mut reached = Timestamp::MIN;
        if let Some(Checkpoints { link, .. }) = &checkpoints
            && let Some(mut restoring) = link.restoring()
        {
            let restored = head.restore(&mut restoring);
            let watermark = restored.inspect_err(|_| link.tell_restored(&restoring))?;
            let restored = operator.restore(&mut restoring);
            restored.inspect_err(|_| link.tell_restored(&restoring))?;
            reached = restoring.reached();
            restoring
                .finish()
                .inspect_err(|error| link.tell_unrestored(error))?;
            if watermark > Timestamp::MIN {
                // It was told before, so nothing comes of it but that everybody knows it again.
                operator.late_before(watermark);
                operator.watermark(watermark, &mut Discard);
            }
        }
        head.open()?;
        fail_point!(RESTORE_STAGE_OPEN, Fault::of);
        Ok(Self {
            head,
            operator,
            checkpoints,
            fence,
            barrier: None,
            #[cfg(feature = "failpoints")]
            has_turned: false,
            spill: wiring.resources.get::<SpillStore>(),
            time: ProcessingTime::from(reached, &*wiring.clock),
            clock: wiring.clock,
            meter,
            counted_at: Duration::ZERO,
            counts: Vec::new(),
            ended: false,
            end_given: false,
        })
    }

    /// One turn: due timers, input, output.
    fn turn(&mut self, turn: &Turn) -> Result<Pull, Fault> {
        #[cfg(feature = "failpoints")]
        if !std::mem::replace(&mut self.has_turned, true) {
            fail_point!(RESTORE_BEFORE_FIRST_TURN, Fault::of);
        }
        self.fence.check();
        self.operator.begin(turn);
        self.tell_checkpointed()?;
        if self.ended {
            self.operator.flush(true)?;
            self.end_checkpoints()?;
            return Ok(Pull::Ended);
        }
        if self.barrier.is_none()
            && let Some(epoch) = self.requested()
        {
            self.come_to_barrier(epoch)?;
        }
        if self.barrier.is_some() {
            // What was on its way may have left room for what waited behind it.
            self.operator.flush(true)?;
        }
        if !self.pass_barrier()? {
            return Ok(Pull::More);
        }
        if self.stays_blocked()? {
            return Ok(Pull::More);
        }
        if self.operator.next_due().is_some_and(|due| due <= turn.now) {
            self.operator.processing_time(turn.now, &mut Discard);
            if self.head.is_idle() {
                // What the clock gives out does not make those behind wait for the watermark of a silent input.
                self.operator.idle();
            }
        }
        if self.stays_blocked()? {
            return Ok(Pull::More);
        }
        let mut pulled = self.head.pull(&mut self.operator, turn, &*self.clock)?;
        if let Pull::Barrier(epoch) = pulled {
            self.come_to_barrier(epoch)?;
            self.pass_barrier()?;
            pulled = Pull::More;
        }
        // User code may have come back after a long time.
        self.fence.check();
        self.ended = pulled == Pull::Ended;
        self.operator.flush(pulled != Pull::More)?;
        if self.ended {
            self.end_checkpoints()?;
        }
        Ok(pulled)
    }

    /// Whether it waits for a time rather than for room, or what the clock gave out found none: it takes nothing before that,
    /// and what is due waits too. What there was no room for would only become more, at the end of the input without a pause.
    fn stays_blocked(&mut self) -> Result<bool, Fault> {
        if self.operator.is_blocked() {
            self.operator.flush(true)?;
        }
        Ok(self.operator.is_blocked())
    }

    /// The checkpoint that is to be begun here.
    fn requested(&self) -> Option<Epoch> {
        let checkpoints = self.checkpoints.as_ref()?;
        let requested = checkpoints.link.requested();
        (self.head.is_source() && requested > checkpoints.taken).then_some(requested)
    }

    /// Nothing more is taken before the state is saved, which is when what came before has been sent on.
    fn come_to_barrier(&mut self, epoch: Epoch) -> Result<(), Fault> {
        self.barrier = Some(epoch);
        self.operator.before_barrier(&mut Discard);
        self.operator.flush(true)
    }

    /// Gives the state and sends the barrier on, if there is one; `false` if it must wait for output to go.
    fn pass_barrier(&mut self) -> Result<bool, Fault> {
        if self.barrier.is_none() {
            return Ok(true);
        }
        if self.operator.is_blocked() {
            return Ok(false);
        }
        if let Some(epoch) = self.barrier.take() {
            self.take_checkpoint(epoch)?;
        }
        Ok(true)
    }

    fn take_checkpoint(&mut self, epoch: Epoch) -> Result<(), Fault> {
        let link = self
            .checkpoints
            .as_ref()
            .map(|checkpoints| &checkpoints.link);
        let is_savepoint = link.is_some_and(|link| link.is_savepoint(epoch));
        fail_point!(CHECKPOINT_BEFORE_SAVING, Fault::of);
        let parts = self.saved(Saving::new(epoch).of_savepoint(is_savepoint))?;
        // A run that was given up has no part in any checkpoint.
        let _pass = self.fence.pass();
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.taken = epoch;
            checkpoints.link.take(epoch, parts, self.head.aligned())?;
        }
        fail_point!(CHECKPOINT_SAVED, Fault::of);
        Ok(())
    }

    fn saved(&mut self, saving: Saving) -> Result<Vec<Part>, Fault> {
        let mut saving = saving
            .through(self.spill.clone())
            .of_held_end(self.operator.holds_end());
        self.head.save(&mut saving)?;
        self.operator.save(&mut saving)?;
        Ok(saving.into_parts())
    }

    /// Gives the state at the end of the input: it stands for all later checkpoints. As at a barrier, what waits for room
    /// or is being written goes first.
    fn end_checkpoints(&mut self) -> Result<(), Fault> {
        if self.end_given || self.operator.is_blocked() {
            return Ok(());
        }
        self.end_given = true;
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(());
        };
        // The first one that can be complete without this partition's part is the next.
        let next = Epoch(checkpoints.taken.0 + 1);
        let parts = self.saved(Saving::without_barrier(next))?;
        let _pass = self.fence.pass();
        if let Some(checkpoints) = &self.checkpoints {
            let waits = self.operator.awaits_checkpoint();
            checkpoints.link.end(parts, waits)?;
        }
        Ok(())
    }

    /// Tells the operators of a checkpoint that was completed.
    fn tell_checkpointed(&mut self) -> Result<(), Fault> {
        let Some(checkpoints) = &mut self.checkpoints else {
            return Ok(());
        };
        let completed = checkpoints.link.completed();
        if completed <= checkpoints.told {
            return Ok(());
        }
        checkpoints.told = completed;
        fail_point!(CHECKPOINT_STAGE_TOLD, Fault::of);
        self.operator.checkpointed(completed)
    }

    fn account(&mut self, end: Duration, doing: Option<Doing>) {
        match doing {
            Some(doing) => self.meter.does(end, doing),
            None => self.meter.ends(end),
        }
        self.meter.set_items(self.head.items_total());
        self.meter.set_watermark(self.head.watermark());
        let is_due = end.saturating_sub(self.counted_at) >= STATE_EVERY;
        if is_due || self.ended || self.meter.counts_each_step() {
            self.counted_at = end;
            self.counts.clear();
            self.operator.state_items(&mut self.counts);
            self.meter
                .set_state_items(self.counts.iter().map(|(_, items)| items).sum());
        }
    }

    /// How long until a timer of processing time is due.
    fn until_due(&self, now: Timestamp) -> Option<Duration> {
        self.operator.next_due().map(|due| due.since(now))
    }

    /// The same while it is blocked: no timer is served then, and one that is overdue would have it step without end.
    fn until_unblocked(&self, now: Timestamp) -> Option<Duration> {
        self.operator.blocked_due().map(|due| due.since(now))
    }
}

/// Resolves when all of them have.
fn all(mut waits: Vec<Blocked>) -> Blocked {
    if waits.len() == 1 {
        return waits.swap_remove(0);
    }
    Box::pin(std::future::poll_fn(move |context| {
        waits.retain_mut(|wait| wait.as_mut().poll(context).is_pending());
        if waits.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }))
}

impl<H: Head<O>, O: Operator<H::Item, Out = Infallible>> StageCore for FlowStage<H, O> {
    fn step(&mut self) -> Step {
        let turn = self.time.turn(&*self.clock);
        self.meter.does(turn.monotonic, Doing::Working);
        let pulled = match self.turn(&turn) {
            Ok(pulled) => pulled,
            Err(fault) => return Step::Failed(fault.0),
        };
        let blocked = self.operator.is_blocked();
        let doing = match (blocked, pulled) {
            (true, _) => Some(Doing::Blocked),
            // Others of the thread may have their turn, but it is ready to work.
            (false, Pull::More | Pull::Barrier(_)) => Some(Doing::Working),
            (false, Pull::Idle | Pull::IdleFor(_)) if self.head.holds_back() => {
                Some(Doing::Working)
            }
            (false, Pull::Idle | Pull::IdleFor(_)) => Some(Doing::Idle),
            (false, Pull::Ended) => None,
        };
        self.account(self.clock.monotonic(), doing);
        if blocked {
            let mut waits = Vec::new();
            self.operator.blocked(&mut waits);
            return match (waits.is_empty(), self.until_unblocked(turn.now)) {
                (true, Some(due)) => Step::IdleUntil(due),
                _ => Step::Blocked(all(waits)),
            };
        }
        let due = self.until_due(turn.now);
        match (pulled, due) {
            (Pull::More | Pull::Barrier(_), _) => Step::Again,
            // Woken when a checkpoint is complete; the timer is for a stage that was asked to stop meanwhile.
            // What it waited for was over between two looks.
            (Pull::Ended, _) if !self.end_given => Step::Again,
            (Pull::Ended, _) if self.operator.awaits_checkpoint() => Step::IdleUntil(END_WAIT),
            (Pull::Ended, _) => Step::Done,
            (Pull::Idle, None) => Step::Idle,
            (Pull::Idle, Some(due)) => Step::IdleUntil(due),
            (Pull::IdleFor(wait), None) => Step::IdleUntil(wait),
            (Pull::IdleFor(wait), Some(due)) => Step::IdleUntil(wait.min(due)),
        }
    }

    fn stop(&mut self) {
        self.head.stop();
    }
}

impl<H, O> Drop for FlowStage<H, O> {
    /// Also when it failed or was given up while it waited.
    fn drop(&mut self) {
        self.meter.ends(self.clock.monotonic());
    }
}

impl<H, O> fmt::Debug for FlowStage<H, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowStage")
            .field("meter", &self.meter)
            .finish_non_exhaustive()
    }
}
