//! The stages that a driver steps, in the place of their actors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use millstream_engine::checkpoint::Coordinator;
use millstream_engine::flow::StageMeter;
use millstream_engine::mailbox::{Mailbox, Wake};
use millstream_engine::stage::{Blocked, StageCore};

use crate::dataflow::deploy::Placed;

/// Notes that a stage was woken.
#[derive(Default)]
pub(super) struct Woken {
    pub(super) is_woken: AtomicBool,
    /// Of who waits for the driver.
    waiting: Mutex<Option<Waker>>,
}

impl Woken {
    pub(super) fn waiting(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Woken {
    fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
        if let Some(waiting) = self.waiting().take() {
            waiting.wake();
        }
    }
}

/// Where a stage stands.
pub(super) enum State {
    Ready,
    Idle(Option<Duration>),
    Blocked(Blocked),
    Ended,
}

/// A stage that is stepped here.
pub(super) struct Driven {
    pub(super) name: String,
    pub(super) is_source: bool,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) core: Box<dyn StageCore>,
    pub(super) woken: Arc<Woken>,
    pub(super) state: State,
    /// Not of the one that takes checkpoints.
    pub(super) meter: Option<StageMeter>,
}

impl Driven {
    /// Whether it was woken, or is about to be: a thread that has raised its mailbox's flag, and not told yet, has made others who
    /// wake it meanwhile take it for told.
    pub(super) fn is_woken(&self) -> bool {
        self.woken.is_woken.load(Ordering::Acquire) || self.mailbox.is_woken()
    }

    pub(super) fn of_stage(stage: Placed) -> Self {
        stage.meter.count_state_each_step();
        let woken = Arc::new(Woken::default());
        stage.mailbox.attach(Arc::<Woken>::clone(&woken));
        Self {
            name: stage.name,
            is_source: stage.is_source,
            mailbox: stage.mailbox,
            core: stage.core,
            woken,
            state: State::Ready,
            meter: Some(stage.meter),
        }
    }

    pub(super) fn of_coordinator(dataflow: &str, coordinator: Coordinator) -> Self {
        let woken = Arc::new(Woken::default());
        let mailbox = Arc::clone(coordinator.mailbox());
        mailbox.attach(Arc::<Woken>::clone(&woken));
        Self {
            name: format!("{dataflow}/checkpoints"),
            is_source: false,
            mailbox,
            core: Box::new(coordinator),
            woken,
            state: State::Ready,
            meter: None,
        }
    }

    /// When a timer of its is due.
    pub(super) const fn due(&self) -> Option<Duration> {
        match self.state {
            State::Idle(due) => due,
            State::Ready | State::Blocked(_) | State::Ended => None,
        }
    }
}
