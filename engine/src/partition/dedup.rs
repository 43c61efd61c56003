//! The window of command ids: a repeat gets the first answer again, and has no second effect.
//!
//! Invariants: (1) an id is known together with the stream that its command went to: under the same id another stream is
//! sent another command; (2) ids, offsets and times stand in the frames, so that after a restart the window has what it had, but
//! for what is too old by then; (3) an id is too old only if recorded time and monotonic time both say so, so that no jump of the
//! machine's clock makes a window forget what it learnt a moment ago. Commands that emitted nothing are not in
//! it: they had no effect that could be repeated. Cost: a hash lookup per command with an id, none
//! without.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DedupLimits;
use crate::event::{Offset, PartitionId, stream_hash};
use crate::log::frame::{COMMANDS, Frame, FramePart};
use crate::log::{LogError, LogReader, recorded_before};
use crate::time::Timestamp;

/// Name that a caller gives a command, so that it may be sent again. It names a command to one stream: what is sent to
/// another stream under it is another command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Offset of its first event.
    pub first: Offset,
    /// How many events it emitted, at least 1.
    pub events: u32,
    /// Number of its last event in its stream.
    pub version: u64,
}

/// Bytes of one entry of the attachment: id, slot, events, version.
pub(super) const ENTRY_BYTES: usize = 16 + 4 + 4 + 8;
/// Bytes of frames read at a time to fill the window.
const READ_BYTES: usize = 1 << 20;
/// Records of a frame that are passed over to the next command, rather than looked for.
const PASSED_MAX: u32 = 16;

/// Ids of the commands seen lately.
#[derive(Debug)]
pub struct DedupWindow {
    limits: DedupLimits,
    /// Commands in the order of their events.
    entries: VecDeque<Entry>,
    /// Number of the first of them; they are counted on for ever.
    first: u64,
    /// Numbers of entries by what they are known by; of two that are the same the younger one.
    numbers: HashTable<u64>,
    hasher: RandomState,
}

/// A command that was seen.
#[derive(Debug)]
struct Entry {
    /// Hash of the whole id of its stream.
    stream: u64,
    id: CommandId,
    seen: Seen,
    /// When it was recorded.
    at: Timestamp,
    /// Monotonic time up to which it is not too old, in nanoseconds.
    until: u64,
}

/// A moment, by both of the times that the age of an id is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Time as events are recorded.
    pub recorded: Timestamp,
    /// Monotonic time.
    pub monotonic: Duration,
}

impl DedupWindow {
    /// An empty window.
    #[must_use]
    pub fn new(limits: DedupLimits) -> Self {
        Self {
            limits,
            entries: VecDeque::new(),
            first: 0,
            numbers: HashTable::new(),
            hasher: RandomState::default(),
        }
    }

    /// The window as the log's frames give it at `now`. Time in which no engine ran makes no id older, since a clock that is
    /// wrong at a start would make all of them so: the age of an id is how long before `now` or before the log's last event it
    /// was recorded, whichever is less, and is counted on in monotonic time.
    ///
    /// # Errors
    /// As [`LogReader::read`]; [`LogError::Chain`] when an attachment is malformed.
    pub fn load(
        limits: DedupLimits,
        reader: &dyn LogReader,
        partition: PartitionId,
        now: Moment,
    ) -> Result<Self, LogError> {
        let mut window = Self::new(limits);
        let end = reader.head(partition)?.next;
        let now = Moment {
            recorded: now.recorded.min(recorded_before(reader, partition, end)?),
            ..now
        };
        let mut next = Offset(end.0.saturating_sub(limits.events_max));
        while next < end {
            let frames = reader.read_part(partition, next, READ_BYTES, FramePart::Commands)?;
            let Some(last) = frames.last() else { break };
            next = last.header().end();
            for frame in &frames {
                window.add_frame(frame, now)?;
            }
        }
        Ok(window)
    }

    fn add_frame(&mut self, frame: &Frame, now: Moment) -> Result<(), LogError> {
        let Some(bytes) = frame.attachment(COMMANDS) else {
            return Ok(());
        };
        let header = frame.header();
        let malformed = || LogError::Chain {
            partition: header.partition,
            expected: header.first,
            found: header.first,
            what: "its list of command ids is malformed",
        };
        if bytes.len() % ENTRY_BYTES != 0 {
            return Err(malformed());
        }
        let at = header.recorded_last;
        let left = self.limits.age_max.checked_sub(now.recorded.since(at));
        // Commands stand in the order of their events: mostly the next record is the one, or one close behind.
        let (mut records, mut next) = (frame.records_from(0), 0);
        let mut name = String::new();
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            let (id, slot, events, version) = parse(entry).ok_or_else(malformed)?;
            if slot >= header.count || events == 0 || events > header.count - slot {
                return Err(malformed());
            }
            if slot < next || slot - next >= PASSED_MAX {
                (records, next) = (frame.records_from(slot), slot);
            }
            let record = records.nth((slot - next) as usize).ok_or_else(malformed)?;
            next = slot + 1;
            name.clear();
            let _ = write!(name, "{}-{}", record.kind.category, record.stream); // Into a string: never fails.
            let stream = stream_hash(&name);
            let seen = Seen {
                first: header.first.plus(u64::from(slot)),
                events,
                version,
            };
            if let Some(left) = left {
                let until = nanos(now.monotonic.saturating_add(left));
                self.push(Entry {
                    stream,
                    id,
                    seen,
                    at,
                    until,
                });
            }
        }
        self.forget(header.end(), now);
        Ok(())
    }

    fn hash(&self, stream: u64, id: CommandId) -> u64 {
        hash(&self.hasher, stream, id)
    }

    /// What a command to the stream with this hash came to, if it was seen.
    #[must_use]
    pub fn get(&self, stream: u64, id: CommandId) -> Option<Seen> {
        let number = self.numbers.find(self.hash(stream, id), |&number| {
            self.entries[(number - self.first) as usize].is_of(stream, id)
        })?;
        Some(self.entries[(number - self.first) as usize].seen)
    }

    /// Remembers a command to the stream with this hash, decided at `now`.
    pub fn insert(&mut self, stream: u64, id: CommandId, seen: Seen, now: Moment) {
        let until = nanos(now.monotonic.saturating_add(self.limits.age_max));
        self.push(Entry {
            stream,
            id,
            seen,
            at: now.recorded,
            until,
        });
    }

    fn push(&mut self, entry: Entry) {
        let (stream, id) = (entry.stream, entry.id);
        let number = self.first + self.entries.len() as u64;
        self.entries.push_back(entry);
        let (entries, hasher, first) = (&self.entries, &self.hasher, self.first);
        let entry = |number: u64| &entries[(number - first) as usize];
        let place = self.numbers.entry(
            hash(hasher, stream, id),
            |&number| entry(number).is_of(stream, id),
            |&number| hash(hasher, entry(number).stream, entry(number).id),
        );
        place.and_modify(|known| *known = number).or_insert(number);
    }

    /// Forgets what is out of the window when the next event gets the offset `next`. Call once per turn.
    pub fn forget(&mut self, next: Offset, now: Moment) {
        let monotonic = nanos(now.monotonic);
        while let Some(entry) = self.entries.front() {
            let is_too_old =
                monotonic > entry.until && now.recorded.since(entry.at) > self.limits.age_max;
            let is_recent = entry.seen.first.0.saturating_add(self.limits.events_max) >= next.0
                && self.entries.len() <= self.limits.ids_max;
            if is_recent && !is_too_old {
                return;
            }
            // A command that came again after it was forgotten has a younger entry of its own, and that number.
            let (hash, number) = (self.hash(entry.stream, entry.id), self.first);
            if let Ok(known) = self.numbers.find_entry(hash, |&known| known == number) {
                known.remove();
            }
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Ids remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether no id is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

impl Entry {
    fn is_of(&self, stream: u64, id: CommandId) -> bool {
        self.id == id && self.stream == stream
    }
}

/// Five centuries are enough for a process.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn hash(hasher: &RandomState, stream: u64, id: CommandId) -> u64 {
    hasher.hash_one((stream, id.0.as_u128()))
}

/// Appends the entry of a command whose first event stands in `slot` of its frame.
pub(super) fn write(out: &mut Vec<u8>, id: CommandId, slot: u32, events: u32, version: u64) {
    out.extend_from_slice(id.0.as_bytes());
    out.extend_from_slice(&slot.to_be_bytes());
    out.extend_from_slice(&events.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
}

fn parse(entry: &[u8]) -> Option<(CommandId, u32, u32, u64)> {
    let (id, rest) = entry.split_first_chunk()?;
    let (slot, rest) = rest.split_first_chunk()?;
    let (events, rest) = rest.split_first_chunk()?;
    let version = rest.first_chunk()?;
    Some((
        CommandId(Uuid::from_bytes(*id)),
        u32::from_be_bytes(*slot),
        u32::from_be_bytes(*events),
        u64::from_be_bytes(*version),
    ))
}
