//! An aggregate as it was: at a moment, at every moment, between two moments, or as it would have been.
//!
//! Place: the log's stream index and the snapshots -> **[`Past`]** -> states of one aggregate. Reads only; the aggregate's
//! actor is not asked and does not notice. Answers come from what is durable.
//! Invariants: (1) what it answers is what `evolve` makes of the events of that moment from `Default` on, with the code of
//! today; (2) a snapshot is used only if the log holds the frame that it was made from, and it lies within the moment.
//! Failure: typed, see [`PastError`]; a panic of the aggregate is caught.
//! Cost: the nearest snapshot at or before the moment and the events from there on: in proportion to that distance,
//! not to the stream's length or the log's. Each event costs a look into the frame that holds it, which is unpacked
//! unless it was lately. By event time no snapshot can be used, since it does not say when its events happened:
//! the whole stream is read.
//! Threads: reads block, for about a millisecond as a rule; keep long ones off a runtime's workers.

mod diff;
mod fork;
mod history;
mod snapshot;

use std::sync::Arc;

use millstream_engine::codec::EventReader;
use millstream_engine::event::{PartitionId, Position, Recorded, StreamId};
use millstream_engine::log::frame::{Frame, Record, SHAPES};
use millstream_engine::log::{Direction, LogError, StreamReader, StreamRef, for_each_event};
use millstream_engine::stage::{caught, panic_message};
use millstream_engine::state::StateStore;
use millstream_engine::time::Timestamp;

pub use diff::AggregateDiff;
pub use fork::{Fork, WhatIf};
pub use history::{History, Step};

use super::Aggregate;
use crate::past::{At, Cut, PastError};

/// Events of the first read of a stream; each further one takes four times as many. The index is asked for as many
/// places, and most questions end soon.
const READ_EVENTS: usize = 32;
const READ_EVENTS_MAX: usize = 4_096;

/// A state of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateAt<A> {
    /// The state.
    pub state: A,
    /// Number of the last event that it has in it; by event time later ones of the stream may count and earlier ones not.
    pub version: u64,
    /// Place of that event.
    pub position: Position,
    /// When the log took that event.
    pub recorded_at: Timestamp,
}

/// The past of one aggregate.
pub struct Past<A: Aggregate> {
    streams: Arc<dyn StreamReader>,
    snapshots: Option<StateStore>,
    stream: StreamId,
    partition: PartitionId,
    events: EventReader<A::Event>,
}

impl<A: Aggregate> std::fmt::Debug for Past<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// Why a walk over a stream ended before its end.
enum Stop {
    Enough,
    Failed(PastError),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Failed(error.into())
    }
}

impl<A: Aggregate> Past<A> {
    /// The past of the aggregate `id` in a log; without `snapshots` all of it is replayed.
    ///
    /// # Errors
    /// [`PastError::StreamId`].
    pub fn open(
        streams: Arc<dyn StreamReader>,
        snapshots: Option<StateStore>,
        id: &str,
    ) -> Result<Self, PastError> {
        let stream = StreamId::new(A::CATEGORY, id)?;
        let partition = stream.partition(streams.partitions());
        Ok(Self {
            streams,
            snapshots,
            stream,
            partition,
            events: EventReader::new(),
        })
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Its state at a moment; `None` when nothing had happened to it by then. Cost: see the module's head.
    ///
    /// # Errors
    /// [`PastError`]; [`PastError::NoSuchVersion`] for a version that it has not come to.
    pub fn at(&mut self, at: &At) -> Result<Option<AggregateAt<A>>, PastError> {
        let cut = at.cut(&*self.streams, self.partition)?;
        self.at_cut(&cut)
    }

    fn at_cut(&mut self, cut: &Cut) -> Result<Option<AggregateAt<A>>, PastError> {
        let mut found = self.nearest(cut)?;
        let from = found.as_ref().map_or(0, |found| found.version + 1);
        self.replay(from, cut, |event| {
            let before = found.take().map_or_else(A::default, |found| found.state);
            found = Some(evolved(before, &event)?);
            Ok(())
        })?;
        let events = found.as_ref().map_or(0, |found| found.version + 1);
        match cut.version() {
            Some(version) if version >= events => Err(self.no_such(version, events)),
            _ => Ok(found),
        }
    }

    /// Hands the events of a moment to `with`, from a version (inclusive) on.
    fn replay(
        &mut self,
        from: u64,
        cut: &Cut,
        mut with: impl FnMut(Recorded<A::Event>) -> Result<(), PastError>,
    ) -> Result<(), PastError> {
        if cut.version().is_some_and(|last| last < from) {
            return Ok(());
        }
        let streams = Arc::clone(&self.streams);
        let stream = self.stream.clone();
        let reference = StreamRef::new(&stream, streams.partitions());
        let (mut next, mut limit) = (from, READ_EVENTS);
        loop {
            let walked = for_each_event(
                &*streams,
                reference,
                next,
                limit,
                Direction::Forwards,
                |frame, record| {
                    if record.offset >= cut.end() {
                        return Err(Stop::Enough);
                    }
                    if cut.holds(record) {
                        let event = self.read(frame, record);
                        event.and_then(&mut with).map_err(Stop::Failed)?;
                    }
                    next = record.version + 1;
                    if cut.ends_with(record.offset, record.version) {
                        return Err(Stop::Enough);
                    }
                    Ok(())
                },
            );
            match walked {
                Ok(seen) if seen == limit => limit = (limit * 4).min(READ_EVENTS_MAX),
                Ok(_) | Err(Stop::Enough) => return Ok(()),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
    }

    /// Reading an event runs its `Deserialize` and upcasters, which are user code.
    fn read(
        &mut self,
        frame: &Frame,
        record: &Record<'_>,
    ) -> Result<Recorded<A::Event>, PastError> {
        let events = &mut self.events;
        let decoded = caught(|| {
            events.begin_frame(frame.attachment(SHAPES).unwrap_or_default())?;
            events.decode(record.kind, record.payload)
        });
        let payload = match decoded {
            Ok(decoded) => decoded.map_err(|cause| PastError::Unreadable {
                stream: self.stream.to_string(),
                version: record.version,
                cause,
            }),
            Err(panic) => Err(panicked(&self.stream, record.version, &*panic)),
        }?;
        Ok(Recorded {
            id: record.id,
            stream: self.stream.clone(),
            version: record.version,
            position: Position {
                partition: self.partition,
                offset: record.offset,
            },
            recorded_at: record.recorded_at,
            event_time: record.event_time,
            metadata: record.metadata.clone(),
            payload,
        })
    }

    fn no_such(&self, version: u64, events: u64) -> PastError {
        PastError::NoSuchVersion {
            stream: self.stream.to_string(),
            version,
            events,
        }
    }
}

/// The state after one more event.
fn evolved<A: Aggregate>(
    mut state: A,
    event: &Recorded<A::Event>,
) -> Result<AggregateAt<A>, PastError> {
    evolve(&mut state, &event.payload, &event.stream, event.version)?;
    Ok(AggregateAt {
        state,
        version: event.version,
        position: event.position,
        recorded_at: event.recorded_at,
    })
}

fn evolve<A: Aggregate>(
    state: &mut A,
    event: &A::Event,
    stream: &StreamId,
    version: u64,
) -> Result<(), PastError> {
    caught(|| state.evolve(event)).map_err(|panic| panicked(stream, version, &*panic))
}

fn panicked(stream: &StreamId, version: u64, panic: &(dyn std::any::Any + Send)) -> PastError {
    PastError::Panicked {
        stream: stream.to_string(),
        version,
        message: panic_message(panic).to_owned(),
    }
}
