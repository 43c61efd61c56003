//! Starting a stage, and what its owner holds of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::watch;

use super::actor::StageCore;
use super::supervision::RestartPolicy;
use super::supervisor::{SupervisorActor, SupervisorArguments, SupervisorMessage};
use super::watch::{StageWatch, Stall};
use crate::mailbox::Mailbox;
use crate::time::Clock;

/// Makes a core, at the start and after each failure: restores state, clones lane receivers. Runs on a
/// thread of the runtime, so long loading belongs into steps.
pub type CoreFactory = Box<dyn Fn() -> Result<Box<dyn StageCore>, NoCore> + Send>;

/// Why a factory made no core.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCore {
    /// Something of the core before is still under way, such as writes: asked again in a moment. Not counted
    /// as a failure.
    #[error("not yet: {0}")]
    NotYet(String),
    /// It could not be made.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for NoCore {
    fn from(cause: String) -> Self {
        Self::Failed(cause)
    }
}

/// Told once, with the stage's name and the first cause, when a stage is given up.
pub type GiveUp = Box<dyn Fn(&str, &str) + Send>;

/// All that a stage is started from.
pub struct StageSpec {
    /// Name for logs, metrics and errors, such as `balances/3`; need not be unique.
    pub name: String,
    /// Where its input waits. One mailbox belongs to one stage.
    pub mailbox: Arc<Mailbox>,
    /// Times its failures.
    pub clock: Arc<dyn Clock>,
    /// Makes its core.
    pub factory: CoreFactory,
    /// What happens after a failure.
    pub policy: RestartPolicy,
    /// Whom to tell after the last one.
    pub on_give_up: GiveUp,
}

impl fmt::Debug for StageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageSpec")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Where a stage stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StageStatus {
    /// Not started yet, or running.
    Running,
    /// Failed and waiting to be started again.
    Restarting {
        /// Number of this restart since the last quiet window, from 1.
        attempt: u32,
        /// Why it failed this time.
        cause: String,
    },
    /// Ended as asked or by itself. Its mailbox is closed.
    Stopped,
    /// Given up. Its mailbox is closed; what was queued is still in the lanes.
    Failed {
        /// What made it fail first.
        first_cause: String,
        /// Restarts that were tried.
        attempts: u32,
    },
}

impl StageStatus {
    /// Whether the stage will never step again.
    pub fn is_ended(&self) -> bool {
        match self {
            Self::Stopped | Self::Failed { .. } => true,
            Self::Running | Self::Restarting { .. } => false,
        }
    }
}

/// The runtime refused the stage; nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stage `{name}` could not be started: {reason}")]
pub struct SpawnStageError {
    /// Name of the stage.
    pub name: String,
    /// What the runtime said.
    pub reason: String,
}

/// A running stage. Clones mean the same stage; dropping them all leaves it running.
#[derive(Clone)]
pub struct StageHandle {
    name: Arc<str>,
    mailbox: Arc<Mailbox>,
    supervisor: ActorRef<SupervisorMessage>,
    stop: Arc<AtomicBool>,
    status: watch::Receiver<StageStatus>,
    watch: Arc<StageWatch>,
    /// Why somebody gave it up.
    given_up: Arc<watch::Sender<Option<String>>>,
}

/// Starts a stage and its supervisor on the current tokio runtime.
///
/// A factory that fails the first time is treated like any failure: tried again, then given up.
///
/// # Errors
/// [`SpawnStageError`]: ractor did not start the supervisor.
pub async fn spawn_stage(spec: StageSpec) -> Result<StageHandle, SpawnStageError> {
    let name: Arc<str> = spec.name.as_str().into();
    let mailbox = Arc::clone(&spec.mailbox);
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, status) = watch::channel(StageStatus::Running);
    let watch = Arc::<StageWatch>::default();
    let arguments = SupervisorArguments {
        spec,
        stop: Arc::clone(&stop),
        status: sender,
        watch: Arc::clone(&watch),
    };
    match SupervisorActor::spawn(None, SupervisorActor, arguments).await {
        Ok((supervisor, _task)) => Ok(StageHandle {
            name,
            mailbox,
            supervisor,
            stop,
            status,
            watch,
            given_up: Arc::new(watch::Sender::new(None)),
        }),
        Err(error) => Err(SpawnStageError {
            name: name.to_string(),
            reason: error.to_string(),
        }),
    }
}

impl StageHandle {
    /// Name of the stage.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The mailbox of the stage.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Has the stage step once more, unless a wake-up is on its way already.
    pub fn wake(&self) {
        self.mailbox.wake();
    }

    /// Where the stage stands now.
    pub fn status(&self) -> StageStatus {
        match self.why_given_up() {
            Some(given_up) if !self.status.borrow().is_ended() => given_up,
            _ => self.status.borrow().clone(),
        }
    }

    fn why_given_up(&self) -> Option<StageStatus> {
        let cause = self.given_up.borrow().clone();
        cause.map(|first_cause| StageStatus::Failed {
            first_cause,
            attempts: 0,
        })
    }

    /// Waits until the stage has ended and says how.
    pub async fn ended(&self) -> StageStatus {
        let (mut status, mut given_up) = (self.status.clone(), self.given_up.subscribe());
        let is_by_itself = tokio::select! {
            biased;
            ended = status.wait_for(StageStatus::is_ended) => ended.is_ok(),
            // The sender is ours.
            _ = given_up.wait_for(Option::is_some) => true,
        };
        // One that is given up loses its supervisor as well: that may be seen before why.
        if is_by_itself || self.given_up.borrow().is_some() {
            return self.status();
        }
        // The runtime went away under the supervisor: nobody will step the stage again.
        StageStatus::Failed {
            first_cause: "the runtime ended before the stage".to_owned(),
            attempts: 0,
        }
    }

    /// Why it does not go on at `now`, and for how long. `None` also if it waits as it asked for, such as for room.
    pub fn stall(&self, now: Duration) -> Option<Stall> {
        if self.status() != StageStatus::Running {
            return None;
        }
        if let Some(span) = self.watch.in_step(now) {
            return Some(Stall::InStep(span));
        }
        if self.watch.waits() {
            return None;
        }
        self.mailbox.owed(now).map(Stall::NoStep)
    }

    /// Whether a step is under way.
    pub fn is_in_step(&self) -> bool {
        self.watch.in_step(Duration::ZERO).is_some()
    }

    /// Gives a stage up that does not end: closes its mailbox and takes it for failed, for `cause`, from now on. A step
    /// under way goes on, since nothing can take it off its thread: see to it that it does no harm.
    pub fn give_up(&self, cause: &str) {
        self.mailbox.close();
        self.given_up.send_replace(Some(cause.to_owned()));
        // Ends the actor where it waits, or when its step comes back.
        self.supervisor.stop(None);
    }

    /// Closes the mailbox, lets the stage handle all that is queued, and waits for its end.
    ///
    /// Stop what sends to a stage before the stage itself, or the senders' items come back to them. A
    /// stage that waits to be restarted is drained after that. Dropping the future leaves the stage
    /// stopping.
    pub async fn drain_and_stop(&self) -> StageStatus {
        self.begin_stop();
        self.ended().await
    }

    /// The same without waiting for the end.
    pub fn begin_stop(&self) {
        // Flag first: an incarnation started from here on reads it, an earlier one gets the message.
        self.stop.store(true, Ordering::Release);
        self.mailbox.close();
        // A supervisor that is gone has set the final status.
        let _ = self.supervisor.send_message(SupervisorMessage::Stop);
    }
}

impl fmt::Debug for StageHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageHandle")
            .field("name", &self.name)
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}
