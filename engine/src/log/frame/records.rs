//! The events of a frame: read one after another, from one of them on, or only some kinds of them.

use std::ops::Range;

use super::BODY_BYTES_MAX;
use super::bytes::Cursor;
use super::header::FrameError;
use super::kind_set::KindSet;
use super::parse::Frame;
use super::record::{RECORD_BYTES_MIN, Record, Stored};
use crate::event::{EventId, STREAM_ID_BYTES_MAX};
use crate::time::Timestamp;

/// Events whose kinds are told together: passing over many that nobody wants looks at few of them.
const STRIDE: usize = 16;
/// Place of a record that was not read.
const LEFT: u32 = u32::MAX;

/// Where the events of a frame begin in its body.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    /// By number of the event; [`LEFT`] for one that was not read.
    at: Vec<u32>,
    /// Of the events of each stride that were read, and maybe others.
    kinds: Vec<KindSet>,
}

impl Starts {
    /// Of records that begin at `at`, none of which was looked at.
    pub(super) fn unlooked(at: Vec<u32>) -> Self {
        Self {
            kinds: vec![KindSet::ALL; at.len().div_ceil(STRIDE)],
            at,
        }
    }

    /// Reads `count` records once, of `kinds` kinds, which begin at `records_at` and end with the body.
    pub(super) fn check(
        body: &[u8],
        records_at: usize,
        count: usize,
        kinds: usize,
    ) -> Result<Self, FrameError> {
        // The count comes from the bytes: nothing is reserved for more records than they can hold.
        let mut starts = Self::with_capacity(count.min(body.len() / RECORD_BYTES_MIN));
        let mut cursor = Cursor::new(body, records_at);
        let mut left = count;
        while left > 0 {
            let stride = left.min(STRIDE);
            let mut set = KindSet::NONE;
            for _ in 0..stride {
                starts.at.push(cursor.at as u32); // A body has at most 64 MiB.
                set.add(check_record(&mut cursor, kinds)?);
            }
            starts.kinds.push(set);
            left -= stride;
        }
        if cursor.is_at_end() {
            Ok(starts)
        } else {
            Err(FrameError::Malformed {
                at: cursor.at,
                what: "the end of the body",
            })
        }
    }

    /// Reads records once that lie by kind, of `count` events those of the kinds whose sections are there.
    pub(super) fn check_apart(
        body: &[u8],
        count: usize,
        sections: &[Option<Range<usize>>],
    ) -> Result<Self, FrameError> {
        // The count comes from the bytes: nothing is reserved for more than a body can hold.
        if count > BODY_BYTES_MAX / RECORD_BYTES_MIN {
            return Err(FrameError::Malformed {
                at: 12,
                what: "as many events as a body can hold",
            });
        }
        let mut starts = Self {
            at: vec![LEFT; count],
            kinds: vec![KindSet::NONE; count.div_ceil(STRIDE)],
        };
        for (kind, section) in (0..).zip(sections) {
            if let Some(section) = section {
                starts.check_kind(&body[..section.end], section.start, kind, sections.len())?;
            }
        }
        Ok(starts)
    }

    /// Reads the records of a kind, whose section begins at `at` and ends with `body`.
    fn check_kind(
        &mut self,
        body: &[u8],
        at: usize,
        kind: u32,
        kinds: usize,
    ) -> Result<(), FrameError> {
        let fault = |at, what| FrameError::Malformed { at, what };
        let mut slots = Cursor::new(body, at);
        let events = slots
            .varint()
            .ok_or(fault(at, "how many events of a kind"))?;
        let mut records = slots.clone();
        for _ in 0..events {
            let distance = records.varint();
            distance.ok_or(fault(records.at, "the number of an event"))?;
        }
        let mut slot = 0u64;
        for _ in 0..events {
            slot = slot.saturating_add(slots.varint().unwrap_or(u64::MAX));
            let at = records.at;
            let place = usize::try_from(slot).ok();
            let place = place.and_then(|slot| self.at.get_mut(slot));
            let Some(place) = place.filter(|place| **place == LEFT) else {
                return Err(fault(at, "a number in the frame that no other event has"));
            };
            *place = at as u32; // A body has at most 64 MiB.
            self.kinds[slot as usize / STRIDE].add(kind);
            if check_record(&mut records, kinds)? != kind {
                return Err(fault(at, "a record of the kind that it lies with"));
            }
        }
        if records.is_at_end() {
            Ok(())
        } else {
            Err(fault(records.at, "the end of the records of a kind"))
        }
    }

    /// Whether all events were read.
    pub(super) fn are_all(&self) -> bool {
        !self.at.contains(&LEFT)
    }

    fn with_capacity(events: usize) -> Self {
        Self {
            at: Vec::with_capacity(events),
            kinds: Vec::with_capacity(events.div_ceil(STRIDE)),
        }
    }

    /// Memory taken, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.at.capacity() * size_of::<u32>() + self.kinds.capacity() * size_of::<KindSet>()
    }
}

impl Frame {
    /// The events, in order; of a frame of which [not all was read](Self::parse_part) those that were.
    ///
    /// # Panics
    /// Never on a frame that `parse` gave: it has read every record once.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records_from(0)
    }

    /// The events from number `slot` of the frame on, in order; none behind its end.
    ///
    /// # Panics
    /// As [`records`](Self::records).
    pub fn records_from(&self, slot: u32) -> impl Iterator<Item = Record<'_>> {
        let rest = self.starts.at.get(slot as usize..).unwrap_or_default();
        let read = (slot..).zip(rest).filter(|(_, start)| **start != LEFT);
        read.map(|(slot, start)| self.record(slot, *start))
    }

    /// The events of some kinds from number `slot` of the frame on, in order; of a frame with many kinds maybe others as
    /// well. Cost: strides of records without any are passed over at once, of others each is looked at.
    ///
    /// # Panics
    /// As [`records`](Self::records).
    pub fn records_of(&self, slot: u32, wanted: KindSet) -> impl Iterator<Item = Record<'_>> {
        let mut next = slot as usize / STRIDE * STRIDE;
        std::iter::from_fn(move || {
            while let Some(&start) = self.starts.at.get(next) {
                if next.is_multiple_of(STRIDE) && !self.starts.kinds[next / STRIDE].meets(wanted) {
                    next += STRIDE;
                    continue;
                }
                let own = next as u32; // A frame counts its events in as many bits.
                next += 1;
                if own >= slot && start != LEFT && wanted.may_have(self.kind_at(start)) {
                    return Some(self.record(own, start));
                }
            }
            None
        })
    }

    /// Kind of the record that begins at `start`.
    #[inline]
    fn kind_at(&self, start: u32) -> u32 {
        let kind = Cursor::new(&self.body, start as usize).varint();
        kind.unwrap_or(u64::MAX) as u32
    }

    /// The record that begins at `start`.
    #[inline]
    fn record(&self, slot: u32, start: u32) -> Record<'_> {
        let mut cursor = Cursor::new(&self.body, start as usize);
        let stored = Stored::read(&mut cursor);
        let stored = stored.expect("every record was read when the frame was parsed");
        let recorded_at = Timestamp(
            self.header
                .recorded_first
                .0
                .wrapping_add(stored.recorded_after as i64),
        );
        Record {
            id: stored
                .id
                .map_or_else(|| EventId::in_frame(self.header.ids, slot), EventId),
            kind: &self.kinds[stored.kind as usize],
            stream: stored.stream,
            version: stored.version,
            offset: self.header.first.plus(u64::from(slot)),
            recorded_at,
            event_time: stored
                .event_time
                .map_or(recorded_at, |by| Timestamp(recorded_at.0.wrapping_add(by))),
            metadata: stored.metadata,
            payload: stored.payload,
        }
    }
}

/// Passes over a record, of a frame with so many kinds; gives its kind.
#[inline]
fn check_record(cursor: &mut Cursor<'_>, kinds: usize) -> Result<u32, FrameError> {
    let at = cursor.at;
    let fault = |what| FrameError::Malformed { at, what };
    let (kind, stream_bytes) = Stored::pass(cursor).ok_or(fault("a record"))?;
    if kind as usize >= kinds {
        return Err(fault("a record of a kind that the frame lists"));
    }
    if stream_bytes == 0 || stream_bytes > STREAM_ID_BYTES_MAX {
        return Err(fault("a stream id of 1 to 255 bytes"));
    }
    Ok(kind)
}
