//! A tokio channel as a source: what a program sends, as it sends it.
//!
//! Position: none; not replayable. What was received and not dealt with is gone with the run that did so. Bounds: those of
//! the channel, whose senders wait while the dataflow is busy. The source ends when all senders are gone.
//! Each item's time is that of its taking from the channel, which is also the watermark. That goes on from where it was, over a
//! restart as well: what is taken by a clock that was set back is not late.
//! Invariant: one run at a time has the receiver, from its opening on. A run that fails gives it back to the next one, with
//! what waits in the channel; one that is stopped drops it, so that senders hear of it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use millstream_engine::flow::{
    Emit, Fault, Pulled, SeekError, Source, number_position, position_number,
};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::time::{Clock, Timestamp};
use tokio::sync::mpsc::Receiver;

/// A receiver that runs of a dataflow read one after the other. Clones mean the same one.
pub struct SharedReceiver<T>(Arc<Mutex<Option<Receiver<T>>>>);

impl<T> SharedReceiver<T> {
    /// Shares `receiver`.
    #[must_use]
    pub fn new(receiver: Receiver<T>) -> Self {
        Self(Arc::new(Mutex::new(Some(receiver))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Receiver<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for SharedReceiver<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The receiving end of a channel as a source.
pub struct ChannelSource<T> {
    shared: SharedReceiver<T>,
    /// While it is open.
    receiver: Option<Receiver<T>>,
    waker: Waker,
    clock: Arc<dyn Clock>,
    /// `None` where items say their own times.
    watermark: Option<Timestamp>,
}

impl<T> ChannelSource<T> {
    /// Reads `shared` once it is opened. With `own_watermark` the time of taking is the watermark.
    #[must_use]
    pub fn new(shared: SharedReceiver<T>, clock: Arc<dyn Clock>, own_watermark: bool) -> Self {
        Self {
            shared,
            receiver: None,
            waker: Waker::noop().clone(),
            clock,
            watermark: own_watermark.then_some(Timestamp::MIN),
        }
    }
}

impl<T: Send + 'static> Source for ChannelSource<T> {
    type Item = T;

    fn open(&mut self, mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        self.waker = mailbox.waker();
        let receiver = self.shared.lock().take();
        let taken = || Fault("the channel is read by a run that has not ended".to_owned());
        self.receiver = Some(receiver.ok_or_else(taken)?);
        Ok(())
    }

    fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    fn pull<E: Emit<T>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        let Some(receiver) = &mut self.receiver else {
            return Err(Fault("the channel source was not opened".to_owned()));
        };
        // Wall clocks go back; a watermark does not.
        let now = self
            .clock
            .now()
            .max(self.watermark.unwrap_or(Timestamp::MIN));
        let mut context = Context::from_waker(&self.waker);
        for _ in 0..items_max {
            match receiver.poll_recv(&mut context) {
                Poll::Ready(Some(item)) => {
                    out.emit(now, item);
                    if let Some(watermark) = &mut self.watermark {
                        *watermark = now;
                    }
                }
                Poll::Ready(None) => return Ok(Pulled::End),
                Poll::Pending => return Ok(Pulled::Pending),
            }
        }
        Ok(Pulled::More)
    }

    fn stop(&mut self) {
        self.receiver = None;
    }

    /// The next start has another channel.
    fn may_go_on(&self) -> bool {
        true
    }

    /// What was taken from a channel is nowhere else: only the watermark.
    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        let watermark = self.watermark.filter(|at| *at > Timestamp::MIN);
        Ok(watermark.map(|at| number_position(at.0.cast_unsigned())))
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        let before = Timestamp(position_number(position)?.cast_signed());
        self.watermark = self.watermark.map(|watermark| watermark.max(before));
        Ok(())
    }
}

impl<T> Drop for ChannelSource<T> {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            *self.shared.lock() = Some(receiver);
        }
    }
}

impl<T> fmt::Debug for SharedReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedReceiver").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ChannelSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSource").finish_non_exhaustive()
    }
}
