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
            if closed {
                return Ok(None);
            }
            if let Some(cause) = stopped {
                return Err(cause);
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
            if let Some(slice) = self.cursors[at].pull()? {
                self.turn = at + 1;
                return Ok(Some(slice));
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
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::log::Head;
    use crate::log::frame::Frame;
    use crate::time::{ManualClock, Timestamp};

    struct Empty;

    impl LogReader for Empty {
        fn partitions(&self) -> u16 {
            1
        }

        fn head(&self, _: PartitionId) -> Result<Head, LogError> {
            Ok(Head::default())
        }

        fn read(&self, _: PartitionId, _: Offset, _: usize) -> Result<Vec<Frame>, LogError> {
            Ok(Vec::new())
        }
    }

    /// Story: nobody woke a subscription to no partitions: it waited on after the log had ended.
    #[test]
    fn one_of_no_partitions_ends_with_the_log() {
        let ends: [fn(&Feed); 2] = [Feed::close, |feed| feed.stop(LogError::Panicked)];
        for (at, end) in ends.into_iter().enumerate() {
            let feed = Arc::new(Feed::new(&Empty).unwrap());
            let reader: Arc<dyn LogReader> = Arc::new(Empty);
            let clock = Arc::new(ManualClock::new(Timestamp(1)));
            let limits = SubscriptionLimits::default();
            let mut subscription = Subscription::new(&feed, &reader, &[], limits, clock).unwrap();
            let mut next = Box::pin(subscription.next());
            let mut context = Context::from_waker(Waker::noop());
            assert!(next.as_mut().poll(&mut context).is_pending());
            end(&feed);
            match next.as_mut().poll(&mut context) {
                Poll::Ready(Ok(None)) => assert_eq!(at, 0),
                Poll::Ready(Err(LogError::Panicked)) => assert_eq!(at, 1),
                other => panic!("{at}: {other:?}"),
            }
        }
    }
}
