//! One turn of a partition: the frame under construction and what inputs may know of the moment.

use std::time::Duration;

use super::dedup::{self, CommandId, DedupWindow, Moment};
use super::{Seen, Watch};
use crate::codec::{EncodeError, Event, EventEncoder};
use crate::event::{EventId, Metadata, Offset, PartitionId};
use crate::log::StreamReader;
use crate::log::frame::{
    BODY_BYTES_MAX, Draft, DraftError, Encoding, FrameBuilder, FrameMark, Kind,
};
use crate::time::{Clock, Timestamp};

/// Bytes of a frame that events and command ids leave to its shapes and kinds.
const ATTACHMENT_BYTES: usize = 4 << 20;

/// Why an event did not go into the frame. [`Turn::rewind`] takes back what went before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TurnError {
    /// It could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// It does not fit into a frame.
    #[error(transparent)]
    Draft(#[from] DraftError),
}

/// The parts of a turn that live from one to the next.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) builder: FrameBuilder,
    pub(super) encoder: EventEncoder,
    pub(super) dedup: DedupWindow,
    /// Entries of the frame's attachment.
    pub(super) commands: Vec<u8>,
    pub(super) kinds: Vec<KnownKind>,
    scratch: Vec<u8>,
}

impl Workshop {
    pub(super) fn new(dedup: DedupWindow) -> Self {
        Self {
            builder: FrameBuilder::new(),
            encoder: EventEncoder::new(),
            dedup,
            commands: Vec::new(),
            kinds: Vec::new(),
            scratch: Vec::new(),
        }
    }
}

/// A kind of the frame under construction, found by the addresses of its names.
#[derive(Debug)]
pub(super) struct KnownKind {
    category: &'static str,
    event_type: &'static str,
    schema_version: u32,
    number: u32,
}

/// The stream that an event belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its category.
    pub category: &'static str,
    /// What stands behind the category.
    pub id: &'a str,
    /// Hash of the whole id.
    pub hash: u64,
}

/// What an input works with while it takes items.
pub struct Turn<'a> {
    /// The partition.
    pub partition: PartitionId,
    /// When this turn's events are recorded. Not before those of earlier turns.
    pub now: Timestamp,
    /// Monotonic time at the turn's start.
    pub monotonic: Duration,
    /// Number of the frame under construction, from 1; counts within this process.
    pub frame: u64,
    /// Every frame up to this number is durable.
    pub settled: u64,
    /// Durable events of this partition's streams.
    pub streams: &'a dyn StreamReader,
    /// The engine's clock, for measuring.
    pub clock: &'a dyn Clock,
    pub(super) watch: &'a Watch,
    pub(super) first: Offset,
    pub(super) frame_bytes_max: usize,
    /// Whether something waits for the next frame, which nothing may overtake.
    pub(super) is_closed: bool,
    pub(super) shop: &'a mut Workshop,
}

/// Where a turn stood, to be rewound to.
#[derive(Clone, Copy, Debug)]
pub struct TurnMark(FrameMark);

impl Turn<'_> {
    /// Says whose command is decided next, so that one that never ends can be named.
    #[inline]
    pub fn deciding(&self, id: &str) {
        self.watch.deciding(id);
    }

    /// Whether the frame holds as much as it should.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_closed || self.taken_bytes() >= self.frame_bytes_max
    }

    /// Bytes of the frame's events and of its commands' ids.
    fn taken_bytes(&self) -> usize {
        self.shop.builder.record_bytes() + self.shop.commands.len()
    }

    /// Offset that the next event gets.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.first.plus(u64::from(self.shop.builder.count()))
    }

    /// Where the frame stands, for [`rewind`](Self::rewind).
    #[must_use]
    pub fn mark(&self) -> TurnMark {
        TurnMark(self.shop.builder.mark())
    }

    /// Takes back every event since `mark`.
    pub fn rewind(&mut self, mark: TurnMark) {
        self.shop.builder.rewind(mark.0);
        let kept = self.shop.builder.kinds();
        self.shop.kinds.retain(|kind| (kind.number as usize) < kept);
    }

    /// Whether what was refused with `error`, and taken back, is to be tried again in the next turn: it may fit into a frame of its
    /// own, and there are events of others in this one. Then the frame is [full](Self::is_full), so that nothing overtakes it.
    pub fn defers(&mut self, error: &TurnError) -> bool {
        let is_too_large = matches!(error, TurnError::Draft(DraftError::TooLarge { .. }));
        let defers = is_too_large && !self.shop.builder.is_empty();
        self.is_closed |= defers;
        defers
    }

    /// Appends a typed event as number `version` of its stream. Cost: one encoding, no allocation once
    /// the type has been seen.
    ///
    /// # Errors
    /// [`TurnError`]; the frame is as it was.
    pub fn append<E: Event>(
        &mut self,
        target: Target<'_>,
        version: u64,
        event: &E,
        metadata: Option<&Metadata>,
        event_time: Option<Timestamp>,
    ) -> Result<usize, TurnError> {
        let mut payload = std::mem::take(&mut self.shop.scratch);
        payload.clear();
        let encoded = self.shop.encoder.encode(event, &mut payload);
        let outcome = match encoded.map_err(TurnError::from).and_then(|event_type| {
            self.check_room(payload.len())?;
            Ok(event_type)
        }) {
            Ok(event_type) => {
                let kind = self.kind(target.category, event_type, E::VERSION, E::ENCODING);
                let draft = Draft {
                    kind,
                    stream: target.id,
                    hash: target.hash,
                    version,
                    event_time,
                    id: None,
                    metadata: metadata.cloned().unwrap_or_default(),
                    payload: &payload,
                };
                let pushed = self.shop.builder.push(self.now, &draft);
                pushed.map(|()| payload.len()).map_err(TurnError::from)
            }
            Err(error) => Err(error),
        };
        self.shop.scratch = payload;
        outcome
    }

    /// Whether an event of this size leaves room for what is put beside the events when the frame is sealed, such as the id of
    /// its own command: then it is too late to refuse it.
    fn check_room(&self, payload_bytes: usize) -> Result<(), DraftError> {
        let bytes = self.taken_bytes() + dedup::ENTRY_BYTES + payload_bytes;
        if bytes > BODY_BYTES_MAX - ATTACHMENT_BYTES {
            return Err(DraftError::TooLarge { bytes });
        }
        Ok(())
    }

    /// Appends an event whose payload `fill` writes: for raw appends, whose names are not the program's.
    ///
    /// # Errors
    /// [`TurnError`]; the frame is as it was.
    pub(super) fn append_raw(
        &mut self,
        kind: &Kind,
        draft: &RawDraft<'_>,
        payload: &[u8],
    ) -> Result<(), TurnError> {
        self.check_room(payload.len())?;
        let draft = Draft {
            kind: self.shop.builder.kind(kind),
            stream: draft.stream,
            hash: draft.hash,
            version: draft.version,
            event_time: draft.event_time,
            id: draft.id,
            metadata: draft.metadata.clone(),
            payload,
        };
        Ok(self.shop.builder.push(self.now, &draft)?)
    }

    pub(super) fn encoder(&mut self) -> &mut EventEncoder {
        &mut self.shop.encoder
    }

    /// What a command with this id to the stream with this hash came to, if it was seen.
    #[must_use]
    pub fn seen(&self, stream: u64, id: CommandId) -> Option<Seen> {
        self.shop.dedup.get(stream, id)
    }

    /// Remembers a command to the stream with this hash, whose `events` last events of the frame are its own.
    pub fn remember(&mut self, stream: u64, id: CommandId, seen: Seen) {
        let slot = (seen.first.0 - self.first.0) as u32;
        dedup::write(&mut self.shop.commands, id, slot, seen.events, seen.version);
        let now = Moment {
            recorded: self.now,
            monotonic: self.monotonic,
        };
        self.shop.dedup.insert(stream, id, seen, now);
    }

    /// The kind's number in this frame. Names of the program are compared by address first.
    fn kind(
        &mut self,
        category: &'static str,
        event_type: &'static str,
        schema_version: u32,
        encoding: Encoding,
    ) -> u32 {
        let known = self.shop.kinds.iter().find(|kind| {
            std::ptr::eq(kind.event_type, event_type)
                && std::ptr::eq(kind.category, category)
                && kind.schema_version == schema_version
        });
        if let Some(kind) = known {
            return kind.number;
        }
        let number = self.shop.builder.kind(&Kind {
            category: category.into(),
            event_type: event_type.into(),
            schema_version,
            encoding,
        });
        self.shop.kinds.push(KnownKind {
            category,
            event_type,
            schema_version,
            number,
        });
        number
    }
}

/// An event of a raw append but for kind and payload.
#[derive(Debug)]
pub(super) struct RawDraft<'a> {
    pub(super) stream: &'a str,
    pub(super) hash: u64,
    pub(super) version: u64,
    pub(super) event_time: Option<Timestamp>,
    pub(super) id: Option<EventId>,
    pub(super) metadata: Metadata,
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn")
            .field("partition", &self.partition)
            .field("frame", &self.frame)
            .finish_non_exhaustive()
    }
}
