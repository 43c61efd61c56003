//! A batch of rows or letters on its way to the store, and waiting for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_engine::state::StateError;
use tokio::sync::Notify;

/// Time after which a batch is offered again to a state writer that had no room for it.
pub(super) const REFUSED_EVERY: Duration = Duration::from_millis(2);

/// A batch on its way to the store.
#[derive(Debug, Default)]
pub(super) struct Storing {
    in_flight: AtomicBool,
    failed: Mutex<Option<String>>,
    done: Notify,
}

impl Storing {
    /// A batch is about to be handed over.
    pub(super) fn begin(&self) {
        self.in_flight.store(true, Ordering::Release);
    }

    /// It was not taken.
    pub(super) fn give_up(&self) {
        self.in_flight.store(false, Ordering::Release);
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(super) fn finish(&self, outcome: Result<(), StateError>) {
        if let Err(error) = outcome {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| error.to_string());
        }
        self.in_flight.store(false, Ordering::Release);
        // Kept for who comes to wait later.
        self.done.notify_one();
    }

    pub(super) fn failure(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clone()
    }

    pub(super) async fn until_done(self: Arc<Self>) {
        while self.is_in_flight() {
            self.done.notified().await;
        }
    }
}

/// Until a full queue may have room: nobody tells.
pub(super) async fn a_moment() {
    if tokio::runtime::Handle::try_current().is_ok() {
        tokio::time::sleep(REFUSED_EVERY).await;
    }
}
