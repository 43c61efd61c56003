//! That the writer has stopped for good, and why: told to all of its handles.

use std::sync::Arc;

use tokio::sync::watch;

use super::StateError;

/// What a writer and its handles share.
#[derive(Debug)]
pub(super) struct Stopped(watch::Sender<Option<Arc<StateError>>>);

impl Stopped {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(None)))
    }

    /// Says it, and wakes whoever waits for it. The first cause stays.
    pub(super) fn tell(&self, cause: Arc<StateError>) {
        self.0.send_if_modified(|told| {
            let is_first = told.is_none();
            told.get_or_insert(cause);
            is_first
        });
    }

    /// As everybody is answered from then on.
    pub(super) fn told(&self) -> Option<StateError> {
        let cause = self.0.borrow().clone()?;
        Some(StateError::Stopped { cause })
    }

    /// Resolves once it is said; never of a writer that ends in order.
    pub(super) async fn until_told(&self) -> StateError {
        let mut told = self.0.subscribe();
        // Let go of before the next wait, or nobody could spawn this.
        let is_told = told.wait_for(Option::is_some).await.is_ok();
        match self.told().filter(|_| is_told) {
            Some(stopped) => stopped,
            // The sender lives in `self`, so it is never gone; a value was waited for.
            None => std::future::pending().await,
        }
    }
}
