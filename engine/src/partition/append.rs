//! Raw appends: events that a caller wrote itself, with expected version and idempotence by event id.

use std::collections::VecDeque;
use std::sync::Arc;

use super::appender::{NewEvent, Payload};
use super::heads::StreamHeads;
use super::input::{Completion, PartitionInput, Replies, Reply};
use super::turn::{RawDraft, Turn};
use super::{AppendError, Expected};
use crate::event::{Offset, PartitionId, Position, StreamId, Token};
use crate::log::frame::{Encoding, Kind};
use crate::log::{Direction, LogError, StreamRef, for_each_event};
use crate::mailbox::LaneReceiver;
use crate::stage::{caught, panic_message};

/// Appends that may wait for events of their stream to become durable.
const WAITING_MAX: usize = 1_024;

/// Where appended events lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Number of the first event in its stream.
    pub first_version: u64,
    /// Number of the last.
    pub last_version: u64,
    /// Position of the last.
    pub position: Position,
}

impl Appended {
    /// What a caller who got this has seen.
    #[must_use]
    pub fn token(&self) -> Token {
        self.position.into()
    }
}

/// An append on its way; made by an [`Appender`](super::Appender).
#[derive(Debug)]
pub struct AppendRequest {
    pub(super) stream: StreamId,
    pub(super) expected: Expected,
    pub(super) events: Vec<NewEvent>,
    pub(super) reply: Reply<Appended, AppendError>,
}

/// The partition's input for raw appends.
#[derive(Debug)]
pub struct Appends {
    lane: LaneReceiver<AppendRequest>,
    owned: Arc<[String]>,
    heads: StreamHeads,
    /// Put back because events of their stream are still in flight, or this frame has no room for them; first in the next turn.
    waiting: VecDeque<AppendRequest>,
    replies: Replies<Appended, AppendError>,
    scratch: Vec<u8>,
}

impl Appends {
    /// The input behind `lane`; categories in `owned` belong to aggregates.
    #[must_use]
    pub fn new(lane: LaneReceiver<AppendRequest>, owned: Arc<[String]>) -> Self {
        Self {
            lane,
            owned,
            heads: StreamHeads::default(),
            waiting: VecDeque::new(),
            replies: Replies::default(),
            scratch: Vec::new(),
        }
    }

    fn handle(&mut self, request: AppendRequest, turn: &mut Turn<'_>) {
        match self.decide(&request, turn) {
            Ok(Some(appended)) => self.replies.push(request.reply, Ok(appended)),
            // They hold no credits of the mailbox any more, so they have a bound of their own.
            Ok(None) if self.waiting.len() >= WAITING_MAX => {
                self.replies
                    .push(request.reply, Err(AppendError::Overloaded));
            }
            Ok(None) => self.waiting.push_back(request),
            // One in a turn, which takes nothing more.
            Err(AppendError::Event(error)) if turn.defers(&error) => {
                self.waiting.push_back(request);
            }
            Err(error) => self.replies.push(request.reply, Err(error)),
        }
    }

    /// `None`: whether it is a repeat can be told once the stream's events are durable.
    fn decide(
        &mut self,
        request: &AppendRequest,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Appended>, AppendError> {
        let category = request.stream.category();
        if self.owned.iter().any(|owned| owned == category) {
            let category = category.to_owned();
            return Err(AppendError::OwnedCategory { category });
        }
        let stream = StreamRef {
            partition: turn.partition,
            category,
            id: request.stream.id(),
            hash: request.stream.hash(),
        };
        let name = request.stream.as_str();
        let (events, frame) = self.heads.get(name, stream, turn.streams)?;
        if let Err(conflict) = request.expected.check(events) {
            if !may_repeat(request, events) {
                return Err(conflict.into());
            }
            if frame > turn.settled {
                return Ok(None);
            }
            return match repeat(request, stream, turn)? {
                Some(appended) => Ok(Some(appended)),
                None => Err(conflict.into()),
            };
        }
        let mark = turn.mark();
        for (version, event) in (events..).zip(&request.events) {
            if let Err(error) = self.append(request, stream.hash, version, event, turn) {
                turn.rewind(mark);
                return Err(error);
            }
        }
        let after = events + request.events.len() as u64;
        self.heads.set(name, after, turn.frame);
        let last = Offset(turn.next_offset().0 - 1);
        Ok(Some(appended(turn.partition, last, events, after - 1)))
    }

    fn append(
        &mut self,
        request: &AppendRequest,
        hash: u64,
        version: u64,
        event: &NewEvent,
        turn: &mut Turn<'_>,
    ) -> Result<(), AppendError> {
        let typed;
        let (event_type, encoding, payload) = match &event.payload {
            Payload::Bytes {
                encoding: Encoding::Binary,
                ..
            } => return Err(AppendError::BinaryBytes),
            Payload::Bytes {
                encoding,
                event_type,
                bytes,
            } => (event_type.as_str(), *encoding, &bytes[..]),
            Payload::Typed {
                encoding, encode, ..
            } => {
                self.scratch.clear();
                let scratch = &mut self.scratch;
                let encoded = caught(|| encode(turn.encoder(), scratch));
                typed = encoded
                    .map_err(|panic| AppendError::Panicked {
                        message: panic_message(&*panic).to_owned(),
                    })?
                    .map_err(|error| AppendError::Event(error.into()))?;
                (typed, *encoding, &self.scratch[..])
            }
        };
        let kind = Kind {
            category: request.stream.category().into(),
            event_type: event_type.into(),
            schema_version: event.schema_version,
            encoding,
        };
        let draft = RawDraft {
            stream: request.stream.id(),
            hash,
            version,
            event_time: event.event_time,
            id: event.id,
            metadata: event.metadata.clone(),
        };
        Ok(turn.append_raw(&kind, &draft, payload)?)
    }
}

fn appended(partition: PartitionId, offset: Offset, first: u64, last: u64) -> Appended {
    Appended {
        first_version: first,
        last_version: last,
        position: Position { partition, offset },
    }
}

/// Version that the first event of a repeat would have.
fn repeated_from(expected: Expected) -> Option<u64> {
    match expected {
        Expected::NoStream => Some(0),
        Expected::Exact(version) => version.checked_add(1),
        Expected::Any | Expected::Exists => None,
    }
}

/// Whether the stream is long enough to hold the events, and they have ids to be known by.
fn may_repeat(request: &AppendRequest, events: u64) -> bool {
    let Some(from) = repeated_from(request.expected) else {
        return false;
    };
    from.saturating_add(request.events.len() as u64) <= events
        && request.events.iter().all(|event| event.id.is_some())
}

/// The answer of an append whose events stand in the stream already, right where they were expected.
fn repeat(
    request: &AppendRequest,
    stream: StreamRef<'_>,
    turn: &Turn<'_>,
) -> Result<Option<Appended>, LogError> {
    let Some(from) = repeated_from(request.expected) else {
        return Ok(None);
    };
    let (mut expected, mut last) = (request.events.iter(), None);
    let mut same = true;
    for_each_event::<_, LogError>(
        turn.streams,
        stream,
        from,
        request.events.len(),
        Direction::Forwards,
        |_, record| {
            same &= expected.next().and_then(|event| event.id) == Some(record.id);
            last = Some((record.offset, record.version));
            Ok(())
        },
    )?;
    let found = last.filter(|_| same && expected.next().is_none());
    Ok(found.map(|(offset, version)| appended(stream.partition, offset, from, version)))
}

impl PartitionInput for Appends {
    fn queued(&self) -> usize {
        self.lane.len() + self.waiting.len()
    }

    fn take(&mut self, items_max: usize, turn: &mut Turn<'_>) -> usize {
        let waited = self.waiting.len();
        // What must wait once more comes before what was not looked at: the order is kept.
        let mut before = std::mem::take(&mut self.waiting);
        while !turn.is_full()
            && let Some(request) = before.pop_front()
        {
            self.handle(request, turn);
        }
        self.waiting.append(&mut before);
        // What waits on is no progress: a frame in flight wakes the partition when it is settled.
        let mut taken = waited - self.waiting.len();
        let mut one = Vec::with_capacity(1);
        while taken < items_max && !turn.is_full() {
            self.lane.drain(1, &mut one);
            let Some(request) = one.pop() else { break };
            taken += 1;
            self.handle(request, turn);
        }
        taken
    }

    fn completion(&mut self) -> Option<Completion> {
        self.replies.completion(AppendError::unknown)
    }

    fn settled(&mut self, frame: u64) {
        self.heads.settled(frame);
    }

    fn refuse(&mut self, cause: &LogError) {
        let mut queued: Vec<_> = self.waiting.drain(..).collect();
        self.lane.drain(usize::MAX, &mut queued);
        for request in queued {
            let _ = request.reply.send(Err(AppendError::unknown(cause)));
        }
    }
}
