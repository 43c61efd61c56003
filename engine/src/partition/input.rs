//! What feeds a partition: commands of one aggregate type, raw appends, and later sinks and processes.

use super::turn::Turn;
use crate::log::{Committed, LogError};

/// Answers the callers of one turn. Runs on the log writer's thread.
pub type Completion = Box<dyn FnOnce(&Committed) + Send>;

/// One lane into a partition, with the state that it is decided on.
pub trait PartitionInput: Send {
    /// Items that wait in the lane, and those that were put back.
    fn queued(&self) -> usize;

    /// Takes and decides about `items_max` items, at least one if any is ready, and gives how many.
    /// Fewer when the frame is [full](Turn::is_full).
    fn take(&mut self, items_max: usize, turn: &mut Turn<'_>) -> usize;

    /// The answers of what was taken since the last call; `None` when there are none.
    fn completion(&mut self) -> Option<Completion>;

    /// All frames numbered up to `frame` are durable: what was pinned by them is free.
    fn settled(&mut self, frame: u64);

    /// A little housekeeping after a turn: passivation, gauges. Gives whether there is more to do later
    /// even if no item comes.
    fn tidy(&mut self, turn: &Turn<'_>) -> bool {
        let _ = turn;
        false
    }

    /// Answers everything queued with the reason why nothing is decided any more.
    fn refuse(&mut self, cause: &LogError);
}

/// Answers collected during a turn, given together.
pub struct Replies<T, E> {
    list: Vec<(Reply<T, E>, Result<T, E>)>,
}

/// Where one caller waits.
pub type Reply<T, E> = tokio::sync::oneshot::Sender<Result<T, E>>;

impl<T, E> Default for Replies<T, E> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

impl<T, E> std::fmt::Debug for Replies<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replies")
            .field("len", &self.list.len())
            .finish()
    }
}

impl<T: Send + 'static, E: Send + 'static> Replies<T, E> {
    /// Adds an answer to be given once the turn is durable. A caller that gave up is no error.
    pub fn push(&mut self, reply: Reply<T, E>, answer: Result<T, E>) {
        self.list.push((reply, answer));
    }

    /// The answers so far as a completion; after a failure everyone gets what `unknown` makes of it.
    pub fn completion(&mut self, unknown: fn(&LogError) -> E) -> Option<Completion> {
        if self.list.is_empty() {
            return None;
        }
        let capacity = self.list.len();
        let list = std::mem::replace(&mut self.list, Vec::with_capacity(capacity));
        Some(Box::new(move |committed| {
            for (reply, answer) in list {
                let answer = match committed {
                    Ok(_) => answer,
                    Err(cause) => Err(unknown(cause)),
                };
                let _ = reply.send(answer);
            }
        }))
    }
}
