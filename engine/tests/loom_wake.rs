//! Promise: an item in a lane is always followed by a wake-up, and at most one wake-up is in flight.
//!
//! Explores every interleaving of the wake-up protocol of the mailbox. The protocol's file is included
//! rather than imported, because tokio changes its own shape under `cfg(loom)`. Lanes are bare atomics:
//! a lock would order what the protocol itself has to order. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p millstream-engine --release --test loom_wake`
//! (in a target directory of its own); without the flag this file is empty.
#![cfg(loom)]

#[path = "../src/mailbox/wake_flag.rs"]
#[expect(
    unreachable_pub,
    reason = "included from the library, where it is public"
)]
mod wake_flag;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;
use wake_flag::WakeFlag;

/// One lane as two counters; `received` belongs to the receiver alone.
struct Lane {
    sent: AtomicUsize,
    received: AtomicUsize,
}

/// What sender and receiver share: lanes, the flag, and a place for one wake-up in flight.
struct Shared {
    lanes: Vec<Lane>,
    flag: WakeFlag,
    in_flight: AtomicUsize,
    inbox: Notify,
}

impl Shared {
    fn new(lanes: usize) -> Arc<Self> {
        let lane = |_| Lane {
            sent: AtomicUsize::new(0),
            received: AtomicUsize::new(0),
        };
        Arc::new(Self {
            lanes: (0..lanes).map(lane).collect(),
            flag: WakeFlag::new(),
            in_flight: AtomicUsize::new(0),
            inbox: Notify::new(),
        })
    }

    fn wake(&self) {
        if self.flag.raise() {
            let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
            assert_eq!(before, 0, "two wake-ups in flight");
            self.inbox.notify();
        }
    }

    fn send(&self, lane: usize) {
        // Relaxed on purpose: the flag alone must make the item visible.
        let sent = self.lanes[lane].sent.load(Ordering::Relaxed);
        self.lanes[lane].sent.store(sent + 1, Ordering::Relaxed);
        self.wake();
    }

    /// Takes at most `most` items of each lane; gives how many, and whether some were left.
    fn drain(&self, most: usize) -> (usize, bool) {
        let (mut taken, mut left) = (0, false);
        for lane in &self.lanes {
            let received = lane.received.load(Ordering::Relaxed);
            let there = lane.sent.load(Ordering::Relaxed) - received;
            taken += there.min(most);
            left |= there > most;
            lane.received
                .store(received + there.min(most), Ordering::Relaxed);
        }
        (taken, left)
    }

    /// Turns of the receiver until `expected` items came. A lost wake-up is a deadlock, which loom
    /// reports.
    fn receive(&self, expected: usize, most: usize) {
        let mut received = 0;
        while received < expected {
            self.inbox.wait();
            if self.in_flight.swap(0, Ordering::Relaxed) == 0 {
                continue; // loom's `wait` may return without a notification.
            }
            self.flag.clear();
            let (taken, left) = self.drain(most);
            received += taken;
            if left {
                self.wake();
            }
        }
    }
}

#[test]
fn two_senders_lose_nothing() {
    loom::model(|| {
        let shared = Shared::new(2);
        let senders = [0, 1].map(|lane| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.send(lane))
        });
        shared.receive(2, usize::MAX);
        for sender in senders {
            sender.join().expect("the sender does not panic");
        }
    });
}

/// A drain bounded below what is queued must look again, or the rest waits for ever.
#[test]
fn a_bounded_drain_rechecks() {
    loom::model(|| {
        let shared = Shared::new(1);
        let sender = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.send(0);
                shared.send(0);
            })
        };
        shared.receive(2, 1);
        sender.join().expect("the sender does not panic");
    });
}

/// The first receiver dies with a wake-up that it never handled, while a sender goes on. The next one
/// has an inbox of its own, clears the flag and wakes itself.
#[test]
fn a_restarted_receiver_misses_nothing() {
    loom::model(|| {
        let shared = Shared::new(1);
        let (dead, live) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let restarted = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let sender = {
            let (shared, dead, live) = (Arc::clone(&shared), Arc::clone(&dead), Arc::clone(&live));
            let restarted = Arc::clone(&restarted);
            thread::spawn(move || {
                for _ in 0..2 {
                    let sent = shared.lanes[0].sent.load(Ordering::Relaxed);
                    shared.lanes[0].sent.store(sent + 1, Ordering::Relaxed);
                    if shared.flag.raise() {
                        let target = if restarted.load(Ordering::Acquire) {
                            &live
                        } else {
                            &dead
                        };
                        target.notify();
                    }
                }
            })
        };
        restarted.store(true, Ordering::Release);
        shared.flag.clear();
        if shared.flag.raise() {
            live.notify();
        }
        let mut received = 0;
        while received < 2 {
            live.wait();
            shared.flag.clear();
            received += shared.drain(usize::MAX).0;
        }
        sender.join().expect("the sender does not panic");
    });
}
