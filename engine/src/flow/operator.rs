//! Operators and how they are fused.
//!
//! An [`Operator`] takes items and gives items to an [`Emit`]. [`Then`] composes two of them by type: what the
//! first emits the second takes, in the same call, so that a chain of them compiles to one loop without a
//! buffer, a box or an indirect call per item.

use std::convert::Infallible;
use std::time::Duration;

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

/// Gives items on as they are: the beginning of every chain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity;

impl<T: 'static> Operator<T> for Identity {
    type Out = T;

    #[inline(always)]
    fn item<E: Emit<T>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        out.emit(time, item);
    }

    #[inline(always)]
    fn batch<E: Emit<T>>(&mut self, batch: &mut Batch<T>, out: &mut E) {
        out.emit_batch(batch);
    }

    crate::stateless!();
}

/// Two operators as one: the second takes what the first gives out.
#[derive(Debug, Clone)]
pub struct Then<A, B> {
    /// Takes the input.
    pub first: A,
    /// Gives the output.
    pub second: B,
}

/// Emits into an operator.
struct Into<'a, B, E> {
    operator: &'a mut B,
    out: &'a mut E,
}

impl<T, B: Operator<T>, E: Emit<B::Out>> Emit<T> for Into<'_, B, E> {
    #[inline(always)]
    fn emit(&mut self, time: Timestamp, item: T) {
        self.operator.item(time, item, self.out);
    }

    #[inline(always)]
    fn emit_batch(&mut self, batch: &mut Batch<T>) {
        self.operator.batch(batch, self.out);
    }
}

impl<In, A: Operator<In>, B: Operator<A::Out>> Operator<In> for Then<A, B> {
    type Out = B::Out;

    #[inline(always)]
    fn item<E: Emit<B::Out>>(&mut self, time: Timestamp, item: In, out: &mut E) {
        let operator = &mut self.second;
        self.first.item(time, item, &mut Into { operator, out });
    }

    #[inline]
    fn batch<E: Emit<B::Out>>(&mut self, batch: &mut Batch<In>, out: &mut E) {
        let operator = &mut self.second;
        self.first.batch(batch, &mut Into { operator, out });
    }

    fn watermark<E: Emit<B::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        let operator = &mut self.second;
        self.first.watermark(watermark, &mut Into { operator, out });
        if !self.first.holds_end() {
            let watermark = self.first.output_watermark(watermark);
            self.second.watermark(watermark, out);
        }
    }

    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        let watermark = self.first.output_watermark(watermark);
        self.second.output_watermark(watermark)
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.first.late_before(limit);
        // What is given out before the end of time is let go of is not late for it.
        if !self.first.holds_end() {
            let limit = self.first.output_watermark(limit);
            self.second.late_before(limit);
        }
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.first.open(wiring)?;
        self.second.open(wiring)
    }

    fn begin(&mut self, turn: &Turn) {
        self.first.begin(turn);
        self.second.begin(turn);
    }

    fn processing_time<E: Emit<B::Out>>(&mut self, now: Timestamp, out: &mut E) {
        let holds = self.first.holds_end();
        let operator = &mut self.second;
        self.first.processing_time(now, &mut Into { operator, out });
        if holds && !self.first.holds_end() {
            let watermark = self.first.output_watermark(Timestamp::MAX);
            self.second.watermark(watermark, out);
        }
        self.second.processing_time(now, out);
    }

    fn next_due(&self) -> Option<Timestamp> {
        let (first, second) = (self.first.next_due(), self.second.next_due());
        match (first, second) {
            (Some(first), Some(second)) => Some(first.min(second)),
            (one, None) | (None, one) => one,
        }
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.first.flush(idle)?;
        self.second.flush(idle)
    }

    fn is_blocked(&self) -> bool {
        self.first.is_blocked() || self.second.is_blocked()
    }

    /// Asks only the one that is blocked: the other has nothing that would ever be over.
    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        if self.first.is_blocked() {
            self.first.blocked(waits);
        }
        if self.second.is_blocked() {
            self.second.blocked(waits);
        }
    }

    fn blocked_due(&self) -> Option<Timestamp> {
        let first = self.first.is_blocked().then(|| self.first.blocked_due());
        let second = self.second.is_blocked().then(|| self.second.blocked_due());
        first.into_iter().chain(second).flatten().min()
    }

    fn idle(&mut self) {
        self.first.idle();
        self.second.idle();
    }

    fn holds_end(&self) -> bool {
        self.first.holds_end() || self.second.holds_end()
    }

    fn before_end<E: Emit<B::Out>>(&mut self, out: &mut E) -> bool {
        let operator = &mut self.second;
        // In their order: what the first gives out may have to be waited for in the second.
        self.first.before_end(&mut Into { operator, out }) && self.second.before_end(out)
    }

    fn end<E: Emit<B::Out>>(&mut self, out: &mut E) {
        let operator = &mut self.second;
        self.first.end(&mut Into { operator, out });
        self.second.end(out);
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        self.first.state_items(into);
        self.second.state_items(into);
    }

    fn before_barrier<E: Emit<B::Out>>(&mut self, out: &mut E) {
        let operator = &mut self.second;
        self.first.before_barrier(&mut Into { operator, out });
        self.second.before_barrier(out);
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        self.first.save(saving)?;
        self.second.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        self.first.restore(restoring)?;
        self.second.restore(restoring)
    }

    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        self.first.checkpointed(epoch)?;
        self.second.checkpointed(epoch)
    }

    fn awaits_checkpoint(&self) -> bool {
        self.first.awaits_checkpoint() || self.second.awaits_checkpoint()
    }
}
