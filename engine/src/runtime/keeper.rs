//! Spare threads: a task each holds one, by blocking whichever thread runs it, until one is needed.
//!
//! A thread of its own looks at the steps, since any of the runtime's may be the one that hangs next, with what waits in its queue.
//! A keeper that is caught there holds no thread, as it should not: what hangs has the one that it held.
//! Before the runtime has anything else to do, all spares are held: threads that have nothing in their queues, until they are needed. Later, a
//! thread that a keeper comes to may have tasks that no other one can run, since they yielded on it. So a keeper that holds again lets go now
//! and then, and the thread that looks has it run on whichever thread comes first, while the one that it held does what waits there. Only what
//! a step that hangs has itself woken last stays with it, as tokio keeps that to the thread.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use super::steps::Steps;
use super::{HUNG_AFTER, LOOK_EVERY};
use crate::threads;
use crate::time::{Clock, SystemClock};

/// For how long a keeper holds a thread at a time that has had other work.
const HELD: Duration = Duration::from_millis(100);

/// What the keepers know.
#[derive(Debug, Default)]
struct Needed {
    /// Threads whose step hangs: as many spares are needed.
    hung: usize,
    /// Threads that are held.
    held: usize,
    /// The runtime ends.
    is_over: bool,
    /// Keepers that have let go of a thread, to be woken at once.
    waiting: Vec<Waker>,
}

#[derive(Debug)]
struct Shared {
    steps: Arc<Steps>,
    needed: Mutex<Needed>,
    /// For those who hold a thread.
    changed: Condvar,
    /// For whoever waits until all spares are held.
    holds: Condvar,
    /// For the one who looks.
    looks: Condvar,
    /// Told of each change, for keepers that hold nothing.
    hung: watch::Sender<usize>,
}

/// The keepers of a runtime; dropped, they let go of all threads.
#[derive(Debug)]
pub(super) struct Keepers {
    shared: Arc<Shared>,
    looker: Option<JoinHandle<()>>,
}

impl Keepers {
    /// Holds so many threads of a runtime that has done nothing yet.
    pub(super) fn begin(runtime: &Runtime, steps: Arc<Steps>, spares: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            steps,
            needed: Mutex::default(),
            changed: Condvar::new(),
            holds: Condvar::new(),
            looks: Condvar::new(),
            hung: watch::Sender::new(0),
        });
        for spare in 0..spares {
            runtime.spawn(keep(Arc::clone(&shared), spare));
        }
        shared.wait_until_held(spares);
        let mut keepers = Self {
            shared,
            looker: None,
        };
        if spares > 0 {
            let (shared, runtime) = (Arc::clone(&keepers.shared), runtime.handle().clone());
            let look = move || shared.look_on(&runtime);
            keepers.looker = Some(threads::try_spawn("spares", look)?);
        }
        Ok(keepers)
    }

    /// Is told how many threads hang, whenever that changes.
    pub(super) fn told(&self) -> watch::Receiver<usize> {
        self.shared.hung.subscribe()
    }

    /// Threads that are held at the moment.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.shared.needed.lock().unwrap().held
    }

    /// Waits until so many steps hang; `false` if `patience` was over before.
    #[cfg(test)]
    pub(super) fn are_needed(&self, spares: usize, patience: Duration) -> bool {
        let needed = self.shared.needed.lock().unwrap();
        let other = |needed: &mut Needed| needed.hung != spares;
        let changed = &self.shared.changed;
        let waited = changed.wait_timeout_while(needed, patience, other);
        !waited.unwrap().1.timed_out()
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        let needed = self.shared.needed.lock();
        needed.unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.shared.changed.notify_all();
        self.shared.looks.notify_all();
        self.shared.hung.send_replace(usize::MAX);
        if let Some(looker) = self.looker.take() {
            // It waits for nobody, and has not panicked unless a lock's owner has.
            let _ = looker.join();
        }
    }
}

async fn keep(shared: Arc<Shared>, spare: usize) {
    let mut told = shared.hung.subscribe();
    let mut longest = None;
    while shared.hold(spare, longest) {
        longest = Some(HELD);
        shared.let_go().await;
        let is_back = |hung: &usize| *hung <= spare;
        let waited = told.wait_for(|hung| is_back(hung) || *hung == usize::MAX);
        if waited.await.is_err() {
            return; // Nobody tells any more.
        }
        // tokio lets no other thread have what was woken last on this one, unless something else is.
        tokio::spawn(async {});
    }
}

impl Shared {
    /// Waits for the thread that looks to wake it: not by itself, as that would have it wait in the queue of this thread, which what is
    /// done next may hang in, and keep the thread from looking for work elsewhere.
    async fn let_go(&self) {
        let mut has_left = false;
        poll_fn(|context| {
            if has_left {
                return Poll::Ready(());
            }
            has_left = true;
            let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
            needed.waiting.push(context.waker().clone());
            self.looks.notify_all();
            Poll::Pending
        })
        .await;
    }

    /// Looks at the steps until the end, and tells how many hang.
    fn look_on(&self, runtime: &Handle) {
        let clock = SystemClock::new();
        let mut looked_at = clock.monotonic();
        let mut rouser: Option<tokio::task::JoinHandle<()>> = None;
        let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let rest = (looked_at + LOOK_EVERY).saturating_sub(clock.monotonic());
            let idle = |needed: &mut Needed| !needed.is_over && needed.waiting.is_empty();
            let waited = self.looks.wait_timeout_while(needed, rest, idle);
            (needed, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if needed.is_over {
                return;
            }
            needed.waiting.drain(..).for_each(Waker::wake);
            let now = clock.monotonic();
            if now < looked_at + LOOK_EVERY {
                continue;
            }
            looked_at = now;
            let hung = self.steps.hung(now, HUNG_AFTER);
            if needed.hung != hung {
                tracing::debug!(hung, "threads whose step does not come back");
                needed.hung = hung;
                self.changed.notify_all();
                self.hung.send_replace(hung);
            }
            // Whoever hangs may have been the one to wait for timers and sockets: another one wakes, and does.
            if hung > 0 && rouser.as_ref().is_none_or(|rouser| rouser.is_finished()) {
                rouser = Some(runtime.spawn(async {}));
            }
        }
    }

    /// Blocks until the spare is needed, or the longest time is over; `false` at the end.
    fn hold(&self, spare: usize, longest: Option<Duration>) -> bool {
        let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        needed.held += 1;
        self.holds.notify_one();
        let held = |needed: &mut Needed| !needed.is_over && needed.hung <= spare;
        let waited =
            self.changed
                .wait_timeout_while(needed, longest.unwrap_or(Duration::MAX), held);
        let (mut needed, _) = waited.unwrap_or_else(PoisonError::into_inner);
        needed.held -= 1;
        !needed.is_over
    }

    /// Waits for the keepers: each is the first task of its thread.
    fn wait_until_held(&self, spares: usize) {
        let needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        let fewer = |needed: &mut Needed| needed.held < spares;
        drop(self.holds.wait_while(needed, fewer));
    }
}
