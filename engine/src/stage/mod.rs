//! Stages: plain step cores, run as supervised ractor actors.
//!
//! Place: above mailboxes, below partitions and dataflows. What a stage does is a [`StageCore`], which
//! knows neither ractor nor tokio and can be driven by a simulation as well; [`spawn_stage`] is the one
//! function that puts one on the runtime, with a supervisor of its own.
//! Invariants: (1) a core is stepped by one thread at a time; (2) at most one wake-up message per stage
//! is in flight, besides one timer; (3) a stage yields to the scheduler after every step.
//! Failure: a core that panics or returns [`Step::Failed`] is dropped and made anew by its factory,
//! after the backoff of its [`RestartPolicy`]; items still in lanes wait for it, items that the dead core
//! had drained are gone with it and must come again from the log or a checkpoint. After the last try the
//! mailbox is closed and the owner is told the *first* cause.

mod actor;
mod caught;
mod handle;
mod supervision;
mod supervisor;
mod watch;

#[cfg(test)]
mod tests;

pub use actor::panic_message;
pub use actor::{Blocked, StageCore, Step};
pub use caught::{caught, caught_by_joining, was_caught_inside, will_be_caught};
pub use handle::{
    CoreFactory, GiveUp, NoCore, SpawnStageError, StageHandle, StageSpec, StageStatus, spawn_stage,
};
pub use supervision::{Directive, RestartPolicy, Supervision};
pub use watch::{Stall, still_working};
