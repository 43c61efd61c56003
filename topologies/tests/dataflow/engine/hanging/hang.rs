//! Code that does not come back, until it is let go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde::{Deserialize, Serialize};

use super::UNLUCKY;
use crate::engine::support::Sale;

/// Code that hangs, at one place of several and so many times.
#[derive(Default)]
pub(super) struct Hang {
    place: Mutex<&'static str>,
    times: AtomicUsize,
    pub(super) entered: AtomicUsize,
    pub(super) left: AtomicUsize,
    is_released: Mutex<bool>,
    released: Condvar,
}

impl Hang {
    pub(super) fn new(place: &'static str, times: usize) -> Arc<Self> {
        let hang = Self::default();
        *hang.place.lock().unwrap() = place;
        hang.times.store(times, Ordering::SeqCst);
        Arc::new(hang)
    }

    pub(super) fn at(&self, place: &str, sale: &Sale) {
        if sale.cents != UNLUCKY || *self.place.lock().unwrap() != place {
            return;
        }
        let left = |times: usize| times.checked_sub(1);
        if self
            .times
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
            .is_err()
        {
            return;
        }
        self.entered.fetch_add(1, Ordering::SeqCst);
        let is_released = self.is_released.lock().unwrap();
        drop(
            self.released
                .wait_while(is_released, |is_released| !*is_released)
                .unwrap(),
        );
        self.left.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn release(&self) {
        *self.is_released.lock().unwrap() = true;
        self.released.notify_all();
    }
}

/// Lets what hangs go, also when the test fails: the runtime waits for it.
pub(super) struct Held(pub(super) Arc<Hang>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A row whose copy for readers is code that may hang.
#[derive(Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) sale: Sale,
    #[serde(skip)]
    pub(super) hang: Option<Arc<Hang>>,
}

impl Clone for Shown {
    fn clone(&self) -> Self {
        if let Some(hang) = &self.hang {
            hang.at("shown", &self.sale);
        }
        Self {
            sale: self.sale.clone(),
            hang: self.hang.clone(),
        }
    }
}
