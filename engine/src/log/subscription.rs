//! A subscription of one's own: committed events of some or all partitions, from any position, live.
//!
//! Order within a partition is the log's; between partitions there is none. A subscriber that is slower
//! than the log holds at most what its [`SubscriptionLimits`] say in memory and reads the rest from disk.

use std::sync::Arc;

use tokio::sync::Notify;

use super::feed::{Feed, FrameSlice, LogCursor};
use super::{LogError, LogReader};
use crate::event::{Offset, PartitionId};
use crate::mailbox::{Mailbox, MailboxLimits, Wake};
use crate::time::Clock;

/// How much waits in memory for a subscriber.
pub type SubscriptionLimits = MailboxLimits;

/// Committed events as they come. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    feed: Arc<Feed>,
    mailbox: Arc<Mailbox>,
    notify: Arc<Notify>,
    cursors: Vec<LogCursor>,
    /// Cursor that is asked first, so that no partition starves another.
    turn: usize,
}

struct NotifyWake(Arc<Notify>);

impl Wake for NotifyWake {
    fn wake(&self) {
        self.0.notify_one();
    }
}

impl Subscription {
    /// Subscribes to partitions, each from an offset (inclusive) on.
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`].
    pub fn new(
        feed: &Arc<Feed>,
        reader: &Arc<dyn LogReader>,
        from: &[(PartitionId, Offset)],
        limits: SubscriptionLimits,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LogError> {
        let mailbox = Mailbox::new(limits, clock);
        let notify = Arc::new(Notify::new());
        mailbox.attach(Arc::new(NotifyWake(Arc::clone(&notify))));
        let cursors = from
            .iter()
            .map(|&(partition, offset)| {
                feed.subscribe(partition, offset, &mailbox, Arc::clone(reader))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            feed: Arc::clone(feed),
            mailbox,
            notify,
            cursors,
            turn: 0,
        })
    }

    /// The next frame, waiting for one; `None` once the log was closed and all of it was handed out. Of no partitions there is none:
    /// that waits for the log's end.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`LogReader::read`], may be asked again; [`LogError::Stopped`] once the log stopped and all that
    /// is durable was handed out.
    pub async fn next(&mut self) -> Result<Option<FrameSlice>, LogError> {
        loop {
            // Looked at first: what was published before it is handed out before its end is told.
            let (closed, stopped) = (self.feed.is_closed(), self.feed.stopped());
            let _ = self.mailbox.begin_turn();
            if let Some(slice) = self.try_next()? {
                return Ok(Some(slice));
            }
            // A log that stopped is closed as well in the end: that is no orderly one.
            if let Some(cause) = stopped {
                return Err(cause);
            }
            if closed {
                return Ok(None);
            }
            if self.cursors.is_empty() {
                // No partition has it among those it wakes.
                self.feed.until_ended().await;
            } else {
                self.notify.notified().await;
            }
        }
    }

    /// The next frame if one is there.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn try_next(&mut self) -> Result<Option<FrameSlice>, LogError> {
        let count = self.cursors.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let pulled = self.cursors[at].pull();
            if !matches!(pulled, Ok(None)) {
                // Also after an error: one partition that cannot be read does not keep the others back.
                self.turn = at + 1;
                return pulled;
            }
        }
        Ok(None)
    }

    /// Durable events that were not handed out yet, over all partitions.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.cursors.iter().map(LogCursor::lag).sum()
    }
}

#[cfg(test)]
mod tests;
