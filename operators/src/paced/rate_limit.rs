//! Lets items pass at a rate, and the senders wait.
//!
//! A token bucket in processing time: it fills at the rate up to a burst, and each item takes one. Nothing is dropped:
//! without a token the head takes nothing from its lanes, which fill up. Cost: two comparisons per item.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Fault, Head, Operator, Pull, Turn, tell_end};
use millstream_engine::time::{Clock, Timestamp};

use super::recorder::{Mark, Recorded, Recorder, Teller};

/// What comes in this time is saved up whatever the burst: a stage is not stepped at the microsecond.
const SAVED_MIN: Duration = Duration::from_millis(10);

/// A head that limits the rate of the one inside it.
pub struct RateLimit<H, T> {
    inner: H,
    recorder: Recorder<T>,
    teller: Teller,
    /// Time between two tokens.
    every: Duration,
    /// How long it takes to fill all of the bucket but one token.
    saved_max: Duration,
    /// When the bucket will be full again: the whole of its state.
    full_at: Duration,
    items: u64,
    inner_ended: bool,
    /// All was given on but the end.
    is_over: bool,
}

impl<H, T> RateLimit<H, T> {
    /// `per_second` items of `inner` per second (more than 0), and up to `burst` at once (at least 1) after a pause, or
    /// what comes in ten milliseconds if that is more.
    pub fn new(inner: H, per_second: f64, burst: u32) -> Self {
        let every = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
        Self {
            inner,
            recorder: Recorder::new(),
            teller: Teller::new(),
            every,
            saved_max: every.saturating_mul(burst.max(1) - 1).max(SAVED_MIN),
            full_at: Duration::ZERO,
            items: 0,
            inner_ended: false,
            is_over: false,
        }
    }

    /// Takes a token; or gives how long until there is one.
    fn token(&mut self, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.max(now);
        let wait = full_at.saturating_sub(self.saved_max).saturating_sub(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at = full_at.saturating_add(self.every);
        Ok(())
    }
}

impl<H, T, O> Head<O> for RateLimit<H, T>
where
    H: Head<Recorder<T>, Item = T>,
    T: Send + 'static,
    O: Operator<T, Out = Infallible>,
{
    type Item = T;

    fn pull(&mut self, operator: &mut O, turn: &Turn, clock: &dyn Clock) -> Result<Pull, Fault> {
        if self.is_over {
            return Ok(tell_end(operator));
        }
        let mut pulled = Pull::More;
        if self.recorder.is_empty() && !self.inner_ended {
            pulled = self.inner.pull(&mut self.recorder, turn, clock)?;
            self.inner_ended = pulled == Pull::Ended;
            if let Pull::Barrier(epoch) = pulled {
                self.recorder.add_barrier(epoch);
                pulled = Pull::More;
            }
        }
        while !self.recorder.is_empty() && !operator.is_blocked() {
            if self.recorder.is_item_next()
                && let Err(wait) = self.token(turn.monotonic)
            {
                self.teller.rest(operator);
                return Ok(Pull::IdleFor(wait));
            }
            match self.recorder.take() {
                Some(Recorded::Item(time, limit, item)) => {
                    self.items += 1;
                    self.teller.item(operator, (time, limit, item));
                }
                Some(Recorded::Mark(mark)) => {
                    self.teller.mark(operator, mark);
                    match mark {
                        Mark::End => {
                            self.is_over = true;
                            return Ok(tell_end(operator));
                        }
                        Mark::Barrier(epoch) => return Ok(Pull::Barrier(epoch)),
                        Mark::Watermark(_) | Mark::Idle => {}
                    }
                }
                None => {}
            }
        }
        self.teller.rest(operator);
        Ok(if self.inner_ended { Pull::More } else { pulled })
    }

    fn stop(&mut self) {
        <H as Head<Recorder<T>>>::stop(&mut self.inner);
    }

    fn is_idle(&self) -> bool {
        self.recorder.is_empty() && <H as Head<Recorder<T>>>::is_idle(&self.inner)
    }

    fn holds_back(&self) -> bool {
        !self.recorder.is_empty()
    }

    fn items_total(&self) -> u64 {
        self.items
    }

    /// What the inner one has told may wait here for a moment.
    fn watermark(&self) -> Timestamp {
        <H as Head<Recorder<T>>>::watermark(&self.inner)
    }

    /// Once all was given on and the operator holds the end back: no barrier comes in any more.
    fn is_source(&self) -> bool {
        self.is_over
    }

    fn aligned(&self) -> Duration {
        <H as Head<Recorder<T>>>::aligned(&self.inner)
    }

    fn open(&mut self) -> Result<(), Fault> {
        <H as Head<Recorder<T>>>::open(&mut self.inner)
    }

    /// Nothing is held when a barrier is given on.
    fn save(&self, saving: &mut Saving) -> Result<(), Fault> {
        <H as Head<Recorder<T>>>::save(&self.inner, saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<Timestamp, Fault> {
        let watermark = <H as Head<Recorder<T>>>::restore(&mut self.inner, restoring)?;
        self.teller.resume(watermark);
        Ok(watermark)
    }
}

impl<H, T> fmt::Debug for RateLimit<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("every", &self.every)
            .field("held", &self.recorder.items())
            .finish_non_exhaustive()
    }
}
