//! What is known of a runtime with spares: how many of its threads work, and how many hang.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id};
use tokio::sync::watch;

/// The runtimes with spares.
static WORKING: Mutex<Vec<(Id, Threads)>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<(Id, Threads)>> {
    WORKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The threads of a [`Runtime`](super::Runtime).
#[derive(Clone, Debug)]
pub struct Threads {
    pub(super) working: NonZeroUsize,
    pub(super) spares: usize,
    /// Told by those who hold the spares; the largest number at the end.
    pub(super) hung: watch::Receiver<usize>,
}

impl Threads {
    /// Those of the present runtime, if it is one with spares.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn present() -> Option<Self> {
        let id = Handle::current().id();
        let all = all();
        let found = all.iter().find(|(of, _)| *of == id);
        found.map(|(_, threads)| threads.clone())
    }

    /// Threads whose step has not come back for [`HUNG_AFTER`](super::HUNG_AFTER), at the last look; 0 if nobody looks, which is where
    /// there are no spares.
    #[must_use]
    pub fn hung(&self) -> usize {
        let hung = *self.hung.borrow();
        if hung == usize::MAX { 0 } else { hung }
    }

    /// Spares that are left for threads that hang next.
    #[must_use]
    pub fn spares_left(&self) -> usize {
        self.spares.saturating_sub(self.hung())
    }
}

/// Threads of the present runtime that work while nothing hangs.
///
/// # Panics
/// Outside of a runtime.
#[must_use]
pub fn working_threads() -> usize {
    match Threads::present() {
        Some(threads) => threads.working.get(),
        None => Handle::current().metrics().num_workers(),
    }
}

/// A runtime that is noted until this is dropped.
#[derive(Debug)]
pub(super) struct Working(Id);

impl Working {
    pub(super) fn note(runtime: &Handle, threads: Threads) -> Self {
        let id = runtime.id();
        all().push((id, threads));
        Self(id)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        all().retain(|(of, _)| *of != self.0);
    }
}
