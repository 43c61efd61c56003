use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::log::Head;
use crate::log::fixtures::EmptyLog;
use crate::log::frame::Frame;
use crate::log::frame::fixtures::first_frame;
use crate::time::{ManualClock, Timestamp};

fn subscribed(
    feed: &Arc<Feed>,
    reader: impl LogReader + 'static,
    partitions: &[u16],
) -> Subscription {
    let reader: Arc<dyn LogReader> = Arc::new(reader);
    let clock = Arc::new(ManualClock::new(Timestamp(1)));
    let from: Vec<_> = partitions
        .iter()
        .map(|partition| (PartitionId(*partition), Offset(0)))
        .collect();
    Subscription::new(feed, &reader, &from, SubscriptionLimits::default(), clock).unwrap()
}

/// Stories: nobody woke a subscription to no partitions: it waited on after the log had ended. And a log that failed and was
/// closed then had ended in order, as its subscribers were told.
#[test]
fn one_ends_as_the_log_does() {
    let fail = |feed: &Feed| feed.stop(LogError::Panicked);
    let fail_and_close = |feed: &Feed| {
        feed.stop(LogError::Panicked);
        feed.close();
    };
    let ends: [fn(&Feed); 3] = [Feed::close, fail, fail_and_close];
    for (at, end) in ends.into_iter().enumerate() {
        let is_orderly = at == 0;
        for partitions in [&[][..], &[0]] {
            let feed = Arc::new(Feed::new(&EmptyLog).unwrap());
            let mut subscription = subscribed(&feed, EmptyLog, partitions);
            let mut next = Box::pin(subscription.next());
            let mut context = Context::from_waker(Waker::noop());
            assert!(next.as_mut().poll(&mut context).is_pending());
            end(&feed);
            match next.as_mut().poll(&mut context) {
                Poll::Ready(Ok(None)) => assert!(is_orderly, "{at} {partitions:?}"),
                Poll::Ready(Err(LogError::Panicked)) => assert!(!is_orderly, "{at} {partitions:?}"),
                other => panic!("{at} {partitions:?}: {other:?}"),
            }
        }
    }
}

/// Two partitions of one event each, of which the first cannot be read once it is open.
struct Unreadable {
    is_open: AtomicBool,
}

impl LogReader for Unreadable {
    fn partitions(&self) -> u16 {
        2
    }

    fn head(&self, _: PartitionId) -> Result<Head, LogError> {
        Ok(Head {
            next: Offset(1),
            ..Head::default()
        })
    }

    fn read(&self, partition: PartitionId, _: Offset, _: usize) -> Result<Vec<Frame>, LogError> {
        if self.is_open.load(Ordering::Relaxed) && partition == PartitionId(0) {
            return Err(LogError::Panicked);
        }
        Ok(vec![(*first_frame().frame).clone()])
    }
}

/// Story: a partition that could not be read gave its error each time and kept its turn: nothing of the others was handed out.
#[test]
fn a_partition_that_cannot_be_read_keeps_no_other_back() {
    let reader = Unreadable {
        is_open: AtomicBool::new(false),
    };
    let feed = Arc::new(Feed::new(&reader).unwrap());
    reader.is_open.store(true, Ordering::Relaxed);
    let mut subscription = subscribed(&feed, reader, &[0, 1]);
    assert!(subscription.try_next().is_err());
    assert!(subscription.try_next().unwrap().is_some());
    assert!(subscription.try_next().is_err());
    assert_eq!(subscription.lag(), 1);
}
