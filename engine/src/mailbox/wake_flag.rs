//! The coalesced wake-up: however many items arrive, at most one wake-up is in flight.
//!
//! Protocol. Sender: push the item, then `if flag.raise() { deliver a wake-up }`. Receiver at a
//! wake-up: [`clear`](WakeFlag::clear) *first*, drain what it wants, then look at the lanes again and,
//! if something is left, `if flag.raise() { wake itself }`. A receiver that takes over from one that died
//! clears the flag (a wake-up may have been lost with the dead one) and wakes itself.
//! Invariant: an item pushed is seen by the drain after some wake-up. Either `raise` comes after the
//! last `clear` and delivers a wake-up, or it comes before one whose drain then sees the item.
//! Cost: one fence and one load of a line that nobody writes while the flag is up.
//! Proof: `tests/loom_wake.rs` includes this file, with loom's atomics as `super::sync`, and explores every
//! interleaving.

use super::sync::{AtomicBool, Ordering, fence};

/// Whether a wake-up is on its way to the receiver.
#[derive(Debug)]
pub struct WakeFlag {
    raised: AtomicBool,
}

impl WakeFlag {
    /// A flag that is down: the next item delivers a wake-up.
    pub fn new() -> Self {
        Self {
            raised: AtomicBool::new(false),
        }
    }

    /// Puts the flag up after an item was pushed. `true`: it was down, so the caller now owes the
    /// receiver exactly one wake-up.
    pub fn raise(&self) -> bool {
        // Orders the push before the load. With the fence in `clear` at least one side sees the other:
        // we see the flag down, or the drain sees the item. Without it both may miss.
        fence(Ordering::SeqCst);
        if self.raised.load(Ordering::Relaxed) {
            return false;
        }
        !self.raised.swap(true, Ordering::AcqRel)
    }

    /// Whether it is up: a wake-up is on its way, or about to be.
    pub fn is_up(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Takes the flag down; the receiver calls it before it looks at its lanes.
    pub fn clear(&self) {
        // A swap rather than a store: it reads the last raise and so acquires what that sender pushed.
        self.raised.swap(false, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }
}

impl Default for WakeFlag {
    fn default() -> Self {
        Self::new()
    }
}
