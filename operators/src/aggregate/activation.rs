//! Bringing an instance into memory: its snapshot, if there is a good one, and the events after it.

use millstream_engine::codec::{DecodeError, EventReader, StandaloneReader};
use millstream_engine::event::StreamId;
use millstream_engine::log::frame::{Frame, Record, SHAPES};
use millstream_engine::log::{Direction, LogError, StreamReader, StreamRef, for_each_event};
use millstream_engine::stage::{caught, panic_message};
use millstream_engine::state::{ProgressStanding, Snapshot, StateStore};

use super::Aggregate;
use super::command::CommandError;

/// Below this many events a snapshot is not looked for: replaying them is cheaper.
const SNAPSHOT_EVENTS_MIN: u64 = 16;

/// Reads instances of one aggregate type.
#[derive(Debug)]
pub(super) struct Activator<A: Aggregate> {
    events: EventReader<A::Event>,
    states: StandaloneReader,
    store: Option<StateStore>,
}

/// What activation found.
#[derive(Debug)]
pub(super) struct Activated<A> {
    pub(super) state: A,
    /// Events of the stream.
    pub(super) events: u64,
    /// How many of them were replayed, rather than taken from a snapshot.
    pub(super) replayed: u64,
    /// Bytes of the payloads that were replayed, or of the snapshot's state.
    pub(super) bytes: usize,
}

/// Why replay stopped.
enum Stop {
    Log(LogError),
    Decode(u64, DecodeError),
    Panic(String),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl<R> From<Stop> for CommandError<R> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Log(error) => error.into(),
            Stop::Decode(version, cause) => Self::Unreadable { version, cause },
            Stop::Panic(message) => Self::Panicked { message },
        }
    }
}

impl<A: Aggregate> Activator<A> {
    pub(super) fn new(store: Option<StateStore>) -> Self {
        Self {
            events: EventReader::new(),
            states: StandaloneReader::new(),
            store,
        }
    }

    /// The state that the durable events of a stream give.
    pub(super) fn activate(
        &mut self,
        stream: StreamRef<'_>,
        streams: &dyn StreamReader,
    ) -> Result<Activated<A>, CommandError<A::Rejection>> {
        let mut found = Activated {
            state: A::default(),
            events: 0,
            replayed: 0,
            bytes: 0,
        };
        // One look at the index tells a new stream, mostly by its filters alone. Another stream may
        // share the hash, so more than that it does not tell.
        let newest = streams.locate(
            stream.partition,
            stream.hash,
            u64::MAX,
            1,
            Direction::Backwards,
        )?;
        let Some(newest) = newest.first() else {
            return Ok(found);
        };
        if newest.version >= SNAPSHOT_EVENTS_MIN
            && let Some(snapshot) = self.snapshot(stream, streams)
        {
            found = snapshot;
        }
        self.replay(stream, streams, &mut found)?;
        Ok(found)
    }

    fn replay(
        &mut self,
        stream: StreamRef<'_>,
        streams: &dyn StreamReader,
        found: &mut Activated<A>,
    ) -> Result<(), Stop> {
        let from = found.events;
        for_each_event(
            streams,
            stream,
            from,
            usize::MAX,
            Direction::Forwards,
            |frame, record| {
                let state = &mut found.state;
                // Reading an event runs its `Deserialize` and upcasters, which are user code as well.
                caught(|| {
                    let event = self.decode(frame, record)?;
                    state.evolve(&event);
                    Ok(())
                })
                .map_err(|panic| Stop::Panic(panic_message(&*panic).to_owned()))?
                .map_err(|cause| Stop::Decode(record.version, cause))?;
                found.events = record.version + 1;
                found.replayed += 1;
                found.bytes += record.payload.len();
                Ok(())
            },
        )
        .map(|_| ())
    }

    fn decode(&mut self, frame: &Frame, record: &Record<'_>) -> Result<A::Event, DecodeError> {
        self.events
            .begin_frame(frame.attachment(SHAPES).unwrap_or_default())?;
        self.events.decode(record.kind, record.payload)
    }

    /// A snapshot is used only if all about it fits; whatever is wrong with it, the events are there.
    fn snapshot(
        &mut self,
        stream: StreamRef<'_>,
        streams: &dyn StreamReader,
    ) -> Option<Activated<A>> {
        let id = StreamId::new(stream.category, stream.id).ok()?;
        let snapshot = self.store.as_ref()?.snapshot(&id)?;
        if snapshot.aggregate_version != A::VERSION || !is_of_this_log(&snapshot, streams) {
            return None;
        }
        let states = &mut self.states;
        let decoded = caught(|| states.decode(&snapshot.bytes).map(Some));
        let decoded = decoded.unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            tracing::warn!(stream = %id, message, "reading a snapshot panicked, rebuilding from events");
            Ok(None)
        });
        match decoded {
            Ok(None) => None,
            Ok(Some(state)) => Some(Activated {
                state,
                events: snapshot.stream_version,
                replayed: 0,
                bytes: snapshot.bytes.len(),
            }),
            Err(cause) => {
                tracing::warn!(stream = %id, %cause, "snapshot cannot be read, rebuilding from events");
                None
            }
        }
    }
}

fn is_of_this_log(snapshot: &Snapshot, streams: &dyn StreamReader) -> bool {
    let standing = snapshot.check(streams);
    matches!(standing, Ok(ProgressStanding::Valid))
}
