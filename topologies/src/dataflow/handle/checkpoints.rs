//! Checkpoints and savepoints of a dataflow that runs, when somebody asks for them.

use std::fmt::Write as _;

use millstream_engine::checkpoint::{CheckpointStatus, Control, Epoch};

use super::{DataflowHandle, Failure};

/// Runs of a dataflow that are asked for one checkpoint. Taking it may be what they fail of, and a dataflow that fails too
/// often is given up; but one may fail of something else.
const RUNS_MAX: u32 = 2;

/// A checkpoint that was asked for is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeCheckpointError {
    /// The dataflow takes none: it runs without an engine, or its options say so.
    #[error("the dataflow takes no checkpoints")]
    None,
    /// It took too long, or the dataflow failed more than once while it was waited for.
    #[error("the checkpoint was given up: {cause}")]
    GivenUp {
        /// Who was waited for.
        cause: String,
    },
    /// The dataflow has ended or failed.
    #[error("the dataflow has ended")]
    Ended,
}

/// A savepoint stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SavepointError {
    /// The dataflow takes none, or keeps none of this number.
    #[error("the dataflow keeps no savepoint {epoch}")]
    Unknown {
        /// The number.
        epoch: Epoch,
    },
    /// The next start would begin from it.
    #[error("{epoch} is the last checkpoint of the dataflow: a later one must be complete first")]
    Last {
        /// The number.
        epoch: Epoch,
    },
    /// The dataflow has ended or failed.
    #[error("the dataflow has ended")]
    Ended,
}

fn failed_too_often(failures: u32, last: Option<Failure>) -> TakeCheckpointError {
    let mut cause = format!("the dataflow failed {failures} times meanwhile");
    if let Some(last) = last {
        let _ = write!(cause, ", the last time since {last}");
    }
    TakeCheckpointError::GivenUp { cause }
}

impl DataflowHandle {
    /// Takes a checkpoint now and waits until it is complete. If the dataflow fails meanwhile and begins again, it is asked for
    /// once more, and given up if it fails again: taking it may be what fails. A failure from before it was asked for does not
    /// count.
    ///
    /// # Errors
    /// [`TakeCheckpointError`]: why there is none.
    pub async fn checkpoint(&self) -> Result<Epoch, TakeCheckpointError> {
        self.take(Control::ask, |status, before| {
            let is_new = status.completed > before.completed || status.is_final;
            status.completed.filter(|_| is_new)
        })
        .await
    }

    /// The same for a savepoint, which is kept until somebody [deletes](Self::delete_savepoint) it and has the rows of all
    /// tables. Cost: tables are read once more, each partition's rows at the barrier, and are in memory until stored.
    ///
    /// # Errors
    /// [`TakeCheckpointError`]: why there is none.
    pub async fn savepoint(&self) -> Result<Epoch, TakeCheckpointError> {
        self.take(Control::ask_for_savepoint, |status, before| {
            let last = status.savepoints.last().copied();
            last.filter(|_| last > before.savepoints.last().copied())
        })
        .await
    }

    /// Asks for a checkpoint and waits for the answer, in which `taken` finds it.
    async fn take(
        &self,
        ask: fn(&Control) -> u64,
        taken: fn(&CheckpointStatus, &CheckpointStatus) -> Option<Epoch>,
    ) -> Result<Epoch, TakeCheckpointError> {
        let mut failures = 0;
        loop {
            let (control, mut runs) = self.parts.checkpoints().ok_or(TakeCheckpointError::None)?;
            // Of that run, or of one that has just taken its place.
            let failure = self.parts.lock().failure.clone();
            // Its end is yet to be dealt with, and says nothing of what is asked for.
            let had_failed = failure
                .as_ref()
                .is_some_and(|failure| failure.borrow().is_some());
            let before = control.status().borrow().clone();
            let number = ask(&control);
            let mut status = control.status();
            let answered = status.wait_for(|status| status.answered >= number || status.is_final);
            let outcome = tokio::select! {
                biased;
                answered = answered => match answered.as_deref() {
                    Ok(status) if let Some(epoch) = taken(status, &before) => Ok(epoch),
                    Ok(status) if status.is_final => Err(TakeCheckpointError::Ended),
                    Ok(status) => Err(TakeCheckpointError::GivenUp {
                        cause: status.failure.clone().unwrap_or_default(),
                    }),
                    Err(_) => Err(TakeCheckpointError::Ended),
                },
                // A run that failed answers nobody.
                Ok(()) = runs.changed() => {
                    failures += u32::from(!had_failed);
                    if failures < RUNS_MAX {
                        continue;
                    }
                    let last = failure.and_then(|failure| failure.borrow().clone());
                    Err(failed_too_often(failures, last))
                }
                _ = self.wait() => Err(TakeCheckpointError::Ended),
            };
            return outcome;
        }
    }

    /// Deletes a savepoint, with the state that no other checkpoint has; waits until it is no longer listed.
    ///
    /// # Errors
    /// [`SavepointError`]; it stays.
    pub async fn delete_savepoint(&self, epoch: Epoch) -> Result<(), SavepointError> {
        let mut was_there = false;
        loop {
            let checkpoints = self.parts.checkpoints();
            let (control, mut runs) = checkpoints.ok_or(SavepointError::Unknown { epoch })?;
            let mut status = control.status();
            let now = status.borrow().clone();
            match now.savepoints.contains(&epoch) {
                // The run before this one deleted it.
                false if was_there => return Ok(()),
                false => return Err(SavepointError::Unknown { epoch }),
                true if now.completed == Some(epoch) => return Err(SavepointError::Last { epoch }),
                true => was_there = true,
            }
            control.give_up_savepoint(epoch);
            let gone = status.wait_for(|status| !status.savepoints.contains(&epoch));
            tokio::select! {
                biased;
                gone = gone => return gone.map(|_| ()).map_err(|_| SavepointError::Ended),
                Ok(()) = runs.changed() => {}
                _ = self.wait() => return Err(SavepointError::Ended),
            }
        }
    }

    /// Where its checkpoints stand; `None` if none are taken.
    pub fn checkpoints(&self) -> Option<CheckpointStatus> {
        let control = self.parts.lock().checkpoints.clone();
        control.map(|control| control.status().borrow().clone())
    }
}
