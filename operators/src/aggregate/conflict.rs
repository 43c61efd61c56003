//! Settling conflicts: sending a command again after the stream has moved on.

use std::time::Duration;

use millstream_engine::codec::EventReader;
use millstream_engine::event::partition_of;
use millstream_engine::log::frame::SHAPES;
use millstream_engine::log::{Direction, LogError, StreamRef, for_each_event};
use millstream_engine::partition::Expected;

use super::command::{CommandError, CommandResult};
use super::{Aggregate, AggregateHandle, CommandOptions};

/// How often and how fast a command that met a conflict is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConflictRetry {
    /// Tries, the first one included. Default 5, at least 1.
    pub attempts_max: u32,
    /// Wait before the second try; each later one waits twice as long. Default 1 ms.
    pub backoff_first: Duration,
}

impl Default for ConflictRetry {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff_first: Duration::from_millis(1),
        }
    }
}

impl<A: Aggregate> AggregateHandle<A>
where
    A::Command: Clone,
{
    /// Sends a command that expects a version; when the stream is at another one, waits and sends it
    /// again, now expecting that one. For commands that are right whatever happened in between.
    ///
    /// # Errors
    /// [`CommandError::Conflict`] after the last try; any other error at once.
    pub async fn send_retrying(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
        retry: ConflictRetry,
    ) -> CommandResult<A> {
        let mut options = options;
        let mut backoff = retry.backoff_first;
        for attempt in 1.. {
            let sent = self.send_with(id, command.clone(), options.clone()).await;
            match sent {
                Err(CommandError::Conflict(conflict)) if attempt < retry.attempts_max => {
                    options.expected = Expected::unchanged_since(conflict.actual);
                    tokio::time::sleep(backoff).await;
                    backoff = backoff.saturating_mul(2);
                }
                answer => return answer,
            }
        }
        unreachable!("the loop ends at its last attempt")
    }

    /// Sends a command that was made for version `seen` of the stream (`None`: no event); when there are
    /// later events, `resolve` gets the command and them, and gives the command to send instead, or `None`
    /// to leave it at the conflict. Goes on until the stream stands still in between, at most
    /// [`ConflictRetry::attempts_max`] times by default.
    ///
    /// # Errors
    /// [`CommandError::Conflict`] when `resolve` gives up or the tries are used up; any other error at once.
    pub async fn send_resolving(
        &self,
        id: &str,
        command: A::Command,
        seen: Option<u64>,
        options: CommandOptions,
        mut resolve: impl FnMut(A::Command, &[A::Event]) -> Option<A::Command>,
    ) -> CommandResult<A> {
        let mut options = options;
        options.expected = Expected::unchanged_since(seen);
        let (mut command, mut seen) = (command, seen);
        for _ in 1..ConflictRetry::default().attempts_max {
            let sent = self.send_with(id, command.clone(), options.clone()).await;
            let Err(CommandError::Conflict(conflict)) = sent else {
                return sent;
            };
            let since = self.events_since(id, seen)?;
            let Some(resolved) = resolve(command, &since) else {
                return Err(conflict.into());
            };
            command = resolved;
            let behind = seen.map_or(0, |version| version + 1) + since.len() as u64;
            seen = behind.checked_sub(1);
            options.expected = Expected::unchanged_since(seen);
        }
        self.send_with(id, command, options).await
    }

    /// Durable events of a stream behind version `seen`.
    fn events_since(
        &self,
        id: &str,
        seen: Option<u64>,
    ) -> Result<Vec<A::Event>, CommandError<A::Rejection>> {
        let name = format!("{}-{id}", A::CATEGORY);
        let stream = StreamRef {
            partition: partition_of(&name, self.partitions()),
            category: A::CATEGORY,
            id,
            hash: millstream_engine::event::stream_hash(&name),
        };
        let (mut events, mut reader) = (Vec::new(), EventReader::<A::Event>::new());
        for_each_event::<_, Unreadable>(
            self.streams(),
            stream,
            seen.map_or(0, |version| version + 1),
            usize::MAX,
            Direction::Forwards,
            |frame, record| {
                let decoded = reader
                    .begin_frame(frame.attachment(SHAPES).unwrap_or_default())
                    .and_then(|()| reader.decode(record.kind, record.payload));
                events.push(decoded.map_err(|cause| Unreadable::Event(record.version, cause))?);
                Ok(())
            },
        )
        .map_err(|error| match error {
            Unreadable::Log(error) => CommandError::from(error),
            Unreadable::Event(version, cause) => CommandError::Unreadable { version, cause },
        })?;
        Ok(events)
    }
}

enum Unreadable {
    Log(LogError),
    Event(u64, millstream_engine::codec::DecodeError),
}

impl From<LogError> for Unreadable {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}
