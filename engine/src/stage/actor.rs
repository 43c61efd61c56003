//! Actor of one stage. Owns: the core. In: wake-ups of its mailbox, its timer, the request to stop.
//! Ends: by itself when the core is done; with `Err`, which its supervisor hears, when it failed.
//!
//! A turn is: clear the wake-up flag, one step of the core, and what the step asks for. Only a turn that
//! a wake-up began clears the flag; one begun by the timer leaves a wake-up in flight alone, or a sender
//! could put a second one beside it.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::caught::caught;
use super::watch::{StageWatch, watched};
use crate::flow::Fenced;
use crate::mailbox::{Mailbox, Wake};
use crate::time::Clock;

/// What a step waits for before the next one, for example a send into a full mailbox.
pub type Blocked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a stage wants after a step.
#[non_exhaustive]
pub enum Step {
    /// More work is waiting: step again, after others had a turn.
    Again,
    /// Nothing to do until an item comes.
    Idle,
    /// Nothing to do until an item comes or this much time has passed.
    IdleUntil(Duration),
    /// Cannot go on before this future is ready; no step is made meanwhile, so its own lanes fill up.
    ///
    /// A stage whose output was refused as full moves the refused item into such a future, which
    /// sends it and keeps its place in the queue of waiting senders.
    Blocked(Blocked),
    /// The stage has ended; it is not stepped again.
    Done,
    /// The core can no longer be trusted: drop it and make a new one.
    Failed(String),
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Again => f.write_str("Again"),
            Self::Idle => f.write_str("Idle"),
            Self::IdleUntil(delay) => f.debug_tuple("IdleUntil").field(delay).finish(),
            Self::Blocked(_) => f.write_str("Blocked(..)"),
            Self::Done => f.write_str("Done"),
            Self::Failed(cause) => f.debug_tuple("Failed").field(cause).finish(),
        }
    }
}

/// A stage as a plain state machine: drains its lanes, works, sends.
pub trait StageCore: Send + 'static {
    /// One bounded turn, about a millisecond. Never blocks.
    ///
    /// If a lane that the core would take from is not empty at the end, it must return
    /// [`Step::Again`]: what it leaves there causes no further wake-up.
    fn step(&mut self) -> Step;

    /// Asks the core to end once everything queued is handled; the mailbox takes nothing new.
    ///
    /// The stage ends at [`Step::Done`], or at [`Step::Idle`] with an empty mailbox.
    fn stop(&mut self) {}

    /// Before the step of a wake-up: how long its first item has waited in the mailbox.
    fn waited(&mut self, wait: Duration) {
        let _ = wait;
    }
}

#[derive(Debug)]
pub(super) enum StageMessage {
    /// Something is in the lanes.
    Wake,
    /// The timer with this number has run out.
    Timer(u64),
    /// The stage was asked to drain and end.
    Stop,
}

/// Delivers wake-ups of the mailbox to one incarnation of the actor.
struct ActorWake(ActorRef<StageMessage>);

impl Wake for ActorWake {
    fn wake(&self) {
        // A dead actor refuses; the one that follows it wakes itself.
        let _ = self.0.send_message(StageMessage::Wake);
    }
}

pub(super) struct StageArguments {
    pub(super) core: Box<dyn StageCore>,
    pub(super) mailbox: Arc<Mailbox>,
    /// Set once the stage was asked to stop, for incarnations started later.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) watch: Arc<StageWatch>,
}

struct Timer {
    due: Instant,
    number: u64,
    task: tokio::task::JoinHandle<Result<(), ractor::MessagingErr<StageMessage>>>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) struct StageState {
    core: Box<dyn StageCore>,
    mailbox: Arc<Mailbox>,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    watch: Arc<StageWatch>,
    stopping: bool,
    timer: Option<Timer>,
    timers: u64,
}

/// Stands where a core was.
struct Gone;

impl StageCore for Gone {
    fn step(&mut self) -> Step {
        Step::Done
    }
}

/// Why a core failed, as ractor wants it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct StageFailure(String);

impl StageState {
    /// Runs user code; a panic becomes a failure with the panic's message.
    fn guarded<R>(&mut self, run: impl FnOnce(&mut dyn StageCore) -> R) -> Result<R, StageFailure> {
        let core = &mut *self.core;
        caught(|| run(core))
            .map_err(|panic| StageFailure(format!("panicked: {}", panic_message(&*panic))))
    }

    /// One step of the core, seen by whoever watches it.
    fn step(&mut self) -> Result<Step, StageFailure> {
        let (watch, clock) = (Arc::clone(&self.watch), Arc::clone(&self.clock));
        let step = watched(&watch, &clock, || self.guarded(StageCore::step));
        self.watch.end(matches!(step, Ok(Step::Blocked(_))));
        step
    }

    async fn handle(
        &mut self,
        me: &ActorRef<StageMessage>,
        message: StageMessage,
    ) -> Result<(), StageFailure> {
        match message {
            StageMessage::Wake => {
                if let Some(wait) = self.mailbox.begin_turn() {
                    self.guarded(|core| core.waited(wait))?;
                }
            }
            StageMessage::Timer(number) if !self.timer_fired(number) => return Ok(()),
            StageMessage::Timer(_) => {}
            StageMessage::Stop => self.begin_stop()?,
        }
        match self.step()? {
            Step::Again => self.mailbox.wake(),
            Step::Idle => {
                if self.stopping && self.mailbox.is_drained() {
                    me.stop(None);
                }
            }
            Step::IdleUntil(delay) => self.set_timer(me, delay),
            Step::Blocked(ready) => {
                ready.await;
                self.mailbox.wake();
            }
            Step::Done => me.stop(None),
            Step::Failed(cause) => return Err(StageFailure(cause)),
        }
        // ractor goes straight on to the next message otherwise.
        yield_to_others().await;
        Ok(())
    }

    /// Drops a core that failed, before the failure is told: ractor keeps it for a while, and whoever is told that the stage
    /// was given up may open the data folder that it holds.
    fn let_go(&mut self) {
        let core = std::mem::replace(&mut self.core, Box::new(Gone));
        // User code is in it.
        let _ = caught(|| drop(core));
    }

    fn begin_stop(&mut self) -> Result<(), StageFailure> {
        if self.stopping {
            return Ok(());
        }
        self.stopping = true;
        self.guarded(StageCore::stop)
    }

    /// Takes the timer off if `number` is the one that is set.
    fn timer_fired(&mut self, number: u64) -> bool {
        self.timer.take_if(|timer| timer.number == number).is_some()
    }

    /// Sees to a message `delay` from now at the latest; keeps an earlier timer that is set.
    fn set_timer(&mut self, me: &ActorRef<StageMessage>, delay: Duration) {
        let now = Instant::now();
        // The far future, where the sum would overflow, is no timer at all.
        let Some(due) = now.checked_add(delay) else {
            return;
        };
        if self.timer.as_ref().is_some_and(|timer| timer.due <= due) {
            return;
        }
        self.timers += 1;
        let number = self.timers;
        let task = me.send_after(delay, move || StageMessage::Timer(number));
        self.timer = Some(Timer { due, number, task });
    }
}

/// The message of a caught panic.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if panic.is::<Fenced>() {
        return "it came back after it was given up";
    }
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Lets others of this worker run, and lets other workers take this task meanwhile.
///
/// Not `tokio::task::yield_now`: that keeps the task's wake-up with its worker until the worker is idle, so a
/// stage would wait for as long as another one's user code holds that worker, be it for ever.
async fn yield_to_others() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

pub(super) struct StageActor;

impl Actor for StageActor {
    type Msg = StageMessage;
    type State = StageState;
    type Arguments = StageArguments;

    async fn pre_start(
        &self,
        _me: ActorRef<StageMessage>,
        arguments: StageArguments,
    ) -> Result<StageState, ActorProcessingErr> {
        let StageArguments {
            core,
            mailbox,
            stop,
            clock,
            watch,
        } = arguments;
        Ok(StageState {
            core,
            mailbox,
            stop,
            clock,
            watch,
            stopping: false,
            timer: None,
            timers: 0,
        })
    }

    async fn post_start(
        &self,
        me: ActorRef<StageMessage>,
        state: &mut StageState,
    ) -> Result<(), ActorProcessingErr> {
        if state.stop.load(Ordering::Acquire) {
            state.begin_stop()?;
        }
        state.mailbox.attach(Arc::new(ActorWake(me)));
        Ok(())
    }

    async fn handle(
        &self,
        me: ActorRef<StageMessage>,
        message: StageMessage,
        state: &mut StageState,
    ) -> Result<(), ActorProcessingErr> {
        let handled = state.handle(&me, message).await;
        if handled.is_err() {
            state.let_go();
        }
        Ok(handled?)
    }
}
