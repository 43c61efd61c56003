//! Keeps a run of a dataflow that was given up from doing anything more.
//!
//! A step that hangs in user code cannot be taken off its thread. When its dataflow begins again elsewhere, the old run must
//! write and send nothing any more, whenever that code comes back. All of a run share one fence, which sinks
//! [pass](Fence::pass) on the way to whatever outlives the run: the log, tables, files, what is outside; threads of theirs do
//! so as well. Once it is closed a
//! stage that comes to it unwinds, without a word, up to its actor, which ends.
//! Invariants: (1) what is behind the fence happens before [`close`](Fence::close) returns `true`, or never; (2) little user
//! code runs while a pass is held: what is given to a closure is checked only. Table sinks do run some, since they copy rows
//! for readers: `Clone`, `Hash`, `Eq` and `Drop` of keys and rows. Copies made before would be in memory twice.
//! Failure: where one hangs with a pass, `close` gives `false`. The fence stays closed, and whoever closed it may begin
//! nothing beside that run before it [is over](Fence::is_over).
//! Cost: two atomic additions per flush of a sink; nothing per item but where each item goes outside.
//! Not here: noticing that a step hangs, see `stage`; lanes within the run, which nobody reads any more.

use std::fmt;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::park_timeout;
use std::time::Duration;

/// How often those inside are looked for before they are taken to hang, and how long between two looks.
const LOOKS: usize = 1_000;
const EVERY: Duration = Duration::from_millis(1);

/// What a stage that comes to a closed fence unwinds with.
pub(crate) struct Fenced;

/// The fence of one run of a dataflow. Open when it is made.
#[derive(Default)]
pub struct Fence {
    is_closed: AtomicBool,
    inside: AtomicUsize,
}

/// Whoever holds it is on the way to something that outlives the run, and is waited for by whoever closes the fence.
#[derive(Debug)]
#[must_use = "the fence is passed for as long as it is held"]
pub struct Pass<'f>(&'f Fence);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fence {
    /// An open one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing may be done any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Whether it is closed and nobody is behind it: nothing is done any more, whatever comes back.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_closed() && self.inside.load(Ordering::SeqCst) == 0
    }

    /// Goes through, or unwinds if it is closed. Hold the pass while something is handed over; run no user code meanwhile.
    pub fn pass(&self) -> Pass<'_> {
        self.try_pass().unwrap_or_else(|| fenced())
    }

    /// Goes through; `None` if it is closed.
    pub fn try_pass(&self) -> Option<Pass<'_>> {
        // Who comes later is not counted, so that a run that is over stays so.
        if self.is_closed() {
            return None;
        }
        // In this order, so that whoever closes it sees this one, or this one sees that it is closed.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let pass = Pass(self);
        (!self.is_closed()).then_some(pass)
    }

    /// Waits as `wait` does while it is open, and for ever once it is closed: for what a stage waits for between two steps.
    pub async fn within<T>(self: Arc<Self>, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        std::future::poll_fn(|context| match self.try_pass() {
            Some(_pass) => wait.as_mut().poll(context),
            // Whoever closed it ends this as well.
            None => Poll::Pending,
        })
        .await
    }

    /// Unwinds if it is closed: where what follows is user code.
    pub fn check(&self) {
        if self.is_closed() {
            fenced();
        }
    }

    /// Closes it and waits for those inside. `false`: one of them has not come out for a second, so it hangs where it should
    /// not, and what it does when it comes back is not kept from happening.
    pub fn close(&self) -> bool {
        self.close_within(LOOKS)
    }

    fn close_within(&self, looks: usize) -> bool {
        self.is_closed.store(true, Ordering::SeqCst);
        (0..looks).any(|_| {
            let is_over = self.is_over();
            if !is_over {
                park_timeout(EVERY);
            }
            is_over
        })
    }
}

/// Not a panic: nobody made a mistake, and nobody is to be told of one.
fn fenced() -> ! {
    resume_unwind(Box::new(Fenced))
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence")
            .field("is_closed", &self.is_closed())
            .field("inside", &self.inside)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn passes(fence: &Fence) -> bool {
        catch_unwind(AssertUnwindSafe(|| drop(fence.pass()))).is_ok()
    }

    #[test]
    fn nobody_passes_a_closed_fence_and_who_is_inside_is_waited_for() {
        let fence = Fence::new();
        assert!(passes(&fence));
        let pass = fence.pass();
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| fence.close_within(usize::MAX));
            while !fence.is_closed() {
                std::thread::yield_now();
            }
            assert!(!closing.is_finished());
            assert!(!passes(&fence));
            assert!(!fence.is_over());
            drop(pass);
            assert!(closing.join().unwrap());
        });
        assert!(!passes(&fence));
        assert!(fence.close());
    }

    #[test]
    fn a_fence_that_somebody_hangs_behind_is_over_once_they_come_out() {
        let fence = Fence::new();
        let pass = fence.pass();
        assert!(!fence.is_over());
        assert!(!fence.close());
        assert!(fence.is_closed() && !fence.is_over());
        drop(pass);
        assert!(fence.is_over() && fence.close());
    }
}
