//! A stage without its actor: wake-ups, timers and failures, as far as a simulation needs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_engine::mailbox::{Mailbox, Wake};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::time::{Clock, ManualClock};

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Makes the core: `None` if there cannot be one yet.
type Factory = Box<dyn Fn() -> Result<Option<Box<dyn StageCore>>, String>>;

pub(crate) struct Actor {
    name: String,
    mailbox: Arc<Mailbox>,
    factory: Factory,
    core: Option<Box<dyn StageCore>>,
    woken: Arc<Woken>,
    is_ready: bool,
    due: Option<Duration>,
    /// It was asked to end.
    is_ending: bool,
    has_ended: bool,
}

impl Actor {
    /// Starts it.
    pub(crate) fn new(name: &str, mailbox: Arc<Mailbox>, factory: Factory) -> Result<Self, String> {
        let woken = Arc::new(Woken::default());
        mailbox.attach(Arc::<Woken>::clone(&woken));
        let core = factory()?;
        Ok(Self {
            name: name.to_owned(),
            mailbox,
            factory,
            core,
            woken,
            is_ready: true,
            due: None,
            is_ending: false,
            has_ended: false,
        })
    }

    pub(crate) fn is_runnable(&self, clock: &ManualClock) -> bool {
        self.is_ready
            || self.woken.0.load(Ordering::Acquire)
            || self.due.is_some_and(|due| due <= clock.monotonic())
    }

    /// Drops the core, as a panic does; the next step makes another one.
    pub(crate) fn lose_core(&mut self) {
        self.core = None;
        self.is_ready = true;
    }

    /// Asks it to end once all that is queued is handled; nothing new is taken.
    pub(crate) fn begin_end(&mut self) {
        self.is_ending = true;
        self.mailbox.close();
        if let Some(core) = &mut self.core {
            core.stop();
        }
        self.is_ready = true;
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// One step; the first cause of a failure.
    pub(crate) fn step(&mut self, clock: &ManualClock) -> Result<(), String> {
        if self.woken.0.swap(false, Ordering::AcqRel) {
            self.mailbox.begin_turn();
        }
        self.is_ready = false;
        self.due = None;
        if self.core.is_none() {
            self.core = (self.factory)()?;
            if let (Some(core), true) = (&mut self.core, self.is_ending) {
                core.stop();
            }
        }
        let Some(core) = &mut self.core else {
            self.is_ready = true;
            return Ok(());
        };
        match core.step() {
            Step::Again => self.is_ready = true,
            Step::Done => self.has_ended = true,
            Step::Idle => self.has_ended |= self.is_ending && self.mailbox.is_drained(),
            Step::IdleUntil(delay) => self.due = clock.monotonic().checked_add(delay),
            Step::Failed(cause) => {
                self.lose_core();
                return Err(format!("{}: {cause}", self.name));
            }
            other => unreachable!("{} asked for {other:?}", self.name),
        }
        Ok(())
    }
}
