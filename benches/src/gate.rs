//! What something hangs at until it is let go.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Closed at first; once open it stays so. Clones are one gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Keeps the thread until it is open.
    pub fn wait(&self) {
        let (is_open, opened) = &*self.0;
        let is_open = is_open.lock().unwrap_or_else(PoisonError::into_inner);
        let _open = opened.wait_while(is_open, |is_open| !*is_open);
    }

    /// Lets all go that wait and will.
    pub fn open(&self) {
        let (is_open, opened) = &*self.0;
        *is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        opened.notify_all();
    }
}
