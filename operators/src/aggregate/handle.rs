//! What callers hold of an aggregate type: sends commands, and settles conflicts as they choose.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use compact_str::{CompactString, format_compact};
use millstream_engine::event::{StreamId, StreamIdError, partition_of, stream_hash};
use millstream_engine::log::StreamReader;
use millstream_engine::mailbox::LaneSender;
use tokio::sync::oneshot;

use super::command::{CommandItem, CommandResult, Counted, Envelope, Item};
use super::{Aggregate, CommandError, CommandOptions};

/// Commands of a bulk that go to one partition as one item.
const PART_COMMANDS_MAX: usize = 4_096;

/// The lane of one partition.
#[derive(Debug)]
pub struct CommandLane<A: Aggregate> {
    /// Its sending end.
    pub sender: LaneSender<CommandItem<A>>,
    /// Commands in bulks, beyond one per item; shared with the partition's host.
    pub extra: Arc<AtomicUsize>,
}

/// Sends commands to the aggregates of one type. Cheap to clone, usable from any thread.
pub struct AggregateHandle<A: Aggregate> {
    pub(super) lanes: Arc<[CommandLane<A>]>,
    streams: Arc<dyn StreamReader>,
}

impl<A: Aggregate> Clone for AggregateHandle<A> {
    fn clone(&self) -> Self {
        Self {
            lanes: Arc::clone(&self.lanes),
            streams: Arc::clone(&self.streams),
        }
    }
}

impl<A: Aggregate> fmt::Debug for AggregateHandle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregateHandle")
            .field("category", &A::CATEGORY)
            .field("partitions", &self.lanes.len())
            .finish()
    }
}

/// One command of a bulk.
#[derive(Clone, Debug)]
pub struct BulkCommand<C> {
    /// Id of the aggregate, without its category.
    pub id: CompactString,
    /// What is asked.
    pub command: C,
    /// What goes with it. A bulk is answered once: as durable unless all of it is asked as accepted and nothing is refused.
    pub options: CommandOptions,
}

/// What is told of a part.
type PartAnswer<A> =
    oneshot::Receiver<Result<Vec<CommandResult<A>>, CommandError<<A as Aggregate>::Rejection>>>;
/// Places of a part's commands in their bulk, and where its answer comes; `None` if nobody took it.
type SentPart<A> = (Vec<usize>, Option<PartAnswer<A>>);

impl<A: Aggregate> AggregateHandle<A> {
    /// A handle with the lane of each partition, in order, and the log to read what happened since.
    #[must_use]
    pub fn new(lanes: Vec<CommandLane<A>>, streams: Arc<dyn StreamReader>) -> Self {
        Self {
            lanes: lanes.into(),
            streams,
        }
    }

    pub(super) fn streams(&self) -> &dyn StreamReader {
        &*self.streams
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.lanes.len() as u16 // Made from a u16 of partitions.
    }

    /// Sends a command to the aggregate `id` and resolves once its events are durable. Waits while the
    /// partition is busy.
    ///
    /// Dropping the future after the partition took the command does not undo it.
    ///
    /// # Errors
    /// [`CommandError`] says what is left and what to do.
    pub async fn send(&self, id: &str, command: A::Command) -> CommandResult<A> {
        self.send_with(id, command, CommandOptions::default()).await
    }

    /// Like [`send`](Self::send), with expectations, a command id, metadata or another acknowledgement.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn send_with(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
    ) -> CommandResult<A> {
        let (partition, envelope) = self.envelope(id, command, options)?;
        let (reply, answer) = oneshot::channel();
        let bytes = size(&envelope);
        let item = CommandItem(Item::One(envelope, reply));
        let sent = self.lanes[partition].sender.send(item, bytes).await;
        sent.map_err(|_| CommandError::Closed)?;
        finish(answer).await
    }

    /// Sends many commands at once, at a fraction of the cost of sending each; gives their answers in
    /// order. Commands to one aggregate are decided in order. They do not succeed or fail together, and those of one partition
    /// do not wait for another that is busy; the answers come together.
    pub async fn send_bulk(&self, commands: Vec<BulkCommand<A::Command>>) -> Vec<CommandResult<A>> {
        let mut answers: Vec<Option<CommandResult<A>>> = Vec::new();
        answers.resize_with(commands.len(), || None);
        let mut parts: Vec<(Vec<usize>, Vec<Envelope<A>>)> = Vec::new();
        parts.resize_with(self.lanes.len(), Default::default);
        for (place, bulk) in commands.into_iter().enumerate() {
            match self.envelope(&bulk.id, bulk.command, bulk.options) {
                Ok((partition, envelope)) => {
                    parts[partition].0.push(place);
                    parts[partition].1.push(envelope);
                }
                Err(error) => answers[place] = Some(Err(error)),
            }
        }
        // All parts are on their way before the first answer is waited for, those of each partition one after the other.
        let parts = parts.into_iter().enumerate();
        let parts = parts.filter(|(_, (places, _))| !places.is_empty());
        let sends = parts.map(|(partition, part)| Box::pin(self.send_parts(partition, part)));
        for (places, answer) in all(sends.collect()).await {
            let part = match answer {
                Some(answer) => answer.await.unwrap_or_else(|_| Err(restarted())),
                None => Err(CommandError::Closed),
            };
            match part {
                Ok(part) => {
                    for (place, answer) in places.into_iter().zip(part) {
                        answers[place] = Some(answer);
                    }
                }
                Err(error) => {
                    for place in places {
                        answers[place] = Some(Err(again(&error)));
                    }
                }
            }
        }
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Err(restarted())))
            .collect()
    }

    async fn send_parts(
        &self,
        partition: usize,
        (mut places, mut envelopes): (Vec<usize>, Vec<Envelope<A>>),
    ) -> Vec<SentPart<A>> {
        let mut waiting = Vec::with_capacity(envelopes.len().div_ceil(PART_COMMANDS_MAX));
        while !envelopes.is_empty() {
            // Cut, so that one caller's bulk does not hold up everybody else's turn.
            let rest = envelopes.split_off(envelopes.len().min(PART_COMMANDS_MAX));
            let part = std::mem::replace(&mut envelopes, rest);
            let later = places.split_off(part.len());
            let now = std::mem::replace(&mut places, later);
            waiting.push((now, self.send_part(partition, part).await));
        }
        waiting
    }

    async fn send_part(
        &self,
        partition: usize,
        envelopes: Vec<Envelope<A>>,
    ) -> Option<PartAnswer<A>> {
        let lane = &self.lanes[partition];
        let (reply, answer) = oneshot::channel();
        let (count, bytes) = (envelopes.len(), envelopes.iter().map(size).sum());
        // Counted before the host can take them, so that its count never falls below zero.
        let counted = Counted::add(&lane.extra, count - 1);
        let item = CommandItem(Item::Bulk(envelopes, reply, counted));
        match lane.sender.send(item, bytes).await {
            Ok(()) => Some(answer),
            Err(_closed) => None,
        }
    }

    fn envelope(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
    ) -> Result<(usize, Envelope<A>), CommandError<A::Rejection>> {
        let (partition, hash) = self.place(id)?;
        let envelope = Envelope {
            id: CompactString::from(id),
            hash,
            command,
            options,
        };
        Ok((partition, envelope))
    }

    /// The partition of an aggregate, and the hash of its stream's id.
    pub(super) fn place(&self, id: &str) -> Result<(usize, u64), StreamIdError> {
        let stream = format_compact!("{}-{id}", A::CATEGORY);
        // Ids are checked in full only when they look unusual: most are short and plain.
        if !is_plain(id) || stream.len() > 200 {
            StreamId::new(A::CATEGORY, id)?;
        }
        let hash = stream_hash(&stream);
        let partition = if id.contains('@') {
            partition_of(&stream, self.partitions())
        } else {
            // Without a partition key of its own the whole id is the key: the hash is known already.
            millstream_engine::event::PartitionId((hash % u64::from(self.partitions())) as u16)
        };
        Ok((usize::from(partition.0), hash))
    }
}

/// What all of these give, in the order in which they are ready: none waits for another.
async fn all<F: Future<Output = Vec<T>> + Unpin, T>(mut futures: Vec<F>) -> Vec<T> {
    let mut given = Vec::with_capacity(futures.len());
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| match Pin::new(future).poll(context) {
            Poll::Ready(more) => {
                given.extend(more);
                false
            }
            Poll::Pending => true,
        });
        match futures.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    given
}

fn is_plain(id: &str) -> bool {
    !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// What one command counts for in the mailbox's bound.
pub(super) fn size<A: Aggregate>(envelope: &Envelope<A>) -> usize {
    size_of::<Envelope<A>>() - size_of::<A::Command>() + A::command_bytes(&envelope.command)
}

fn restarted<R>() -> CommandError<R> {
    CommandError::OutcomeUnknown {
        cause: "the partition was restarted".to_owned(),
    }
}

/// The same error for one more caller of a bulk; only those that concern a whole part come here.
fn again<R>(error: &CommandError<R>) -> CommandError<R> {
    match error {
        CommandError::Closed => CommandError::Closed,
        other => CommandError::OutcomeUnknown {
            cause: match other {
                CommandError::OutcomeUnknown { cause } => cause.clone(),
                _ => "the partition did not answer".to_owned(),
            },
        },
    }
}

pub(super) async fn finish<T, R>(
    answer: oneshot::Receiver<Result<T, CommandError<R>>>,
) -> Result<T, CommandError<R>> {
    answer.await.unwrap_or_else(|_| Err(restarted()))
}
