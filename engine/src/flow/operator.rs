//! What an operator is: it takes items and gives items to an [`Emit`], in the calls of a stage.

mod then;

use std::convert::Infallible;
use std::time::Duration;

pub use self::then::{Identity, Then};
use super::edge::Wiring;
use crate::batch::Batch;
use crate::checkpoint::{CheckpointError, Epoch, Restoring, Saving};
use crate::stage::Blocked;
use crate::time::Timestamp;

/// Takes what an operator gives out.
pub trait Emit<T> {
    /// Takes one item and its event time.
    fn emit(&mut self, time: Timestamp, item: T);

    /// Takes a batch and leaves it empty: the same as one item after the other, for operators that have code of their own
    /// for batches.
    #[inline]
    fn emit_batch(&mut self, batch: &mut Batch<T>) {
        for (&time, item) in batch.times.iter().zip(batch.items.drain(..)) {
            self.emit(time, item);
        }
        batch.times.clear();
    }
}

impl<T, F: FnMut(Timestamp, T)> Emit<T> for F {
    #[inline(always)]
    fn emit(&mut self, time: Timestamp, item: T) {
        self(time, item);
    }
}

/// The end of a chain whose last operator gives nothing out.
#[derive(Debug, Clone, Copy)]
pub struct Discard;

impl Emit<Infallible> for Discard {
    #[inline(always)]
    fn emit(&mut self, _time: Timestamp, item: Infallible) {
        match item {}
    }
}

/// What an operator may know of the turn it works in. Read once per turn, never per item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Processing time: the clock's, but that in a stage it never goes back, also not over a restart, and never stands
    /// still.
    pub now: Timestamp,
    /// For spans.
    pub monotonic: Duration,
}

/// Why an operator cannot go on: the stage fails with this cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

#[cfg(feature = "failpoints")]
impl Fault {
    /// What a fail point gives.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "that is how it is given")]
    pub fn of(cause: std::io::Error) -> Self {
        Self(cause.to_string())
    }
}

impl From<CheckpointError> for Fault {
    fn from(error: CheckpointError) -> Self {
        Self(error.to_string())
    }
}

/// A state machine over items, watermarks and time.
///
/// Everything but [`item`](Self::item) has a default that does nothing. Calls come from one thread at a
/// time, in the order: [`open`](Self::open) once; per turn [`begin`](Self::begin), then items, watermarks and
/// processing time in any order, then [`flush`](Self::flush); at last [`end`](Self::end).
pub trait Operator<In>: Send + 'static {
    /// What it gives out; [`Infallible`] if nothing.
    type Out;

    /// Takes one item.
    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: In, out: &mut E);

    /// Takes a batch and leaves it empty. Worth its own code where looking ahead pays.
    #[inline]
    fn batch<E: Emit<Self::Out>>(&mut self, batch: &mut Batch<In>, out: &mut E) {
        for (&time, item) in batch.times.iter().zip(batch.items.drain(..)) {
            self.item(time, item, out);
        }
        batch.times.clear();
    }

    /// No item with a time before `watermark` is expected any more. Never decreases. What is emitted here
    /// reaches the next operator before the watermark does.
    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        let _ = (watermark, out);
    }

    /// The watermark that the next operator sees when this one has taken `watermark`.
    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        watermark
    }

    /// The items that follow come from a lane with this watermark (or a merged one that is later): an item
    /// before it is late, whatever the turn in which it is seen. Lower again after items that were further
    /// behind: outside of items it is never later than the merged watermark.
    fn late_before(&mut self, limit: Timestamp) {
        let _ = limit;
    }

    /// Before the first item: takes its lanes, tables, metrics.
    ///
    /// # Errors
    /// [`Fault`]: the stage cannot start.
    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let _ = wiring;
        Ok(())
    }

    /// A turn begins.
    fn begin(&mut self, turn: &Turn) {
        let _ = turn;
    }

    /// Processing time has reached [`next_due`](Self::next_due).
    fn processing_time<E: Emit<Self::Out>>(&mut self, now: Timestamp, out: &mut E) {
        let _ = (now, out);
    }

    /// When it wants [`processing_time`](Self::processing_time) to be called, if at all.
    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    /// A turn ends. Sends on what is complete; with `idle` everything, since no turn may come for a while.
    ///
    /// # Errors
    /// [`Fault`]: what it writes to failed.
    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        let _ = idle;
        Ok(())
    }

    /// Whether output waits for room. The stage takes no input then, and waits for what
    /// [`blocked`](Self::blocked) gives.
    fn is_blocked(&self) -> bool {
        false
    }

    /// Adds what must be waited for until the output that was refused is queued. Asked only while it
    /// [is blocked](Self::is_blocked). Nothing: it waits for [`blocked_due`](Self::blocked_due).
    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        let _ = waits;
    }

    /// When what it is blocked by may be over without anything else that would wake the stage: it is flushed then. Asked
    /// only while it [is blocked](Self::is_blocked), and only of whoever is: what else is due is not dealt with meanwhile.
    fn blocked_due(&self) -> Option<Timestamp> {
        self.next_due()
    }

    /// The input is idle: watermarks need not wait for it. Told again after what the clock gave out meanwhile.
    fn idle(&mut self) {}

    /// Whether it keeps the end of time, a watermark of [`Timestamp::MAX`] that it was told, from those behind it, since it
    /// still works on what belongs before that. They are told once it does no more: it lets go of it at
    /// [`processing_time`](Self::processing_time), and at no other call.
    fn holds_end(&self) -> bool {
        false
    }

    /// The input has ended and [`end`](Self::end) comes next, once this gives `true`: called again in later turns until then,
    /// so that what must come out before it takes no turn for ever. While it [holds the end of time](Self::holds_end) it may give
    /// way all the same, to a [stop](crate::checkpoint::Control::is_stopping) of a dataflow with checkpoints: the last of these
    /// is from before the end of time then.
    fn before_end<E: Emit<Self::Out>>(&mut self, out: &mut E) -> bool {
        let _ = out;
        true
    }

    /// The input has ended, after a last watermark of [`Timestamp::MAX`] if it was complete.
    fn end<E: Emit<Self::Out>>(&mut self, out: &mut E) {
        let _ = out;
    }

    /// Adds what is to be told about the state that it holds, by name.
    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        let _ = into;
    }

    /// A barrier has come: gives out what it only keeps to save work. A sink [is blocked](Self::is_blocked) from here
    /// until what it took is safe where it writes to, unless it saves that: state is given when nobody is blocked.
    fn before_barrier<E: Emit<Self::Out>>(&mut self, out: &mut E) {
        let _ = out;
    }

    /// Gives its state as it is now. One that has none says so with [`stateless!`](crate::flow::stateless).
    ///
    /// # Errors
    /// [`Fault`]: it cannot be written.
    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault>;

    /// Takes back what it gave, after [`open`](Self::open) and before anything else. What it takes from `restoring` must
    /// be as many parts, of the same kinds, as [`save`](Self::save) gives.
    ///
    /// # Errors
    /// [`Fault`]: what is stored is not its own.
    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault>;

    /// The checkpoint of this epoch is complete, and those before it: what was held back until then may go out.
    ///
    /// # Errors
    /// [`Fault`]: what it writes to failed.
    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        let _ = epoch;
        Ok(())
    }

    /// Whether it holds something back until a checkpoint is complete.
    fn awaits_checkpoint(&self) -> bool {
        false
    }
}

/// Inside of an `impl Operator`: it has no state that a checkpoint must hold.
#[macro_export]
macro_rules! stateless {
    () => {
        fn save(
            &mut self,
            _saving: &mut $crate::checkpoint::Saving,
        ) -> Result<(), $crate::flow::Fault> {
            Ok(())
        }

        fn restore(
            &mut self,
            _restoring: &mut $crate::checkpoint::Restoring,
        ) -> Result<(), $crate::flow::Fault> {
            Ok(())
        }
    };
}
