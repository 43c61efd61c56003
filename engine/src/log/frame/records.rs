//! The events of a frame: read one after another, from one of them on, or only some kinds of them.

use super::bytes::Cursor;
use super::kind_set::KindSet;
use super::parse::{Frame, FrameError};
use super::record::{Record, Stored};
use crate::event::{EventId, STREAM_ID_BYTES_MAX};
use crate::time::Timestamp;

/// Records between two marks: finding one of a frame's thousands passes over a few, not over all before it.
pub(super) const STRIDE: usize = 16;

/// A place in the body where a stride of records begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    at: u32,
    /// Of these records, and maybe others.
    kinds: KindSet,
}

impl Mark {
    /// The marks of records that begin at `starts` in what lies behind `records_at`, none of which was looked at.
    pub(super) fn unlooked(starts: &[u32], records_at: u32) -> Vec<Self> {
        let starts = starts.iter().step_by(STRIDE);
        let marks = starts.map(|&start| Self {
            at: start + records_at,
            kinds: KindSet::ALL,
        });
        marks.collect()
    }
}

impl Frame {
    /// The events, in order.
    ///
    /// # Panics
    /// Never on a frame that `parse` gave: it has read every record once.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records_from(0)
    }

    /// The events from number `slot` of the frame on, in order; none behind its end. Cost: a few records are
    /// passed over, however large the frame is.
    ///
    /// # Panics
    /// As [`records`](Self::records).
    pub fn records_from(&self, slot: u32) -> impl Iterator<Item = Record<'_>> {
        let mark = self.marks.get(slot as usize / STRIDE);
        let start = mark.map_or(self.body.len(), |mark| mark.at as usize);
        let begin = (slot - slot % STRIDE as u32).min(self.header.count);
        let mut cursor = Cursor::new(&self.body, start);
        let records =
            (begin..self.header.count).map(move |slot| self.next_record(&mut cursor, slot));
        records.skip(slot as usize % STRIDE)
    }

    /// The events of some kinds from number `slot` of the frame on, in order; of a frame with many kinds maybe others as
    /// well. Cost: strides of records without any are passed over at once, others by their lengths.
    ///
    /// # Panics
    /// As [`records`](Self::records).
    pub fn records_of(&self, slot: u32, wanted: KindSet) -> impl Iterator<Item = Record<'_>> {
        let mut cursor = Cursor::new(&self.body, 0);
        let mut next = slot - slot % STRIDE as u32;
        std::iter::from_fn(move || {
            while next < self.header.count {
                let own = next;
                if own.is_multiple_of(STRIDE as u32) {
                    let mark = &self.marks[own as usize / STRIDE];
                    if !mark.kinds.meets(wanted) {
                        next += STRIDE as u32;
                        continue;
                    }
                    cursor.at = mark.at as usize;
                }
                next += 1;
                let kind = cursor.clone().varint().unwrap_or(u64::MAX) as u32;
                if own >= slot && wanted.may_have(kind) {
                    return Some(self.next_record(&mut cursor, own));
                }
                Stored::pass_over(&mut cursor);
            }
            None
        })
    }

    /// The record that begins at the cursor.
    #[inline]
    fn next_record<'a>(&'a self, cursor: &mut Cursor<'a>, slot: u32) -> Record<'a> {
        let stored = Stored::read(cursor).expect("every record was read when the frame was parsed");
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

    /// Reads every record once; gives where every [`STRIDE`]th begins, and kinds from there on.
    pub(super) fn check_records(&self) -> Result<Vec<Mark>, FrameError> {
        let mut marks =
            Vec::with_capacity((self.body.len() / 16).min(self.header.count as usize) / STRIDE + 1);
        let mut cursor = Cursor::new(&self.body, self.records_at);
        let mut left = self.header.count as usize;
        while left > 0 {
            let stride = left.min(STRIDE);
            let at = cursor.at as u32; // A body has at most 64 MiB.
            let mut kinds = KindSet::NONE;
            for _ in 0..stride {
                kinds.add(self.check_record(&mut cursor)?);
            }
            marks.push(Mark { at, kinds });
            left -= stride;
        }
        let at = cursor.at;
        if cursor.is_at_end() {
            Ok(marks)
        } else {
            Err(FrameError::Malformed {
                at,
                what: "the end of the body",
            })
        }
    }

    /// Passes over a record; gives its kind.
    #[inline]
    fn check_record(&self, cursor: &mut Cursor<'_>) -> Result<u32, FrameError> {
        let at = cursor.at;
        let fault = |what| FrameError::Malformed { at, what };
        let (kind, stream_bytes) = Stored::pass(cursor).ok_or(fault("a record"))?;
        if kind as usize >= self.kinds.len() {
            return Err(fault("a record of a kind that the frame lists"));
        }
        if stream_bytes == 0 || stream_bytes > STREAM_ID_BYTES_MAX {
            return Err(fault("a stream id of 1 to 255 bytes"));
        }
        Ok(kind)
    }
}
