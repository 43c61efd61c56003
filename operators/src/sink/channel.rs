//! A tokio channel as a sink.
//!
//! Bounds: those of the channel, and one turn's output while it is full. Order is kept within a partition of the sink.
//! At a barrier the stage waits until the channel has all that came before, so that a restart from a checkpoint repeats
//! only what came after it: at least once.
//! Failure: a receiver that is gone fails the stage.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_engine::flow::{Emit, Fault, Fence, Operator, Wiring, stateless};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Sends items into a channel.
pub struct ChannelSink<T> {
    sender: Sender<T>,
    /// What was refused and what must wait behind it.
    refused: Vec<T>,
    is_gone: Arc<AtomicBool>,
    fence: Arc<Fence>,
}

impl<T> ChannelSink<T> {
    /// Sends to `sender`.
    #[must_use]
    pub fn new(sender: Sender<T>) -> Self {
        Self {
            sender,
            refused: Vec::new(),
            is_gone: Arc::default(),
            fence: Arc::default(),
        }
    }
}

impl<T> Clone for ChannelSink<T> {
    fn clone(&self) -> Self {
        Self::new(self.sender.clone())
    }
}

impl<T: Send + 'static> Operator<T> for ChannelSink<T> {
    type Out = Infallible;

    #[inline]
    fn item<E: Emit<Infallible>>(&mut self, _time: Timestamp, item: T, _out: &mut E) {
        if !self.refused.is_empty() {
            return self.refused.push(item);
        }
        self.fence.check();
        match self.sender.try_send(item) {
            Ok(()) => {}
            Err(TrySendError::Full(item)) => self.refused.push(item),
            Err(TrySendError::Closed(_)) => self.is_gone.store(true, Ordering::Release),
        }
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.fence = wiring.fence();
        Ok(())
    }

    fn flush(&mut self, _idle: bool) -> Result<(), Fault> {
        if self.is_gone.load(Ordering::Acquire) {
            return Err(Fault("the receiver of a channel is gone".to_owned()));
        }
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        !self.refused.is_empty()
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        let (sender, is_gone) = (self.sender.clone(), Arc::clone(&self.is_gone));
        let refused = std::mem::take(&mut self.refused);
        waits.push(Box::pin(Arc::clone(&self.fence).within(async move {
            for item in refused {
                if sender.send(item).await.is_err() {
                    is_gone.store(true, Ordering::Release);
                    return;
                }
            }
        })));
    }

    // What was refused is never saved: a stage gives its state when none of its operators is blocked.
    stateless!();
}

impl<T> fmt::Debug for ChannelSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSink")
            .field("refused", &self.refused.len())
            .finish_non_exhaustive()
    }
}
