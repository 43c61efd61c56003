//! A batch of rows or letters on its way to the store, and waiting for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use millstream_engine::mailbox::Mailbox;
use millstream_engine::state::StateError;
use tokio::sync::Notify;

/// Longest between two looks while a state writer has no room: it tells when it has.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A batch on its way to the store.
#[derive(Debug, Default)]
pub(super) struct Storing {
    in_flight: AtomicBool,
    failed: Mutex<Option<String>>,
    /// A batch is done, or there may be room for one.
    told: Notify,
    /// Woken then, where the stage may have nothing else to do and does not wait for it.
    mailbox: Option<Arc<Mailbox>>,
}

impl Storing {
    pub(super) fn waking(mailbox: &Arc<Mailbox>) -> Arc<Self> {
        Arc::new(Self {
            mailbox: Some(Arc::clone(mailbox)),
            ..Self::default()
        })
    }

    /// For a state writer that has no room.
    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

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
        self.tell();
    }

    fn tell(&self) {
        // Kept for who comes to wait later.
        self.told.notify_one();
        if let Some(mailbox) = &self.mailbox {
            mailbox.wake();
        }
    }

    pub(super) fn failure(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clone()
    }

    pub(super) async fn until_done(self: Arc<Self>) {
        while self.is_in_flight() {
            self.told.notified().await;
        }
    }

    /// Until a state writer that had no room may have some.
    pub(super) async fn until_room(self: Arc<Self>) {
        let told = self.told.notified();
        if tokio::runtime::Handle::try_current().is_ok() {
            // Told or not, it is offered again.
            let _ = tokio::time::timeout(LOOK_EVERY, told).await;
        } else {
            told.await;
        }
    }
}

impl Wake for Storing {
    fn wake(self: Arc<Self>) {
        self.tell();
    }
}
