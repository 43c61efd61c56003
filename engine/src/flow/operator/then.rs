//! How operators are fused.
//!
//! [`Then`] composes two of them by type: what the first emits the second takes, in the same call, so that a chain of them
//! compiles to one loop without a buffer, a box or an indirect call per item. A chain begins with [`Identity`].

use super::{Emit, Fault, Operator, Turn};
use crate::batch::Batch;
use crate::checkpoint::{Epoch, Restoring, Saving};
use crate::flow::Wiring;
use crate::stage::Blocked;
use crate::time::Timestamp;

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
