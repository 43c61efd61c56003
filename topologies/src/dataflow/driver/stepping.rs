//! One step of a driver, chosen by its seed.

use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use millstream_engine::checkpoint::InMemory;
use millstream_engine::stage::{Step, caught, panic_message};
use millstream_engine::time::Clock;

use super::Driver;
use super::stages::State;
use crate::dataflow::Failure;

impl Driver {
    /// Makes a step; `false`: nothing is left to do at this time.
    pub(super) fn step_any(&mut self) -> Result<bool, Failure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let runnable: Vec<_> = (0..self.stages.len())
            .filter(|&at| self.is_runnable(at, &mut Context::from_waker(Waker::noop())))
            .collect();
        if runnable.is_empty() && !self.is_storing() {
            return Ok(false);
        }
        self.step_one(&runnable);
        Ok(true)
    }

    fn is_storing(&self) -> bool {
        self.storage.as_ref().is_some_and(InMemory::is_waiting)
    }

    /// Steps a stage, or has the storage do what waits there.
    fn step_one(&mut self, runnable: &[usize]) {
        let choices = runnable.len() + usize::from(self.is_storing());
        let chosen = self.next_random() as usize % choices;
        match (runnable.get(chosen), &self.storage) {
            (Some(&stage), _) => self.step(stage),
            (None, Some(storage)) => {
                storage.step();
            }
            (None, None) => {}
        }
    }

    pub(super) fn is_runnable(&mut self, at: usize, context: &mut Context<'_>) -> bool {
        let now = self.clock.monotonic();
        let stage = &mut self.stages[at];
        let is_woken = stage.is_woken();
        match &mut stage.state {
            State::Ready => true,
            State::Ended => false,
            State::Idle(due) => is_woken || due.is_some_and(|due| due <= now),
            State::Blocked(wait) => {
                let is_over = wait.as_mut().poll(context).is_ready();
                if is_over {
                    stage.state = State::Ready;
                }
                is_over
            }
        }
    }

    fn step(&mut self, at: usize) {
        let now = self.clock.monotonic();
        let stage = &mut self.stages[at];
        let was_told = stage.woken.is_woken.swap(false, Ordering::AcqRel);
        if was_told || stage.mailbox.is_woken() {
            stage.mailbox.begin_turn();
        }
        let stepped = caught(|| stage.core.step());
        let step = stepped
            .unwrap_or_else(|panic| Step::Failed(format!("panicked: {}", panic_message(&*panic))));
        stage.state = match step {
            Step::Again => State::Ready,
            Step::Idle => State::Idle(None),
            Step::IdleUntil(delay) => State::Idle(now.checked_add(delay)),
            Step::Blocked(wait) => State::Blocked(wait),
            Step::Done => State::Ended,
            Step::Failed(cause) => {
                let stage = stage.name.clone();
                self.failure = Some(Failure { stage, cause });
                for stage in &mut self.stages {
                    stage.state = State::Ended;
                }
                return;
            }
            other => unreachable!("a dataflow's stage asked for {other:?}"),
        };
    }

    /// splitmix64, by Sebastiano Vigna.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
