//! One stream becomes several: each item goes to one of them, to all, or beside the main one to a copy.
//!
//! Watermarks, idleness and the end go to all. Backpressure does too: while one of them has no room, none gets more. The
//! end waits for all: for as long as one of them has something to do before it, none is told.

use std::convert::Infallible;

use millstream_engine::checkpoint::{Epoch, Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Turn, Wiring, inner_sink};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;

/// Chooses where an item goes.
pub trait Choose<T>: Clone + Send + 'static {
    /// Gives `item` to `push` with the number of each target, out of `0..targets`.
    fn choose(&self, item: T, targets: usize, push: impl FnMut(usize, T));
}

/// To the target whose number a function gives.
#[derive(Clone, Copy, Debug)]
pub struct ToOne<F>(pub F);

impl<T, F: Fn(&T) -> usize + Clone + Send + 'static> Choose<T> for ToOne<F> {
    #[inline]
    fn choose(&self, item: T, targets: usize, mut push: impl FnMut(usize, T)) {
        let target = (self.0)(&item);
        assert!(
            target < targets,
            "an item was routed to output {target}, and outputs are numbered 0 to {}",
            targets.saturating_sub(1)
        );
        push(target, item);
    }
}

/// To all targets.
#[derive(Clone, Copy, Debug)]
pub struct ToAll;

impl<T: Clone> Choose<T> for ToAll {
    #[inline]
    fn choose(&self, item: T, targets: usize, mut push: impl FnMut(usize, T)) {
        for target in 1..targets {
            push(target, item.clone());
        }
        push(0, item);
    }
}

/// The end of a stage in several sinks.
#[derive(Clone, Debug)]
pub struct Fork<S, C> {
    sinks: Vec<S>,
    choose: C,
}

impl<S, C> Fork<S, C> {
    /// Gives items to those of `sinks` (at least one) that `choose` chooses.
    pub const fn new(sinks: Vec<S>, choose: C) -> Self {
        Self { sinks, choose }
    }
}

impl<T, S, C> Operator<T> for Fork<S, C>
where
    T: Send + 'static,
    S: Operator<T, Out = Infallible>,
    C: Choose<T>,
{
    type Out = Infallible;

    #[inline]
    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: T, _out: &mut E) {
        let sinks = &mut self.sinks;
        self.choose.choose(item, sinks.len(), |at, item| {
            sinks[at].item(time, item, &mut Discard);
        });
    }

    fn watermark<E: Emit<Infallible>>(&mut self, watermark: Timestamp, _out: &mut E) {
        for sink in &mut self.sinks {
            sink.watermark(watermark, &mut Discard);
        }
    }

    fn late_before(&mut self, limit: Timestamp) {
        for sink in &mut self.sinks {
            sink.late_before(limit);
        }
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.sinks.iter_mut().try_for_each(|sink| sink.open(wiring))
    }

    fn begin(&mut self, turn: &Turn) {
        for sink in &mut self.sinks {
            sink.begin(turn);
        }
    }

    fn processing_time<E: Emit<Infallible>>(&mut self, now: Timestamp, _out: &mut E) {
        for sink in &mut self.sinks {
            sink.processing_time(now, &mut Discard);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.sinks.iter().filter_map(Operator::next_due).min()
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.sinks.iter_mut().try_for_each(|sink| sink.flush(idle))
    }

    fn is_blocked(&self) -> bool {
        self.sinks.iter().any(Operator::is_blocked)
    }

    /// Asks only those that are blocked: the others have nothing that would ever be over.
    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        for sink in self.sinks.iter_mut().filter(|sink| sink.is_blocked()) {
            sink.blocked(waits);
        }
    }

    fn blocked_due(&self) -> Option<Timestamp> {
        let blocked = self.sinks.iter().filter(|sink| sink.is_blocked());
        blocked.filter_map(Operator::blocked_due).min()
    }

    fn idle(&mut self) {
        self.sinks.iter_mut().for_each(Operator::idle);
    }

    fn holds_end(&self) -> bool {
        self.sinks.iter().any(Operator::holds_end)
    }

    fn before_end<E: Emit<Infallible>>(&mut self, _out: &mut E) -> bool {
        let mut are_ready = true;
        // All of them in each turn: what one has left to do is no reason for another to wait.
        for sink in &mut self.sinks {
            are_ready &= sink.before_end(&mut Discard);
        }
        are_ready
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        for sink in &mut self.sinks {
            sink.end(&mut Discard);
        }
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        self.sinks.iter().for_each(|sink| sink.state_items(into));
    }

    fn before_barrier<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        for sink in &mut self.sinks {
            sink.before_barrier(&mut Discard);
        }
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        self.sinks.iter_mut().try_for_each(|sink| sink.save(saving))
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let mut sinks = self.sinks.iter_mut();
        sinks.try_for_each(|sink| sink.restore(restoring))
    }

    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        let mut sinks = self.sinks.iter_mut();
        sinks.try_for_each(|sink| sink.checkpointed(epoch))
    }

    fn awaits_checkpoint(&self) -> bool {
        self.sinks.iter().any(Operator::awaits_checkpoint)
    }
}

/// Gives items on, and a copy of each to a sink.
#[derive(Clone, Debug)]
pub struct Tee<S> {
    sink: S,
}

impl<S> Tee<S> {
    /// Copies go to `sink`.
    pub const fn new(sink: S) -> Self {
        Self { sink }
    }
}

impl<T: Clone + 'static, S: Operator<T, Out = Infallible>> Operator<T> for Tee<S> {
    type Out = T;

    #[inline]
    fn item<E: Emit<T>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        self.sink.item(time, item.clone(), &mut Discard);
        out.emit(time, item);
    }

    inner_sink!(sink);
}
