//! What a stream of the log holds of earlier runs, for a log sink that appends each item once.
//!
//! Place: [`LogSink`](super::LogSink) -> **standing** of each stream. The last event that is stored is kept as a
//! fingerprint until the item of its number is computed again: if they differ, this run computes something else than
//! the one before, and dropping repetitions by their number would leave wrong results in the log without a word.
//! Only the last one is compared: it is the one that differs where an earlier run ended in the middle of something.
//! Not compared is an event of another version of its type, which the program has changed since.
//! Cost: the first item of a stream reads the index and one frame; the comparison encodes one item per stream.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use millstream_engine::codec::{Event, EventEncoder, EventReader};
use millstream_engine::event::{EventId, StreamId};
use millstream_engine::flow::Fault;
use millstream_engine::log::frame::{Frame, Record, SHAPES};
use millstream_engine::log::{Direction, LogError, StreamRef, for_each_event};
use millstream_engine::time::Timestamp;

use crate::source::LogAccess;

/// Where a stream stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Number of the next item.
    next: u64,
    /// Items that earlier runs appended.
    stored: u64,
    last: Option<Stored>,
}

/// What the last event of earlier runs was.
#[derive(Clone, Copy, Debug)]
struct Stored {
    time: Timestamp,
    /// Of its payload.
    fingerprint: u64,
}

/// What was found of a stream's last event.
struct Last {
    version: u64,
    id: EventId,
    stored: Result<Option<Stored>, String>,
}

impl Standing {
    /// Where `stream` stands in the log before the first item of this run.
    pub(super) fn read<E: Event>(
        log: &LogAccess,
        producer: &str,
        stream: &StreamId,
    ) -> Result<Self, Fault> {
        let reader = log.streams();
        let reference = StreamRef::new(stream, reader.partitions());
        let mut last = None;
        let read = for_each_event::<_, LogError>(
            &**reader,
            reference,
            u64::MAX,
            1,
            Direction::Backwards,
            |frame, record| {
                last = Some(Last {
                    version: record.version,
                    id: record.id,
                    stored: of_record::<E>(frame, record),
                });
                Ok(())
            },
        );
        read.map_err(|error| Fault(format!("stream {stream}: {error}")))?;
        let Some(last) = last else {
            return Ok(Self {
                next: 0,
                stored: 0,
                last: None,
            });
        };
        let version = last.version;
        if last.id != EventId::derived(producer, stream.as_str(), version) {
            return Err(Fault(format!(
                "stream {stream}, which log sink {producer:?} appends to, has an event of somebody else: number \
                 {version}"
            )));
        }
        let stored = last.stored.map_err(|error| {
            Fault(format!(
                "stream {stream}: event {version}, which an earlier run of log sink {producer:?} appended, cannot be \
                 compared with what is computed now: {error}"
            ))
        })?;
        Ok(Self {
            next: 0,
            stored: version + 1,
            last: stored,
        })
    }

    /// Number of the next item.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Begins behind the items that a checkpoint has.
    pub(super) fn resume(
        &mut self,
        producer: &str,
        stream: &StreamId,
        next: u64,
    ) -> Result<(), Fault> {
        self.next = next;
        if next > self.stored {
            return Err(Fault(format!(
                "stream {stream}: the checkpoint has {next} events of log sink {producer:?}, and the log {}: it lost some, \
                 or was restored from a backup",
                self.stored
            )));
        }
        Ok(())
    }

    /// Begins at number `next`; whatever is missing before it is appended before all else. Gives how many events there are.
    pub(super) fn owe(&mut self, next: u64) -> u64 {
        let stored = self.stored;
        self.next = next;
        self.stored = stored.max(next);
        stored
    }

    /// The number of the next item; `None` if it is a repetition.
    pub(super) fn advance<E: Event>(
        &mut self,
        producer: &str,
        stream: &StreamId,
        time: Timestamp,
        event: &E,
    ) -> Result<Option<u64>, Fault> {
        let number = self.next;
        self.next += 1;
        if number >= self.stored {
            return Ok(Some(number));
        }
        if number + 1 == self.stored
            && let Some(stored) = self.last.take()
            && !stored.is(time, event)
        {
            return Err(Fault(format!(
                "stream {stream}: event {number}, which an earlier run of log sink {producer:?} appended, is not what \
                 is computed for this number now, so that repetitions cannot be told by their number. Either an \
                 earlier run ended in the middle of something, such as a window that the end of its input closed, or \
                 the dataflow or its input has changed, or items of this stream come from several partitions without \
                 an order. Give the sink another producer and other streams to write everything anew, or use \
                 to_log_at_least_once"
            )));
        }
        Ok(None)
    }
}

/// The time that an item's event is given; none where the item has none.
pub(super) fn said_time(time: Timestamp) -> Option<Timestamp> {
    (time != Timestamp::MIN && time != Timestamp::MAX).then_some(time)
}

impl Stored {
    /// Whether an item that is computed now is the same; also if that cannot be told.
    fn is<E: Event>(&self, time: Timestamp, event: &E) -> bool {
        let same_time = said_time(time).is_none_or(|time| time == self.time);
        same_time && fingerprint(event).is_none_or(|computed| computed == self.fingerprint)
    }
}

fn of_record<E: Event>(frame: &Frame, record: &Record<'_>) -> Result<Option<Stored>, String> {
    if record.kind.schema_version != E::VERSION {
        return Ok(None);
    }
    let mut events = EventReader::<E>::new();
    let begun = events.begin_frame(frame.attachment(SHAPES).unwrap_or_default());
    begun.map_err(|error| error.to_string())?;
    let event = events.decode(record.kind, record.payload);
    let event = event.map_err(|error| error.to_string())?;
    Ok(fingerprint(&event).map(|fingerprint| Stored {
        time: record.event_time,
        fingerprint,
    }))
}

/// Of an event. Through JSON where that can be, which puts maps in order; `None` for what cannot be encoded.
fn fingerprint<E: Event>(event: &E) -> Option<u64> {
    let mut bytes = Vec::new();
    match serde_json::to_value(event) {
        Ok(value) => serde_json::to_writer(&mut bytes, &value).ok()?,
        Err(_) => {
            EventEncoder::new().encode(event, &mut bytes).ok()?;
        }
    }
    Some(FixedState::default().hash_one(bytes))
}
