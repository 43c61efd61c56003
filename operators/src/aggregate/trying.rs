//! Commands of callers that do not wait: what a partition has no room for comes back to them.
//!
//! Place: beside [`AggregateHandle::send_with`], for edges that tell their callers to slow down. Invariant: a command is either
//! taken by its partition or handed back, never lost.

use std::fmt;

use compact_str::CompactString;
use tokio::sync::oneshot;

use super::command::{CommandItem, Envelope, Item};
use super::handle::{finish, size};
use super::{Ack, Aggregate, AggregateHandle, CommandError, CommandOptions};

/// Why a command that was sent without waiting for room was not accepted, with the command if its partition did not take it.
pub struct TrySendError<A: Aggregate> {
    /// Why.
    pub error: CommandError<A::Rejection>,
    /// The command, exactly if the partition did not take it: it is [`Overloaded`](CommandError::Overloaded) or
    /// [`Closed`](CommandError::Closed), or there can be no such id. `None` once it was taken, whatever came of it.
    pub command: Option<A::Command>,
}

impl<A: Aggregate> TrySendError<A> {
    fn returning(error: impl Into<CommandError<A::Rejection>>, command: A::Command) -> Self {
        Self {
            error: error.into(),
            command: Some(command),
        }
    }
}

impl<A: Aggregate> fmt::Debug for TrySendError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySendError")
            .field("error", &self.error)
            .field("is_taken", &self.command.is_none())
            .finish()
    }
}

impl<A: Aggregate> fmt::Display for TrySendError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<A: Aggregate> std::error::Error for TrySendError<A> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<A: Aggregate> From<TrySendError<A>> for CommandError<A::Rejection> {
    fn from(refused: TrySendError<A>) -> Self {
        refused.error
    }
}

impl<A: Aggregate> AggregateHandle<A> {
    /// Like [`send_with`](Self::send_with), but where that would wait for the partition it answers
    /// [`CommandError::Overloaded`] and hands the command back: for edges that tell their callers to slow down.
    ///
    /// # Errors
    /// [`TrySendError`] with the [`CommandError`].
    pub async fn try_send_with(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
    ) -> Result<Ack, TrySendError<A>> {
        let (partition, hash) = match self.place(id) {
            Ok(place) => place,
            Err(error) => return Err(TrySendError::returning(error, command)),
        };
        let envelope = Envelope {
            id: CompactString::from(id),
            hash,
            command,
            options,
        };
        let (reply, answer) = oneshot::channel();
        let bytes = size(&envelope);
        let item = CommandItem(Item::One(envelope, reply));
        if let Err(refused) = self.lanes[partition].sender.try_send(item, bytes) {
            let error = match refused.is_retryable() {
                true => CommandError::Overloaded,
                false => CommandError::Closed,
            };
            return Err(TrySendError {
                error,
                command: refused.into_item().into_command(),
            });
        }
        finish(answer).await.map_err(|error| TrySendError {
            error,
            command: None,
        })
    }
}
