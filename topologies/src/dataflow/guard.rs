//! A stage of a dataflow that ends when another one has failed, also while it waits.
//!
//! What it waits for may never come: a channel that nobody reads any more, a timer in an hour. Once the dataflow has
//! failed nothing that comes of it counts, so the wait is given up and what was to be sent with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_engine::stage::{StageCore, Step};
use tokio::sync::watch;

use super::handle::Failure;

pub(super) struct Guarded {
    core: Box<dyn StageCore>,
    failure: watch::Receiver<Option<Failure>>,
    /// A wait was given up: output is missing, so it must not go on.
    gave_up: Arc<AtomicBool>,
}

impl Guarded {
    pub(super) fn new(core: Box<dyn StageCore>, failure: watch::Receiver<Option<Failure>>) -> Self {
        Self {
            core,
            failure,
            gave_up: Arc::default(),
        }
    }
}

impl StageCore for Guarded {
    fn step(&mut self) -> Step {
        if self.gave_up.load(Ordering::Acquire) {
            return Step::Done;
        }
        match self.core.step() {
            Step::Blocked(wait) => {
                let (mut failure, gave_up) = (self.failure.clone(), Arc::clone(&self.gave_up));
                Step::Blocked(Box::pin(async move {
                    tokio::select! {
                        biased;
                        () = wait => {}
                        Ok(_) = failure.wait_for(Option::is_some) => {
                            gave_up.store(true, Ordering::Release);
                        }
                    }
                }))
            }
            Step::IdleUntil(_) if self.failure.borrow().is_some() => Step::Done,
            step => step,
        }
    }

    fn stop(&mut self) {
        self.core.stop();
    }

    fn waited(&mut self, wait: Duration) {
        self.core.waited(wait);
    }
}
