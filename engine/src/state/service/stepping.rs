//! The writer without a thread: for simulations, which step it.
//!
//! Calls of its handle that wait for something step it themselves until that has happened, or it would never come.
//! Invariant: one step at a time, under a lock that its clones share.

use std::sync::{Arc, Mutex, PoisonError};

use super::StateWriterHandle;
use super::serving::{Served, queued};
use crate::state::StateWriter;

/// Puts a queue before the writer, which has no thread. Calls of the handle that wait step it themselves.
#[must_use]
pub fn stepped(writer: StateWriter) -> (StateWriterHandle, SteppedStateWriter) {
    let (mut handle, served) = queued(writer);
    let stepped = SteppedStateWriter {
        served: Arc::new(Mutex::new(Some(served))),
    };
    handle.stepped = Some(stepped.clone());
    (handle, stepped)
}

/// A writer that has no thread. Clones share it.
#[derive(Clone)]
pub struct SteppedStateWriter {
    served: Arc<Mutex<Option<Served>>>,
}

impl SteppedStateWriter {
    /// Commits what waits, or does the next other thing that does; whether there was anything.
    #[must_use]
    pub fn step(&self) -> bool {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.as_mut().is_some_and(|served| served.serve(false))
    }

    /// Whether there is something to be done.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.as_ref().is_some_and(Served::is_waiting)
    }

    /// Ends it as the death of its process would, but that whoever waits is told.
    pub fn kill(&self) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = served.take();
        drop(served);
        drop(dead);
    }
}

impl std::fmt::Debug for SteppedStateWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SteppedStateWriter").finish_non_exhaustive()
    }
}
