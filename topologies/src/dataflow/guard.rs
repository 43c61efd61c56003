//! A stage of a dataflow that ends when the dataflow has failed, also while it waits.
//!
//! What it waits for may never come: a channel that nobody reads any more, a call that is never answered, a timer in an
//! hour. Once the dataflow has failed nothing that comes of it counts, so it ends between two steps, whatever is queued,
//! and a wait is given up with what was to be sent. Only a step that is under way is waited for.

use std::time::Duration;

use millstream_engine::stage::{StageCore, Step};
use tokio::sync::watch;

use super::handle::Failure;

pub(super) struct Guarded {
    core: Box<dyn StageCore>,
    failure: watch::Receiver<Option<Failure>>,
}

impl Guarded {
    pub(super) fn new(core: Box<dyn StageCore>, failure: watch::Receiver<Option<Failure>>) -> Self {
        Self { core, failure }
    }
}

impl StageCore for Guarded {
    fn step(&mut self) -> Step {
        if self.failure.borrow().is_some() {
            return Step::Done;
        }
        match self.core.step() {
            Step::Blocked(wait) => {
                let mut failure = self.failure.clone();
                Step::Blocked(Box::pin(async move {
                    tokio::select! {
                        biased;
                        // The step that follows sees it.
                        Ok(_) = failure.wait_for(Option::is_some) => {}
                        () = wait => {}
                    }
                }))
            }
            step => step,
        }
    }

    /// Not one of a run that has failed: that ends as it is, and what its sources read goes to the next one.
    fn stop(&mut self) {
        if self.failure.borrow().is_none() {
            self.core.stop();
        }
    }

    fn waited(&mut self, wait: Duration) {
        self.core.waited(wait);
    }
}
