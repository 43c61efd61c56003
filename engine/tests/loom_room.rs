//! Promise: who was refused by a full queue is woken once there is room, or once it is closed.
//!
//! Explores every interleaving of the protocol of those who wait for room. Its file is included rather than imported, because
//! tokio changes its own shape under `cfg(loom)`. The queue is two bare atomics: a lock would order what the protocol itself
//! has to order. Run with `RUSTFLAGS="--cfg loom" cargo test -p millstream-engine --release --test loom_room`
//! (in a target directory of its own); without the flag this file is empty.
#![cfg(loom)]

#[path = "../src/state/room.rs"]
mod room;

mod sync {
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

use std::task::{Wake, Waker};

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;
use room::Room;

/// A queue of which only the free places are known. Relaxed on purpose: what waits for room must see by it alone what was
/// done before it was told.
struct Queue {
    places: AtomicUsize,
    is_closed: AtomicBool,
    room: Room,
}

enum Refused {
    Full,
    Closed,
}

struct Waiter(Notify);

impl Wake for Waiter {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

impl Queue {
    fn with(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places: AtomicUsize::new(places),
            is_closed: AtomicBool::new(false),
            room: Room::new(),
        })
    }

    fn try_take(&self) -> Result<(), Refused> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Refused::Closed);
        }
        let mut places = self.places.load(Ordering::Relaxed);
        while places > 0 {
            let (order, less) = (Ordering::Relaxed, places - 1);
            match self.places.compare_exchange(places, less, order, order) {
                Ok(_) => return Ok(()),
                Err(now) => places = now,
            }
        }
        Err(Refused::Full)
    }

    fn give_back(&self) {
        self.places.fetch_add(1, Ordering::Relaxed);
        self.room.tell();
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.room.tell();
    }

    fn take_and_give_back(&self) {
        assert!(self.take());
        self.give_back();
    }

    /// Waits for a place; `false`: it was closed. Who is not woken is a deadlock, which loom reports.
    fn take(&self) -> bool {
        let waiter = std::sync::Arc::new(Waiter(Notify::new()));
        let waker = Waker::from(std::sync::Arc::clone(&waiter));
        let full = |refused| match refused {
            Refused::Full => Ok(()),
            Refused::Closed => Err(Refused::Closed),
        };
        loop {
            match self.room.offer(&waker, (), |()| self.try_take(), full) {
                Ok(()) => return true,
                Err(Refused::Closed) => return false,
                Err(Refused::Full) => waiter.0.wait(),
            }
        }
    }
}

#[test]
fn a_place_is_not_missed() {
    loom::model(|| {
        let queue = Queue::with(0);
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.take())
        };
        queue.give_back();
        assert!(taker.join().expect("the taker does not panic"));
    });
}

/// Each gives the place back that the other one may wait for.
#[test]
fn two_share_one_place() {
    loom::model(|| {
        let queue = Queue::with(1);
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.take_and_give_back())
        };
        queue.take_and_give_back();
        other.join().expect("the other does not panic");
    });
}

/// Both may be woken for the one place; who comes too late is woken again. With three threads the interleavings are too many:
/// those with up to two switches from a thread that could have gone on.
#[test]
fn two_wait_for_one_place() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let queue = Queue::with(0);
        let takers = [0, 1].map(|_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.take_and_give_back())
        });
        queue.give_back();
        for taker in takers {
            taker.join().expect("the taker does not panic");
        }
    });
}

#[test]
fn the_end_is_not_missed() {
    loom::model(|| {
        let queue = Queue::with(0);
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.take())
        };
        queue.close();
        assert!(!taker.join().expect("the taker does not panic"));
    });
}
