//! One partition of a stage of a dataflow, as a step core: a head that drives a fused operator.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::edge::Wiring;
use super::head::{Head, Pull};
use super::load::{Doing, StageMeter};
use super::operator::{Discard, Fault, Operator, Turn};
use crate::stage::{Blocked, StageCore, Step};
use crate::time::{Clock, Timestamp};

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
    meter: StageMeter,
    counted_at: Duration,
    counts: Vec<(&'static str, usize)>,
    ended: bool,
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
        operator.open(&wiring)?;
        Ok(Self {
            head,
            operator,
            clock: wiring.clock,
            meter,
            counted_at: Duration::ZERO,
            counts: Vec::new(),
            ended: false,
        })
    }

    /// One turn: due timers, input, output.
    fn turn(&mut self, turn: &Turn) -> Result<Pull, Fault> {
        self.operator.begin(turn);
        if self.ended {
            self.operator.flush(true)?;
            return Ok(Pull::Ended);
        }
        if self.operator.next_due().is_some_and(|due| due <= turn.now) {
            self.operator.processing_time(turn.now, &mut Discard);
            if self.head.is_idle() {
                // What the clock gives out does not make those behind wait for the watermark of a silent input.
                self.operator.idle();
            }
        }
        let pulled = self.head.pull(&mut self.operator, turn, &*self.clock)?;
        self.ended = pulled == Pull::Ended;
        self.operator.flush(pulled != Pull::More)?;
        Ok(pulled)
    }

    fn account(&mut self, end: Duration, doing: Option<Doing>) {
        match doing {
            Some(doing) => self.meter.does(end, doing),
            None => self.meter.ends(end),
        }
        self.meter.set_items(self.head.items_total());
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
        let turn = Turn {
            now: self.clock.now(),
            monotonic: self.clock.monotonic(),
        };
        self.meter.does(turn.monotonic, Doing::Working);
        let pulled = match self.turn(&turn) {
            Ok(pulled) => pulled,
            Err(fault) => return Step::Failed(fault.0),
        };
        let blocked = self.operator.is_blocked();
        let doing = match (blocked, pulled) {
            (true, _) => Some(Doing::Blocked),
            // Others of the thread may have their turn, but it is ready to work.
            (false, Pull::More) => Some(Doing::Working),
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
            return Step::Blocked(all(waits));
        }
        let due = self.until_due(turn.now);
        match (pulled, due) {
            (Pull::More, _) => Step::Again,
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
