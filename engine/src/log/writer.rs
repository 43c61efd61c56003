//! Group commit: what has piled up is stored with one commit, then everyone is answered.
//!
//! Place: between the partitions, which seal frames, and a [`LogStore`]. Invariants: nobody is answered
//! before the group is durable; after one failure nothing is written and nobody is told success again
//! (after a failed fsync the kernel may call lost pages clean, so a later success would prove nothing).
//! Threads: a plain `step()`; its caller brings the thread.

use std::fmt;
use std::sync::Arc;

use super::frame::SealedFrame;
use super::{LogError, LogStore};

/// A frame with the answer to give once it is durable.
pub struct Submission {
    /// What to store.
    pub frame: SealedFrame,
    /// Called once: with `Ok` when durable, with an error when the outcome is a failure or unknown.
    pub done: Box<dyn FnOnce(Result<(), LogError>) + Send>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("partition", &self.frame.partition)
            .field("first", &self.frame.first)
            .finish()
    }
}

/// Stores groups of frames and stops for good at the first failure.
#[derive(Debug)]
pub struct GroupWriter<S> {
    store: S,
    stopped: Option<Arc<LogError>>,
}

impl<S: LogStore> GroupWriter<S> {
    /// A writer that has not failed.
    pub fn new(store: S) -> Self {
        Self {
            store,
            stopped: None,
        }
    }

    /// Stores one group and answers its submitters. An empty group costs nothing.
    ///
    /// # Errors
    /// [`LogError::Stopped`] from the first failure on; every submitter was told.
    pub fn step(&mut self, group: Vec<Submission>) -> Result<(), LogError> {
        let (frames, answers): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|item| (item.frame, item.done))
            .unzip();
        if self.stopped.is_none()
            && !frames.is_empty()
            && let Err(cause) = self.store.append(&frames)
        {
            self.stopped = Some(Arc::new(cause));
        }
        let outcome = match &self.stopped {
            None => Ok(()),
            Some(cause) => Err(LogError::Stopped {
                cause: Arc::clone(cause),
            }),
        };
        for done in answers {
            done(outcome.clone());
        }
        outcome
    }
}
