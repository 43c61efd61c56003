//! Settling conflicts: sending a command again after the stream has moved on.

use std::hash::BuildHasher;
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
    /// Longest wait. Default 100 ms.
    pub backoff_max: Duration,
}

impl Default for ConflictRetry {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff_first: Duration::from_millis(1),
            backoff_max: Duration::from_millis(100),
        }
    }
}

impl ConflictRetry {
    /// Wait after the `attempt`th try, from 1. Somewhere in the upper half of what it may be: writers that met
    /// at one version would otherwise meet again at the next.
    fn wait(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        let longest = self
            .backoff_first
            .saturating_mul(1 << doublings)
            .min(self.backoff_max);
        // Each hasher starts from a seed of its own.
        let random = foldhash::fast::RandomState::default().hash_one(attempt);
        let half = longest / 2;
        half + half.mul_f64(random as f64 / u64::MAX as f64)
    }
}

impl<A: Aggregate> AggregateHandle<A>
where
    A::Command: Clone,
{
    /// Sends a command that expects a version; when the stream is at another one, waits and sends it
    /// again, now expecting that one. For commands that are right whatever happened in between: one that expected no stream is
    /// then sent to the one that there is, and one that expected a version of a stream without events begins it.
    ///
    /// # Errors
    /// [`CommandError::Conflict`] after the last try, at once for [`Expected::Exists`], since that would not come to be by being
    /// asked for; any other error at once.
    pub async fn send_retrying(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
        retry: ConflictRetry,
    ) -> CommandResult<A> {
        let mut options = options;
        for attempt in 1.. {
            let sent = self.send_with(id, command.clone(), options.clone()).await;
            match sent {
                Err(CommandError::Conflict(conflict))
                    if attempt < retry.attempts_max && options.expected != Expected::Exists =>
                {
                    options.expected = Expected::unchanged_since(conflict.actual);
                    tokio::time::sleep(retry.wait(attempt)).await;
                }
                answer => return answer,
            }
        }
        unreachable!("the loop ends at its last attempt")
    }

    /// Sends a command that was made for version `seen` of the stream (`None`: no event); when there are
    /// later events, `resolve` gets the command and them, and gives the command to send instead, or `None`
    /// to leave it at the conflict. Goes on until the stream stands still in between, as often and with such
    /// waits as [`ConflictRetry`] has by default.
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
        let retry = ConflictRetry::default();
        for attempt in 1..retry.attempts_max {
            let sent = self.send_with(id, command.clone(), options.clone()).await;
            let Err(CommandError::Conflict(conflict)) = sent else {
                return sent;
            };
            // Before the read, so that what comes meanwhile is resolved in the same try.
            tokio::time::sleep(retry.wait(attempt)).await;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Poll, Waker};

    use millstream_engine::codec::Event;
    use millstream_engine::log::EmbeddedLog;
    use millstream_engine::mailbox::{LaneReceiver, Mailbox, MailboxLimits};
    use millstream_engine::partition::Conflict;
    use millstream_engine::store::EnvironmentOptions;
    use millstream_engine::time::SystemClock;
    use serde::{Deserialize, Serialize};

    use super::super::Decision;
    use super::super::command::{CommandItem, Item};
    use super::super::handle::CommandLane;
    use super::*;

    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Door;
    #[derive(Serialize, Deserialize)]
    struct Opened;
    impl Event for Opened {}

    impl Aggregate for Door {
        const CATEGORY: &'static str = "door";
        const VERSION: u32 = 1;
        type Command = ();
        type Event = Opened;
        type Rejection = std::convert::Infallible;

        fn decide(&self, (): (), out: &mut Decision<'_, Self>) -> Result<(), Self::Rejection> {
            out.emit(Opened);
            Ok(())
        }

        fn evolve(&mut self, _: &Opened) {}
    }

    #[test]
    fn waits_double_up_to_their_bound_and_differ() {
        let retry = ConflictRetry {
            attempts_max: 10,
            backoff_first: Duration::from_millis(1),
            backoff_max: Duration::from_millis(6),
        };
        for (attempt, longest) in [(1, 1), (2, 2), (3, 4), (4, 6), (5, 6), (u32::MAX, 6)] {
            let longest = Duration::from_millis(longest);
            let waits: std::collections::BTreeSet<_> =
                (0..100).map(|_| retry.wait(attempt)).collect();
            let inside = |wait: &Duration| (longest / 2..=longest).contains(wait);
            assert!(waits.iter().all(inside), "{attempt}: {waits:?}");
            assert!(waits.len() > 50, "{attempt}: {waits:?}");
        }
        let none = ConflictRetry {
            backoff_first: Duration::ZERO,
            ..retry
        };
        assert_eq!(none.wait(7), Duration::ZERO);
    }

    /// Answers the one command that waits with a conflict; `false` when none does.
    fn refuse(lane: &LaneReceiver<CommandItem<Door>>) -> bool {
        let mut taken = Vec::new();
        lane.drain(10, &mut taken);
        let Some(CommandItem(Item::One(envelope, reply))) = taken.pop() else {
            return false;
        };
        assert!(taken.is_empty(), "a command was sent twice");
        let expected = envelope.options.expected;
        let _ = reply.send(Err(Conflict {
            expected,
            actual: Some(7),
        }
        .into()));
        true
    }

    /// Story: a command that was resolved was sent again at once, so under contention its tries were used up within
    /// microseconds. Method: a partition that always says conflict, on a clock moved by hand.
    #[tokio::test(start_paused = true)]
    async fn a_resolved_command_waits_before_it_is_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let options = EnvironmentOptions {
            map_bytes_max: 64 << 20,
            preallocate_step_bytes: 0,
            ..EnvironmentOptions::default()
        };
        let log = EmbeddedLog::open(folder.path(), 1, options).unwrap();
        let mailbox = Mailbox::new(MailboxLimits::default(), Arc::new(SystemClock::new()));
        let (sender, lane) = mailbox.lane::<CommandItem<Door>>();
        let extra = Arc::new(AtomicUsize::new(0));
        let lanes = vec![CommandLane { sender, extra }];
        let handle = AggregateHandle::<Door>::new(lanes, Arc::new(log.reader.clone()));

        let mut resolved = 0;
        let options = CommandOptions::default();
        let mut sent = Box::pin(handle.send_resolving("front", (), None, options, |(), _| {
            resolved += 1;
            Some(())
        }));
        let mut context = Context::from_waker(Waker::noop());
        let retry = ConflictRetry::default();
        for attempt in 1..=retry.attempts_max {
            assert!(sent.as_mut().poll(&mut context).is_pending());
            assert!(refuse(&lane), "nothing was sent for try {attempt}");
            if attempt == retry.attempts_max {
                break;
            }
            assert!(sent.as_mut().poll(&mut context).is_pending());
            assert!(!refuse(&lane), "sent again at once after try {attempt}");
            tokio::time::advance(retry.backoff_max).await;
        }
        let Poll::Ready(Err(CommandError::Conflict(_))) = sent.as_mut().poll(&mut context) else {
            panic!("the last conflict is the answer");
        };
        drop(sent);
        assert_eq!(resolved, retry.attempts_max - 1);
    }
}
