//! The mailbox against a plain queue, its waits and its end, and with threads.

use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::time::{Clock, ManualClock, SystemClock, Timestamp};

fn limits(items_max: u32, bytes_max: u64) -> MailboxLimits {
    MailboxLimits {
        items_max: NonZeroU32::new(items_max).unwrap(),
        bytes_max: NonZeroU64::new(bytes_max).unwrap(),
    }
}

fn mailbox(items_max: u32, bytes_max: u64) -> Arc<Mailbox> {
    Mailbox::new(limits(items_max, bytes_max), Arc::new(SystemClock::new()))
}

#[derive(Default)]
struct CountingWake(AtomicUsize);

impl Wake for CountingWake {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Send { lane: usize, bytes: usize },
    Drain { lane: usize, items_max: usize },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => (0..3_usize, prop_oneof![0..40_usize, 0..3_000_usize])
            .prop_map(|(lane, bytes)| Operation::Send { lane, bytes }),
        2 => (0..3_usize, 0..6_usize)
            .prop_map(|(lane, items_max)| Operation::Drain { lane, items_max }),
    ]
}

proptest! {
    /// Each lane is a queue; together they respect both bounds; what does not fit comes back.
    #[test]
    fn lanes_are_queues_within_the_bounds(
        items_max in 1..12_u32,
        bytes_max in 1..2_000_u64,
        operations in prop::collection::vec(operation(), 1..200),
    ) {
        let mailbox = mailbox(items_max, bytes_max);
        let lanes: Vec<_> = (0..3).map(|_| mailbox.lane::<(usize, usize)>()).collect();
        let mut model = vec![VecDeque::new(); 3];
        for (id, operation) in operations.into_iter().enumerate() {
            let queued: usize = model.iter().map(VecDeque::len).sum();
            match operation {
                Operation::Send { lane, bytes } => match lanes[lane].0.try_send((id, bytes), bytes) {
                    Ok(()) => model[lane].push_back((id, bytes)),
                    Err(Overloaded::Full(item)) => {
                        prop_assert_eq!(item, (id, bytes));
                        prop_assert!(queued > 0, "an empty mailbox takes everything");
                    }
                    Err(Overloaded::Closed(_)) => prop_assert!(false, "nobody closed it"),
                },
                Operation::Drain { lane, items_max } => {
                    let mut out = Vec::new();
                    let summary = lanes[lane].1.drain(items_max, &mut out);
                    let expected: Vec<_> =
                        (0..items_max).map_while(|_| model[lane].pop_front()).collect();
                    prop_assert_eq!(summary.items, out.len());
                    prop_assert_eq!(summary.emptied, expected.len() < items_max);
                    prop_assert_eq!(out, expected);
                }
            }
            let queued: Vec<_> = model.iter().flatten().collect();
            let bytes: u64 = queued.iter().map(|(_, bytes)| *bytes as u64).sum();
            prop_assert!(queued.len() <= items_max as usize);
            prop_assert!(bytes <= bytes_max || queued.len() == 1, "{bytes} of {bytes_max}");
            prop_assert_eq!(mailbox.statistics().items, queued.len());
        }
        for (lane, (_, receiver)) in lanes.iter().enumerate() {
            let mut out = Vec::new();
            receiver.drain(usize::MAX, &mut out);
            prop_assert_eq!(&out, &Vec::from(std::mem::take(&mut model[lane])));
        }
        prop_assert_eq!(mailbox.credits().used(), 0);
    }
}

#[test]
fn a_drain_stops_at_its_bytes_but_takes_one() {
    let mailbox = mailbox(10, 1_000);
    let (sender, receiver) = mailbox.lane();
    for id in 0..4 {
        sender.try_send(id, 100).unwrap();
    }
    let mut out = Vec::new();
    assert_eq!(receiver.drain_within(10, 1, &mut out).items, 1);
    assert_eq!(receiver.drain_within(10, 200, &mut out).items, 2);
    assert_eq!(receiver.len(), 1);
}

#[tokio::test]
async fn send_waits_in_turn_and_goes_on_when_drained() {
    let mailbox = mailbox(2, 1_000);
    let (sender, receiver) = mailbox.lane();
    sender.try_send(0, 1).unwrap();
    sender.try_send(1, 1).unwrap();
    let mut large = Box::pin(sender.send(2, 1_000_000));
    assert!(futures_poll(&mut large).is_pending());
    let mut small = Box::pin(sender.send(3, 1));
    assert!(futures_poll(&mut small).is_pending());

    let mut out = Vec::new();
    receiver.drain(1, &mut out);
    // The credit goes to the large item at the head of the queue, not to the small one or a stranger.
    assert!(futures_poll(&mut small).is_pending());
    assert!(matches!(sender.try_send(9, 1), Err(Overloaded::Full(9))));
    receiver.drain(1, &mut out);
    large.await.unwrap();
    assert!(futures_poll(&mut small).is_pending());
    receiver.drain(1, &mut out);
    small.await.unwrap();
    receiver.drain(1, &mut out);
    assert_eq!(out, [0, 1, 2, 3]);
    let statistics = mailbox.statistics();
    assert_eq!((statistics.credits_used, statistics.waits_total), (0, 2));
    assert_eq!(statistics.refused_total, 1);
}

/// Polls once with a waker that does nothing.
fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_dropped_wait_takes_no_credits() {
    let mailbox = mailbox(2, 2);
    let (sender, receiver) = mailbox.lane();
    sender.try_send(0, 1).unwrap();
    let mut waiting = Box::pin(sender.send(1, 2));
    assert!(futures_poll(&mut waiting).is_pending());
    drop(waiting);
    sender.try_send(2, 1).unwrap();
    let mut out = Vec::new();
    receiver.drain(9, &mut out);
    assert_eq!((out, mailbox.credits().used()), (vec![0, 2], 0));
}

#[tokio::test]
async fn a_closed_mailbox_hands_items_back_and_is_still_drained() {
    let mailbox = mailbox(1, 100);
    let (sender, receiver) = mailbox.lane();
    sender.try_send(0, 1).unwrap();
    let mut waiting = Box::pin(sender.send(1, 1));
    assert!(futures_poll(&mut waiting).is_pending());
    mailbox.close();
    assert_eq!(waiting.await, Err(Closed(1)));
    assert!(matches!(sender.try_send(2, 1), Err(Overloaded::Closed(2))));
    assert_eq!(sender.send(3, 1).await, Err(Closed(3)));
    assert!(!mailbox.is_drained());
    let mut out = Vec::new();
    receiver.drain(9, &mut out);
    assert_eq!(out, [0]);
    assert!(mailbox.is_drained());
}

/// A sender part-way served holds credits when the mailbox is closed. The receiver, which found the
/// lanes empty but not all credits back, is woken when that sender lets go, or it would never end.
#[tokio::test]
async fn a_waiter_that_lets_go_after_the_end_wakes_the_receiver() {
    for cancelled in [true, false] {
        let mailbox = mailbox(4, 4);
        let wake = Arc::new(CountingWake::default());
        mailbox.attach(Arc::<CountingWake>::clone(&wake));
        let (sender, receiver) = mailbox.lane();
        sender.try_send(0, 1).unwrap();
        let mut waiting = Box::pin(sender.send(1, 4));
        assert!(futures_poll(&mut waiting).is_pending());
        mailbox.close();
        mailbox.begin_turn();
        receiver.drain(9, &mut Vec::new());
        assert!(!mailbox.is_drained());
        let before = wake.0.load(Ordering::SeqCst);
        if cancelled {
            drop(waiting);
        } else {
            assert_eq!(waiting.await, Err(Closed(1)));
        }
        assert!(mailbox.is_drained());
        assert_eq!(wake.0.load(Ordering::SeqCst), before + 1);
    }
}

#[test]
fn a_lane_without_receivers_is_closed_and_holds_no_credits() {
    let mailbox = mailbox(4, 100);
    let (sender, receiver) = mailbox.lane();
    let kept = receiver.clone();
    sender.try_send(0, 1).unwrap();
    drop(receiver);
    sender.try_send(1, 1).unwrap();
    drop(kept);
    assert!(matches!(sender.try_send(2, 1), Err(Overloaded::Closed(2))));
    assert_eq!(mailbox.credits().used(), 0);
}

#[test]
fn one_wake_up_per_turn_and_one_for_each_new_receiver() {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let mailbox = Mailbox::new(
        limits(8, 100),
        Arc::<ManualClock>::clone(&clock) as Arc<dyn Clock>,
    );
    let (sender, receiver) = mailbox.lane();
    sender.try_send(0, 1).unwrap(); // Nobody there: the item waits.
    let first = Arc::new(CountingWake::default());
    mailbox.attach(Arc::<CountingWake>::clone(&first));
    sender.try_send(1, 1).unwrap();
    assert_eq!(first.0.load(Ordering::SeqCst), 1);

    clock.advance(Duration::from_millis(3));
    assert_eq!(mailbox.begin_turn(), Some(Duration::from_millis(3)));
    let mut out = Vec::new();
    receiver.drain(9, &mut out);
    assert_eq!(out, [0, 1]);
    sender.try_send(2, 1).unwrap();
    assert_eq!(first.0.load(Ordering::SeqCst), 2);

    let second = Arc::new(CountingWake::default());
    mailbox.attach(Arc::<CountingWake>::clone(&second));
    sender.try_send(3, 1).unwrap();
    let wakes = [&first, &second].map(|wake| wake.0.load(Ordering::SeqCst));
    assert_eq!(wakes, [2, 1]);
}

/// A receiver that only ever looks when woken gets everything that several threads send.
#[test]
fn threads_lose_nothing() {
    const SENDERS: u64 = 3;
    const ITEMS_PER_SENDER: u64 = 333_334;
    struct Unpark(std::thread::Thread, AtomicUsize);
    impl Wake for Unpark {
        fn wake(&self) {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.unpark();
        }
    }
    let mailbox = mailbox(1_024, 1 << 20);
    let wake = Arc::new(Unpark(std::thread::current(), AtomicUsize::new(0)));
    mailbox.attach(Arc::<Unpark>::clone(&wake));
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..SENDERS).map(|_| mailbox.lane::<u64>()).unzip();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let handle = runtime.handle();
    std::thread::scope(|scope| {
        for sender in senders {
            scope.spawn(move || {
                handle.block_on(async {
                    for item in 0..ITEMS_PER_SENDER {
                        sender.send(item, 8).await.unwrap();
                    }
                });
            });
        }
        let mut expected = vec![0; receivers.len()];
        let mut batch = Vec::new();
        while expected.iter().any(|next| *next < ITEMS_PER_SENDER) {
            while wake.1.swap(0, Ordering::SeqCst) == 0 {
                std::thread::park();
            }
            mailbox.begin_turn();
            for (lane, receiver) in receivers.iter().enumerate() {
                receiver.drain(100, &mut batch);
                for item in batch.drain(..) {
                    assert_eq!(item, expected[lane]);
                    expected[lane] += 1;
                }
            }
            if receivers.iter().any(|receiver| !receiver.is_empty()) {
                mailbox.wake();
            }
        }
    });
    assert_eq!(mailbox.credits().used(), 0);
}
