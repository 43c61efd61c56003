//! Actor that supervises one stage. Owns: its factory and its failures. In: ractor's news of the stage,
//! its own backoff timer, the request to stop. Ends: when the stage ended or was given up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ractor::actor::messages::BoxedState;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;

use super::actor::{StageActor, StageArguments, StageMessage, panic_message};
use super::handle::{NoCore, StageSpec, StageStatus};
use super::supervision::{Directive, Supervision};
use super::watch::StageWatch;

/// Wait before a factory that could not yet make a core is asked again.
const NOT_YET: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum SupervisorMessage {
    /// The backoff is over.
    Restart,
    /// Somebody asked the stage to drain and end.
    Stop,
}

pub(super) struct SupervisorState {
    spec: StageSpec,
    supervision: Supervision,
    stop: Arc<AtomicBool>,
    status: watch::Sender<StageStatus>,
    watch: Arc<StageWatch>,
    stage: Option<ActorRef<StageMessage>>,
}

pub(super) struct SupervisorArguments {
    pub(super) spec: StageSpec,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) status: watch::Sender<StageStatus>,
    pub(super) watch: Arc<StageWatch>,
}

impl SupervisorState {
    /// Makes a core and an actor around it; a failure on the way counts like one of the stage.
    async fn start_stage(&mut self, me: &ActorRef<SupervisorMessage>) {
        let made =
            catch_unwind(AssertUnwindSafe(|| (self.spec.factory)())).unwrap_or_else(|panic| {
                let cause = format!("the factory panicked: {}", panic_message(&*panic));
                Err(NoCore::Failed(cause))
            });
        let core = match made {
            Ok(core) => core,
            Err(NoCore::Failed(cause)) => return self.failed(me, cause),
            Err(NoCore::NotYet(_)) => {
                me.send_after(NOT_YET, || SupervisorMessage::Restart);
                return;
            }
        };
        let arguments = StageArguments {
            core,
            mailbox: Arc::clone(&self.spec.mailbox),
            stop: Arc::clone(&self.stop),
            clock: Arc::clone(&self.spec.clock),
            watch: Arc::clone(&self.watch),
        };
        match StageActor::spawn_linked(None, StageActor, arguments, me.get_cell()).await {
            Ok((stage, _task)) => {
                self.stage = Some(stage);
                self.supervision.began(self.spec.clock.monotonic());
                self.status.send_replace(StageStatus::Running);
            }
            Err(error) => self.failed(me, error.to_string()),
        }
    }

    fn failed(&mut self, me: &ActorRef<SupervisorMessage>, cause: String) {
        self.stage = None;
        self.spec.mailbox.detach();
        let name = &*self.spec.name;
        let now = self.spec.clock.monotonic();
        match self.supervision.on_failure(now, cause.clone()) {
            Directive::RestartAfter(backoff) => {
                let attempt = self.supervision.attempts();
                self.status.send_replace(StageStatus::Restarting {
                    attempt,
                    cause: cause.clone(),
                });
                me.send_after(backoff, || SupervisorMessage::Restart);
                tell(|| {
                    tracing::warn!(
                        stage = name,
                        cause,
                        attempt,
                        ?backoff,
                        "stage failed, restarting"
                    );
                });
            }
            Directive::GiveUp {
                first_cause,
                attempts,
            } => {
                self.spec.mailbox.close();
                let told = catch_unwind(AssertUnwindSafe(|| {
                    (self.spec.on_give_up)(name, &first_cause);
                }));
                let_go(&mut self.spec, None);
                let name = &*self.spec.name;
                self.status.send_replace(StageStatus::Failed {
                    first_cause: first_cause.clone(),
                    attempts,
                });
                me.stop(None);
                tell(|| {
                    tracing::error!(stage = name, first_cause, attempts, "stage given up");
                    if told.is_err() {
                        tracing::error!(stage = name, "the owner of the stage panicked when told");
                    }
                });
            }
        }
    }

    fn is_current(&self, cell: &ractor::ActorCell) -> bool {
        self.stage
            .as_ref()
            .is_some_and(|stage| stage.get_id() == cell.get_id())
    }
}

pub(super) struct SupervisorActor;

/// Drops the core of a stage that ends, which is in the actor's last state, and what would make another. Before its end is
/// told: whoever waits for that may open the data folder that they hold.
fn let_go(spec: &mut StageSpec, stage: Option<BoxedState>) {
    let no_more = || Err(NoCore::Failed("the stage has ended".to_owned()));
    let factory = std::mem::replace(&mut spec.factory, Box::new(no_more));
    let on_give_up = std::mem::replace(&mut spec.on_give_up, Box::new(|_, _| {}));
    // User code, which may panic, is in them.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(stage)));
    let _ = catch_unwind(AssertUnwindSafe(|| drop((factory, on_give_up))));
}

/// Writes a log line. What writes them may panic where the disk is full, and must not end the supervisor.
fn tell(line: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(line));
}

impl Actor for SupervisorActor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = SupervisorArguments;

    async fn pre_start(
        &self,
        _me: ActorRef<SupervisorMessage>,
        arguments: SupervisorArguments,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let SupervisorArguments {
            spec,
            stop,
            status,
            watch,
        } = arguments;
        let supervision = Supervision::new(spec.policy);
        Ok(SupervisorState {
            spec,
            supervision,
            stop,
            status,
            watch,
            stage: None,
        })
    }

    async fn post_start(
        &self,
        me: ActorRef<SupervisorMessage>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.start_stage(&me).await;
        Ok(())
    }

    async fn handle(
        &self,
        me: ActorRef<SupervisorMessage>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::Restart => state.start_stage(&me).await,
            SupervisorMessage::Stop => {
                if let Some(stage) = &state.stage {
                    // Refused by one that just died: the flag tells the next.
                    let _ = stage.send_message(StageMessage::Stop);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) if state.is_current(&cell) => {
                state.failed(&me, error.to_string());
            }
            SupervisionEvent::ActorTerminated(cell, stage, _) if state.is_current(&cell) => {
                state.stage = None;
                state.spec.mailbox.close();
                state.spec.mailbox.detach();
                let_go(&mut state.spec, stage);
                state.status.send_replace(StageStatus::Stopped);
                me.stop(None);
            }
            _ => {}
        }
        Ok(())
    }
}
