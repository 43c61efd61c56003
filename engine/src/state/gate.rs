//! Closing a queue so that nothing is left in it.
//!
//! A sender is inside from before it looks whether the gate is closed until its message is queued. Once the
//! gate is closed and nobody is inside, nothing can follow, so a receiver that then finds the queue empty
//! may go. Both sides use sequential consistency: each writes its own word, then reads the other's.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long the receiver waits for one message before it looks again whether somebody is inside.
const PATIENCE: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Gate {
    is_closed: AtomicBool,
    inside: AtomicUsize,
}

/// The right to send one message.
#[derive(Debug)]
pub(super) struct Inside<'g> {
    gate: &'g Gate,
}

impl Gate {
    /// `None` once the gate is closed.
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside { gate: self };
        // Dropped, and so counted out again, when closed.
        (!self.is_closed.load(Ordering::SeqCst)).then_some(inside)
    }

    /// Closes the gate and takes what is in the queue and what those inside still put there. `take` waits that
    /// long for one message and drops it; `false` when there was none.
    pub(super) fn close(&self, mut take: impl FnMut(Duration) -> bool) {
        self.is_closed.store(true, Ordering::SeqCst);
        loop {
            let is_last = self.inside.load(Ordering::SeqCst) == 0;
            let patience = if is_last { Duration::ZERO } else { PATIENCE };
            while take(patience) {}
            if is_last {
                return;
            }
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.inside.fetch_sub(1, Ordering::SeqCst);
    }
}
