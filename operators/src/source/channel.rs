//! A tokio channel as a source: what a program sends, as it sends it.
//!
//! Position: none; not replayable. What was received and not dealt with is gone with the process. Bounds: those of the
//! channel, whose senders wait while the dataflow is busy. The source ends when all senders are gone.
//! Each item's time is that of its taking from the channel, which is also the watermark.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millstream_engine::flow::{Emit, Fault, Pulled, SeekError, Source};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::time::{Clock, Timestamp};
use tokio::sync::mpsc::Receiver;

/// The receiving end of a channel as a source.
pub struct ChannelSource<T> {
    receiver: Receiver<T>,
    waker: Waker,
    clock: Arc<dyn Clock>,
    /// `None` where items say their own times.
    watermark: Option<Timestamp>,
}

impl<T> ChannelSource<T> {
    /// Reads `receiver`. With `own_watermark` the time of taking is the watermark.
    #[must_use]
    pub fn new(receiver: Receiver<T>, clock: Arc<dyn Clock>, own_watermark: bool) -> Self {
        Self {
            receiver,
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
        Ok(())
    }

    fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    fn pull<E: Emit<T>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        // Wall clocks go back; a watermark does not.
        let now = self
            .clock
            .now()
            .max(self.watermark.unwrap_or(Timestamp::MIN));
        let mut context = Context::from_waker(&self.waker);
        for _ in 0..items_max {
            match self.receiver.poll_recv(&mut context) {
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

    /// What was taken from a channel is nowhere else.
    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    fn seek(&mut self, _position: &[u8]) -> Result<(), SeekError> {
        Ok(())
    }
}

impl<T> fmt::Debug for ChannelSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSource").finish_non_exhaustive()
    }
}
