//! Effects of events that the log does not have any more, as after the restore of a backup beside a state that was kept.
//!
//! They are put aside as those that were given up, before anything is sent or delivered: what is appended next comes to their
//! places, and two effects cannot lie at one. Which they are the log says: what lies behind its end, and what was recorded at
//! another time than the event that stands there now.
//! Invariant: histories of a partition are the same up to one place and differ from there on, so whoever looks from the end stops
//! at the first effect whose event is still there. What becomes of them when the newer log is put back: see `asides.rs`.
//! Cost: the last effect of each partition and its event are read at a start, and what is put aside.

use std::ops::Bound;
use std::sync::Arc;

use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::log::LogError;
use millstream_engine::log::frame::Frame;
use millstream_engine::metrics::DeliveryMetrics;
use millstream_engine::state::{Row, StateBatch, StateError, StateWrite, TableId};
use millstream_engine::time::Timestamp;

use super::EffectPlace;
use super::asides::make_way;
use super::damaged;
use super::format::{self, Cause, keys_of};
use super::outlets::OutletIds;
use super::registering::OpenOutlets;

/// Rows that are looked at and put aside together.
pub(super) const PAGE: usize = 256;
/// Why they are given up.
const GONE: &str = "the log does not have its event any more, as after the restore of a backup";

/// Between that, the number of tries that there had been, and what the last one came to.
const AFTER: &str = "; given up after ";
const TRIES: &str = " tries: ";

/// Whether an effect that was given up is of an event that the log has lost: it was given up after no try.
pub(super) const fn is_gone(cause: &Cause) -> bool {
    cause.attempts == 0
}

/// What is said of one that was given up before its event was lost.
pub(super) fn lost_after(before: &Cause) -> String {
    let Cause { attempts, text, .. } = before;
    format!("{GONE}{AFTER}{attempts}{TRIES}{text}")
}

/// Why an effect had been given up before its event was lost; `None` if it waited.
pub(super) fn as_it_was(cause: Cause) -> Option<Cause> {
    if !is_gone(&cause) {
        return Some(cause);
    }
    let (attempts, text) = cause
        .text
        .strip_prefix(GONE)?
        .strip_prefix(AFTER)?
        .split_once(TRIES)?;
    Some(Cause {
        attempts: attempts.parse().ok()?,
        at: cause.at,
        text: text.to_owned(),
    })
}

/// What the log says to a stored effect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its event is there.
    There,
    Gone,
    /// The effect or the log cannot be read.
    Unknown,
}

/// One partition of an outbox.
pub(super) struct Looked<'o> {
    pub(super) parts: &'o OpenOutlets<'o>,
    pub(super) ids: OutletIds,
    outbox: &'static str,
    partition: PartitionId,
    frame: Option<Arc<Frame>>,
    /// The last event that could not be looked at.
    unreadable: Option<Offset>,
}

/// Puts aside what the log does not have the events of any more. Blocks on the state's writer.
pub(super) fn put_aside(
    parts: &OpenOutlets<'_>,
    ids: OutletIds,
    outbox: &'static str,
) -> Result<(), StateError> {
    for partition in (0..).map(PartitionId).take(parts.heads.len()) {
        let mut looked = Looked::new(parts, ids, outbox, partition);
        // Those that were given up first: of two at one place the one that waited stays.
        let told = looked.each(ids.given_up, Looked::tell)?;
        let moved = looked.each(ids.effects, Looked::give_up)?;
        if moved > 0 {
            DeliveryMetrics::new(parts.projection, outbox, partition).count_given_up(moved);
        }
        if moved + told > 0 {
            tracing::warn!(
                projection = parts.projection,
                outbox,
                %partition,
                waited = moved,
                given_up = told,
                "the log does not have the events of these effects any more: they are put aside, and can be seen and discarded"
            );
            // Lost in a power failure, they would be found again.
            parts.writer.flush()?;
        }
    }
    Ok(())
}

impl<'o> Looked<'o> {
    pub(super) const fn new(
        parts: &'o OpenOutlets<'o>,
        ids: OutletIds,
        outbox: &'static str,
        partition: PartitionId,
    ) -> Self {
        Self {
            parts,
            ids,
            outbox,
            partition,
            frame: None,
            unreadable: None,
        }
    }

    /// Has `put` say what becomes of each effect whose event is gone, the last one first; gives how many there were.
    fn each(
        &mut self,
        table: TableId,
        put: impl Fn(&Self, Row) -> Result<Option<Vec<StateWrite>>, StateError>,
    ) -> Result<u64, StateError> {
        let (first, last) = keys_of(self.outbox, self.partition);
        let (mut upto, mut count) = (Bound::Included(last), 0);
        // Nearly always the last is there.
        let mut rows = 1;
        loop {
            let range = (
                Bound::Included(&first[..]),
                upto.as_ref().map(Vec::as_slice),
            );
            let page = damaged::page(self.parts.store, table, range, rows, true)?;
            rows = PAGE;
            let (mut writes, mut is_over) = (Vec::new(), false);
            for (key, row) in page.rows {
                match self.standing(table, &key, &row) {
                    // What was put aside for another log says nothing of where this one differs from that.
                    Standing::There if self.is_aside(table, &row) => {}
                    Standing::There => {
                        is_over = true;
                        break;
                    }
                    Standing::Gone => {
                        if let Some(put) = put(self, (key, row))? {
                            writes.extend(put);
                            count += 1;
                        }
                    }
                    Standing::Unknown => {}
                }
            }
            if !writes.is_empty() {
                let submitted = self.parts.writer.submit_blocking(StateBatch::new(writes));
                submitted.map_err(|refused| refused.reason)?;
            }
            match page.end {
                Some(end) if !is_over => upto = Bound::Excluded(end),
                _ => return Ok(count),
            }
        }
    }

    /// Whether a row was put aside by an earlier start.
    fn is_aside(&self, table: TableId, row: &[u8]) -> bool {
        let cause = (table == self.ids.given_up).then(|| format::read_given_up(row));
        cause.flatten().is_some_and(|(cause, _)| is_gone(&cause))
    }

    /// One that waited.
    fn give_up(&self, (key, row): Row) -> Result<Option<Vec<StateWrite>>, StateError> {
        let cause = self.cause(GONE.to_owned());
        let way = make_way(self.parts.store, self.ids, &key, &row)?;
        let mut writes: Vec<_> = way.into_iter().collect();
        writes.push(StateWrite::PutRow {
            table: self.ids.given_up,
            key: key.clone(),
            value: format::give_up(&cause, &row),
        });
        writes.push(StateWrite::DeleteRow {
            table: self.ids.effects,
            key,
        });
        Ok(Some(writes))
    }

    /// One that was given up before; `None` if it is known.
    fn tell(&self, (key, row): Row) -> Result<Option<Vec<StateWrite>>, StateError> {
        let read = format::read_given_up(&row);
        let Some((before, stored)) = read.filter(|(before, _)| !is_gone(before)) else {
            return Ok(None);
        };
        let cause = self.cause(lost_after(&before));
        Ok(Some(vec![StateWrite::PutRow {
            table: self.ids.given_up,
            key,
            value: format::give_up(&cause, stored),
        }]))
    }

    fn cause(&self, text: String) -> Cause {
        Cause {
            attempts: 0,
            at: self.parts.now,
            text,
        }
    }

    pub(super) fn standing(&mut self, table: TableId, key: &[u8], row: &[u8]) -> Standing {
        let Some(EffectPlace { position, .. }) = EffectPlace::of_key(key) else {
            return Standing::Unknown;
        };
        let head = self.parts.heads[usize::from(self.partition.0)];
        if position.offset >= head {
            return Standing::Gone;
        }
        let stored = if table == self.ids.given_up {
            format::read_given_up(row).map(|(_, stored)| stored)
        } else {
            Some(row)
        };
        let Some(stored) = stored.and_then(format::read) else {
            return Standing::Unknown;
        };
        if self.unreadable == Some(position.offset) {
            return Standing::Unknown;
        }
        match self.recorded(position) {
            Ok(Some(recorded_at)) if recorded_at == stored.recorded_at => Standing::There,
            Ok(Some(_)) => Standing::Gone,
            Ok(None) => Standing::Unknown,
            Err(cause) => {
                // All effects of a damaged frame, and of what lies behind it, would say the same.
                if self.unreadable.replace(position.offset).is_none() {
                    tracing::warn!(%position, %cause, "the events of some effects cannot be looked at: this one, and maybe others");
                }
                Standing::Unknown
            }
        }
    }

    /// When the event was recorded that stands there now.
    fn recorded(&mut self, position: Position) -> Result<Option<Timestamp>, LogError> {
        let Position { partition, offset } = position;
        let holds = |frame: &Arc<Frame>| {
            let header = frame.header();
            (header.first..header.end()).contains(&offset)
        };
        if !self.frame.as_ref().is_some_and(holds) {
            self.frame = self.parts.log.frame_at(partition, offset)?;
        }
        let Some(frame) = &self.frame else {
            return Ok(None);
        };
        let Offset(first) = frame.header().first;
        let at = u32::try_from(offset.0 - first).unwrap_or(u32::MAX);
        let record = frame.records_from(at).next();
        Ok(record.map(|record| record.recorded_at))
    }
}
