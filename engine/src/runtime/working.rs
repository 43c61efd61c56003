//! How many threads of a runtime work: of one with spares fewer than it has.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id};

/// The runtimes with spares, and how many threads of each work.
static WORKING: Mutex<Vec<(Id, NonZeroUsize)>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<(Id, NonZeroUsize)>> {
    WORKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads of the present runtime that work while nothing hangs.
///
/// # Panics
/// Outside of a runtime.
#[must_use]
pub fn working_threads() -> usize {
    let runtime = Handle::current();
    let id = runtime.id();
    let noted = all()
        .iter()
        .find(|(of, _)| *of == id)
        .map(|(_, threads)| threads.get());
    noted.unwrap_or_else(|| runtime.metrics().num_workers())
}

/// A runtime that is noted until this is dropped.
#[derive(Debug)]
pub(super) struct Working(Id);

impl Working {
    pub(super) fn note(runtime: &Handle, threads: NonZeroUsize) -> Self {
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
