//! What the log says about single events of one partition: given up, edited, or how often they were redriven.
//!
//! Place: decisions of the log, in their order -> **here** -> the projection, which asks before it applies an event.
//! A decision names the event and how many redrives of it came before. It counts if that is so by the log alone: of two
//! that name the same number the first counts, and nothing counts after a discard. Whether the event was applied
//! meanwhile, how often it was tried and when is not asked, so a projection that reads the same log again finds the
//! same, whatever fails this time. An edit counts as a redrive; the last one that counts says what the event is.
//! Invariant: for an event that was not settled yet, all of its decisions up to the position are in here. They lie
//! behind it, so they are met after it was parked, or read when the projection opens.
//! Memory: events that are parked, or that lie ahead and are decided about: about 100 bytes each. In a rebuild these are all
//! that were ever decided about, else a few. Payloads of edits, up to [`EDIT_BYTES_MAX`](super::EDIT_BYTES_MAX) each, stay in the
//! log: of each its place is kept, and it is read when its event is applied or its letter is to show it.

use std::hash::Hash;

use compact_str::CompactString;
use hashbrown::{Equivalent, HashMap};
use millstream_engine::codec::{DecodeError, EventReader};
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::frame::{Encoding, Frame, FrameError, Kind, Record, SHAPES};
use millstream_engine::log::{LogError, StreamReader};

use super::decision::LetterDecision;

/// An event: its stream is asked for as well, since a decision may have been written by hand.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Named {
    offset: Offset,
    id: CompactString,
}

#[derive(Hash)]
struct Asked<'a> {
    offset: Offset,
    id: &'a str,
}

impl Equivalent<Named> for Asked<'_> {
    fn equivalent(&self, key: &Named) -> bool {
        self.offset == key.offset && self.id == key.id
    }
}

/// Where the log has a payload that somebody put in the place of an event's: the offset of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit(Offset);

impl Edit {
    /// How a letter shows the payload.
    pub(super) fn kind(kind: &Kind) -> Kind {
        Kind {
            encoding: Encoding::Json,
            ..kind.clone()
        }
    }

    /// The payload: JSON. Cost: one frame is read.
    ///
    /// # Errors
    /// [`LogError`], also when there is no edit any more where one was read before.
    #[cold]
    pub(super) fn payload(
        self,
        streams: &dyn StreamReader,
        partition: PartitionId,
    ) -> Result<String, LogError> {
        let Self(offset) = self;
        let gone = |what| LogError::Frame {
            partition,
            offset,
            cause: FrameError::Malformed { at: 0, what },
        };
        let frame = streams.frame_at(partition, offset)?;
        let frame = frame.ok_or_else(|| gone("a frame with the edit of an event"))?;
        let slot = offset.0.saturating_sub(frame.header().first.0);
        let record = frame.records_from(slot as u32).next();
        match record.map(|record| decision_in(&frame, &record)) {
            Some(Ok(LetterDecision::Edited { payload, .. })) => Ok(payload),
            _ => Err(gone("the edit of an event")),
        }
    }
}

/// The decision in a record.
///
/// # Errors
/// [`DecodeError`]: it is none that this program can read.
pub(super) fn decision_in(
    frame: &Frame,
    record: &Record<'_>,
) -> Result<LetterDecision, DecodeError> {
    let mut reader = EventReader::<LetterDecision>::new();
    reader.begin_frame(frame.attachment(SHAPES).unwrap_or_default())?;
    reader.decode(record.kind, record.payload)
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is applied as it is.
    Kept,
    /// It is applied with another payload.
    Edited(Edit),
    /// It is passed over.
    Discarded,
}

impl Fate {
    /// The payload that it is applied with instead of its own, if it was edited.
    ///
    /// # Errors
    /// As [`Edit::payload`].
    #[inline]
    pub(super) fn payload(
        self,
        streams: &dyn StreamReader,
        partition: PartitionId,
    ) -> Result<Option<String>, LogError> {
        match self {
            Self::Kept | Self::Discarded => Ok(None),
            Self::Edited(edit) => edit.payload(streams, partition).map(Some),
        }
    }
}

/// What was decided about an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Redrives that count.
    pub(super) redrives: u32,
    /// Those of them that were carried out: the projection came to their place, or did not wait for it.
    pub(super) carried_out: u32,
    /// Whether it is given up.
    pub(super) discarded: bool,
    /// Who redrove it last.
    pub(super) by: CompactString,
    /// What it is instead, if it was edited.
    pub(super) edit: Option<Edit>,
}

/// Decisions about the events of one partition, by event.
#[derive(Debug, Default)]
pub(super) struct Decided {
    events: HashMap<Named, Verdict, foldhash::fast::RandomState>,
}

impl Decided {
    /// Asked first for each event: nothing is decided as a rule.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What was decided about an event.
    pub(super) fn get(&self, id: &str, offset: Offset) -> Option<&Verdict> {
        self.events.get(&Asked { offset, id })
    }

    /// What becomes of an event.
    #[inline]
    pub(super) fn fate(&self, id: &str, offset: Offset) -> Fate {
        if self.is_empty() {
            return Fate::Kept;
        }
        match self.get(id, offset) {
            Some(verdict) if verdict.discarded => Fate::Discarded,
            Some(Verdict {
                edit: Some(edit), ..
            }) => Fate::Edited(*edit),
            _ => Fate::Kept,
        }
    }

    /// Redrives of an event that count.
    pub(super) fn redrives(&self, id: &str, offset: Offset) -> u32 {
        self.get(id, offset).map_or(0, |verdict| verdict.redrives)
    }

    /// Takes the next decision of the log in, which lies at this offset; whether it counts.
    pub(super) fn take(&mut self, id: &str, at: Offset, decision: &LetterDecision) -> bool {
        let order = decision.order();
        let event = Named {
            offset: Offset(order.offset),
            id: id.into(),
        };
        let verdict = self.events.entry(event).or_default();
        let Some(after) = order.redrives.checked_add(1) else {
            return false;
        };
        if verdict.discarded || order.redrives < verdict.redrives {
            return false;
        }
        match decision {
            LetterDecision::Redriven(_) => {
                verdict.redrives = after;
                verdict.by = order.by.as_str().into();
            }
            LetterDecision::Discarded(_) => verdict.discarded = true,
            LetterDecision::Edited { order, .. } => {
                verdict.redrives = after;
                verdict.by = order.by.as_str().into();
                verdict.edit = Some(Edit(at));
            }
        }
        true
    }

    /// Has the first `redrives` redrives of an event carried out; `false` when they were, or do not count.
    pub(super) fn carry_out(&mut self, id: &str, offset: Offset, redrives: u32) -> bool {
        let found = self.events.get_mut(&Asked { offset, id });
        found.is_some_and(|verdict| {
            let is_new = verdict.carried_out < redrives && redrives <= verdict.redrives;
            if is_new {
                verdict.carried_out = redrives;
            }
            is_new
        })
    }

    /// The event was applied or passed over: nothing that is said about it matters any more.
    #[inline]
    pub(super) fn forget(&mut self, id: &str, offset: Offset) {
        if !self.is_empty() {
            self.events.remove(&Asked { offset, id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::LetterOrder;

    fn order(offset: u64, redrives: u32) -> LetterOrder {
        LetterOrder {
            projection: "p".into(),
            stage: None,
            version: 1,
            key: "tally-a".into(),
            partition: 0,
            offset,
            redrives,
            content: None,
            by: "ann".into(),
            reason: String::new(),
        }
    }

    fn redriven(redrives: u32) -> LetterDecision {
        LetterDecision::Redriven(order(5, redrives))
    }

    fn discarded(redrives: u32) -> LetterDecision {
        LetterDecision::Discarded(order(5, redrives))
    }

    fn edited(redrives: u32) -> LetterDecision {
        LetterDecision::Edited {
            order: order(5, redrives),
            payload: "1".to_owned(),
        }
    }

    /// The last edit that counts says what the event is, redrives behind it or not; a discard ends it.
    #[test]
    fn an_edit_counts_as_a_redrive() {
        let mut decided = Decided::default();
        let edit = |at| Fate::Edited(Edit(Offset(at)));
        for (at, decision, counts, fate) in [
            (10, redriven(0), true, Fate::Kept),
            (11, edited(0), false, Fate::Kept),
            (12, edited(1), true, edit(12)),
            (13, edited(1), false, edit(12)),
            (14, redriven(2), true, edit(12)),
            (15, edited(3), true, edit(15)),
            (16, discarded(4), true, Fate::Discarded),
            (17, edited(5), false, Fate::Discarded),
        ] {
            let taken = decided.take("a", Offset(at), &decision);
            assert_eq!(taken, counts, "{decision:?}");
            assert_eq!(decided.fate("a", Offset(5)), fate, "{decision:?}");
        }
        assert_eq!(decided.redrives("a", Offset(5)), 4);
    }

    /// Each row: decisions in the order of the log, and which of them count.
    #[test]
    fn the_first_that_names_a_number_counts() {
        let rows = [
            (
                vec![redriven(0), redriven(0), redriven(1)],
                vec![true, false, true],
            ),
            (vec![redriven(0), discarded(0)], vec![true, false]),
            (
                vec![redriven(0), discarded(1), discarded(1)],
                vec![true, true, false],
            ),
            (
                vec![discarded(0), redriven(0), redriven(1)],
                vec![true, false, false],
            ),
            (
                vec![redriven(u32::MAX), discarded(u32::MAX)],
                vec![false, false],
            ),
        ];
        for (decisions, counts) in rows {
            let mut decided = Decided::default();
            let found: Vec<_> = decisions
                .iter()
                .map(|decision| decided.take("a", Offset(10), decision))
                .collect();
            assert_eq!(found, counts, "{decisions:?}");
        }
    }

    #[test]
    fn a_redrive_is_carried_out_once() {
        let mut decided = Decided::default();
        decided.take("a", Offset(10), &redriven(0));
        assert!(!decided.carry_out("a", Offset(5), 2));
        assert!(decided.carry_out("a", Offset(5), 1));
        assert!(!decided.carry_out("a", Offset(5), 1));
        assert!(!decided.carry_out("b", Offset(5), 1));
        assert_eq!(decided.fate("a", Offset(5)), Fate::Kept);
        decided.take("a", Offset(11), &discarded(1));
        assert_eq!(decided.fate("a", Offset(5)), Fate::Discarded);
        assert_eq!(decided.fate("b", Offset(5)), Fate::Kept);
        decided.forget("a", Offset(5));
        assert!(decided.is_empty());
    }
}
