//! Whom to tell when a full queue has room.
//!
//! Protocol. Who was refused: [`offer`](Room::offer) leaves a waker *first*, then tries once more; refused again, he waits.
//! Whoever makes room takes from the queue, gives bytes back or closes it *first*, then [`tell`](Room::tell)s.
//! Invariant: who was refused twice is woken after the next thing that makes room. Either `tell` comes after the waker was
//! left and takes it, or it came before, and the lock that both take shows the second try what was made.
//! All are woken, be there one place or many: those who find it taken leave their wakers again. So the list has at most one
//! waker per waiter, as long as each waits with the same one.
//! Cost: a lock per commit, and one per refusal. Rejected: one waker per place, which is lost with a waiter that is gone.
//! Proof: `tests/loom_room.rs` includes this file, with loom's lock as `super::sync`, and explores every interleaving.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::task::Waker;

use super::sync::{Mutex, MutexGuard};

/// Those who wait for room in one queue.
#[derive(Debug)]
pub(super) struct Room {
    waiting: Mutex<Vec<Waker>>,
}

impl Room {
    /// Nobody waits.
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
        }
    }

    /// Gives `item` to `offer`. Where that has no room, which `full` tells and takes the item back from, leaves the waker
    /// and offers it once more.
    ///
    /// # Errors
    /// What `offer` says. If it is full, the waker is woken once that may have changed.
    pub(super) fn offer<T, R>(
        &self,
        waker: &Waker,
        item: T,
        mut offer: impl FnMut(T) -> Result<(), R>,
        full: impl FnOnce(R) -> Result<T, R>,
    ) -> Result<(), R> {
        let Err(refused) = offer(item) else {
            return Ok(());
        };
        let item = full(refused)?;
        self.leave(waker);
        offer(item)
    }

    /// Wakes all who wait, after room was made. They are called here: what they do must be short. One that panics, which may be the
    /// program's own, leaves neither the others asleep nor whoever makes room without its thread.
    pub(super) fn tell(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for waker in waiting {
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    fn leave(&self, waker: &Waker) {
        let mut waiting = self.lock();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// The list is whole whatever panicked beside it.
    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker")
        }
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Story: with a waker that panicked the wake-ups of all behind it were lost, and the state's writer died.
    #[test]
    fn a_waker_that_panics_leaves_nobody_asleep() {
        let room = Room::new();
        let others = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let [first, last] = others
            .each_ref()
            .map(|woken| Waker::from(Arc::clone(woken)));
        for waker in [&first, &Waker::from(Arc::new(Panics)), &last] {
            let refused = room.offer(waker, (), |()| Err(()), Ok);
            assert!(refused.is_err());
        }
        room.tell();
        assert!(others.iter().all(|woken| woken.0.load(Ordering::Relaxed)));
    }
}
