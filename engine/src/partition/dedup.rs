//! The window of command ids: a repeat gets the first answer again, and has no second effect.
//!
//! Invariants: the window is a function of the partition's frames and the limits (ids, offsets and times
//! stand in the frames), so after a restart it is what it was. Commands that emitted nothing are not in
//! it: they had no effect that could be repeated. Cost: a hash lookup per command with an id, none
//! without.

use std::collections::VecDeque;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DedupLimits;
use crate::event::{Offset, PartitionId};
use crate::log::frame::{COMMANDS, Frame};
use crate::log::{LogError, LogReader};
use crate::time::Timestamp;

/// Name that a caller gives a command, so that it may be sent again.
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
const ENTRY_BYTES: usize = 16 + 4 + 4 + 8;
/// Bytes of frames read at a time to fill the window.
const READ_BYTES: usize = 1 << 20;

/// Ids of the commands seen lately.
#[derive(Debug)]
pub struct DedupWindow {
    limits: DedupLimits,
    seen: HashMap<CommandId, Seen, foldhash::fast::RandomState>,
    order: VecDeque<(Offset, Timestamp, CommandId)>,
}

impl DedupWindow {
    /// An empty window.
    #[must_use]
    pub fn new(limits: DedupLimits) -> Self {
        Self {
            limits,
            seen: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    /// The window as the log's frames give it.
    ///
    /// # Errors
    /// As [`LogReader::read`]; [`LogError::Chain`] when an attachment is malformed.
    pub fn load(
        limits: DedupLimits,
        reader: &dyn LogReader,
        partition: PartitionId,
    ) -> Result<Self, LogError> {
        let mut window = Self::new(limits);
        let end = reader.head(partition)?.next;
        let mut next = Offset(end.0.saturating_sub(limits.events_max));
        while next < end {
            let frames = reader.read(partition, next, READ_BYTES)?;
            let Some(last) = frames.last() else { break };
            next = last.header().end();
            for frame in &frames {
                window.add_frame(frame)?;
            }
        }
        Ok(window)
    }

    fn add_frame(&mut self, frame: &Frame) -> Result<(), LogError> {
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
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            let (id, slot, events, version) = parse(entry).ok_or_else(malformed)?;
            if slot >= header.count || events == 0 || events > header.count - slot {
                return Err(malformed());
            }
            let seen = Seen {
                first: header.first.plus(u64::from(slot)),
                events,
                version,
            };
            self.insert(id, seen, header.recorded_last);
        }
        self.forget(header.end(), header.recorded_last);
        Ok(())
    }

    /// What a command came to, if it was seen.
    #[must_use]
    pub fn get(&self, id: CommandId) -> Option<Seen> {
        self.seen.get(&id).copied()
    }

    /// Remembers a command.
    pub fn insert(&mut self, id: CommandId, seen: Seen, at: Timestamp) {
        self.order.push_back((seen.first, at, id));
        self.seen.insert(id, seen);
    }

    /// Forgets what is out of the window when the next event gets the offset `next`. Call once per turn.
    pub fn forget(&mut self, next: Offset, now: Timestamp) {
        while let Some(&(first, at, id)) = self.order.front() {
            let is_recent = first.0.saturating_add(self.limits.events_max) >= next.0
                && now.since(at) <= self.limits.age_max
                && self.order.len() <= self.limits.ids_max;
            if is_recent {
                return;
            }
            self.order.pop_front();
            // An id that came again after it was forgotten has a younger entry of its own.
            if self.seen.get(&id).is_some_and(|seen| seen.first == first) {
                self.seen.remove(&id);
            }
        }
    }

    /// Ids remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether no id is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
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
