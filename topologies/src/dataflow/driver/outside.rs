//! Waiting for what is outside of a driver and goes its own pace.

use std::task::Poll;

use super::Driver;
use super::stages::{Driven, State};
use crate::dataflow::Failure;

impl Driver {
    /// The same, and waits for what is outside until no stage waits for it: rows and files are stored, events are
    /// durable, channels have been read (by somebody else).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn settle(&mut self) -> Result<(), Failure> {
        let is_blocked = |stage: &Driven| matches!(stage.state, State::Blocked(_));
        self.run_until(|driver| !driver.stages.iter().any(is_blocked))
            .await
    }

    /// Waits until all input is dealt with and what came of it is stored: for ever if the input has no end, or if
    /// something waits for the clock, which nobody moves meanwhile.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn wait(&mut self) -> Result<(), Failure> {
        self.run_until(Self::is_ended).await
    }

    async fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        loop {
            self.run()?;
            if is_done(self) {
                return Ok(());
            }
            std::future::poll_fn(|context| {
                for stage in &self.stages {
                    *stage.woken.waiting() = Some(context.waker().clone());
                }
                let mut some = false;
                for at in 0..self.stages.len() {
                    // All of them are asked, so that each wakes.
                    some |= self.is_runnable(at, context);
                }
                if some { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }
}
