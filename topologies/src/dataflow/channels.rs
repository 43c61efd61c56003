//! Channels between a program and a dataflow: bounded, both ways.

use std::fmt;
use std::sync::Arc;

use millstream_engine::flow::{Fault, Operator, Wiring};
use millstream_operators::sink::ChannelSink;
use millstream_operators::source::{ChannelSource, SharedReceiver};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::origin::Origin;
use super::source::{SourceNotes, SourcePlan};
use super::stream::Stream;

/// The receiving end of a channel as a source: one split, which ends with the last sender.
///
/// Position: none, so what a program sends comes once and cannot be read again: what a run that fails has taken is gone, and the
/// next one reads on with what is still in the channel. A dataflow that is stopped drops the receiver. An item's time is that of its taking
/// from the channel, and so is the watermark, unless items say [their own](super::SourceBuilder::timestamps).
pub struct Received<T> {
    /// Taken by each run once its stages are restored.
    receiver: SharedReceiver<T>,
    own_watermark: bool,
}

impl<T> Received<T> {
    /// Reads `receiver`.
    pub fn new(receiver: Receiver<T>) -> Self {
        Self {
            receiver: SharedReceiver::new(receiver),
            own_watermark: true,
        }
    }

    /// A channel of `items_max` places and the source that reads it. Senders wait while it is full.
    ///
    /// # Panics
    /// `items_max` is zero.
    #[must_use]
    pub fn channel(items_max: usize) -> (Sender<T>, Self) {
        let (sender, receiver) = channel(items_max);
        (sender, Self::new(receiver))
    }
}

impl<T: Send + 'static> SourcePlan for Received<T> {
    type Source = ChannelSource<T>;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(1)
    }

    fn split(&self, _split: usize, wiring: &Wiring) -> Result<ChannelSource<T>, Fault> {
        let (receiver, clock) = (self.receiver.clone(), Arc::clone(&wiring.clock));
        Ok(ChannelSource::new(receiver, clock, self.own_watermark))
    }

    fn notes(&self) -> SourceNotes {
        SourceNotes {
            has_watermark: self.own_watermark,
            ..SourceNotes::default()
        }
    }

    fn times_are_replaced(&mut self) {
        self.own_watermark = false;
    }
}

impl<P: Origin, O: Operator<P::Item> + Clone> Stream<P, O> {
    /// Sends items into a bounded channel. While it is full the stage waits, and those before it in turn. At least once:
    /// what is computed again after a restart is sent again. A receiver that is gone fails the dataflow.
    pub fn to_channel(self, sender: Sender<O::Out>)
    where
        O::Out: Send + 'static,
    {
        self.end(ChannelSink::new(sender));
    }
}

impl<T> fmt::Debug for Received<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").finish_non_exhaustive()
    }
}
