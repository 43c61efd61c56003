//! Events on their way into rows: each is applied, waits behind another, is given up as was decided, or is parked.

use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::log::FrameSlice;
use millstream_engine::log::frame::{Frame, KindSet, Record};
use millstream_engine::metrics::DeadLetterMetrics;
use smallvec::SmallVec;

use super::super::decided::Fate;
use super::super::decision::DECISIONS;
use super::super::parked::Parked;
use super::super::wanted::Portion;
use super::super::writer::AHEAD;
use super::super::{Order, Projection, UnreadablePolicy};
use super::halting::Halt;
use super::{ProjectionCore, TURN};
use crate::failing::{ERROR, Failure};

impl<P: Projection> ProjectionCore<P> {
    /// Tries again what is due and applies frames; gives whether something is left for the next turn.
    pub(super) fn apply_some(&mut self, start: Duration) -> Result<bool, Halt> {
        self.is_held_back = false;
        if self.is_leaving() {
            return Ok(false);
        }
        if self.may_retry() {
            self.retry_parked(start)?;
        }
        self.apply_frames(start)
    }

    /// Applies frames until the turn is over or nothing is left; gives whether something is left.
    fn apply_frames(&mut self, start: Duration) -> Result<bool, Halt> {
        // A full projection has no place for what fails next before what was decided has made some.
        let waits = |due: Duration| due <= self.opened_at;
        if self.parked.next_due().is_some_and(waits) {
            return Ok(self.following.waits.is_none());
        }
        loop {
            if let Some(id) = self.parked.overfull() {
                // Not before the letter is stored: somebody has to decide about it.
                return if self.is_all_stored() {
                    Err(Halt::queue::<P>(&self.config, id))
                } else {
                    self.is_held_back = true;
                    Ok(false)
                };
            }
            if let Some(letter) = self.parked.overgrown() {
                // Likewise: it shows the edit then, and why it failed.
                return if self.is_all_stored() {
                    Err(Halt::overgrown(&self.parked, letter))
                } else {
                    self.is_held_back = true;
                    Ok(false)
                };
            }
            if self.is_filling() && (self.parked.has_new() || self.refused.is_some()) {
                // What halts the projection next must not take the letters with it that are to be decided about.
                self.is_held_back = true;
                return Ok(false);
            }
            let next = match P::ORDER {
                Order::Arrival => self.next_to_arrive()?,
                Order::Recorded => self.next_recorded()?,
            };
            let Some((at, slice)) = next else {
                return Ok(false);
            };
            self.apply_slice(at, &slice)?;
            if self.clock.monotonic().saturating_sub(start) >= TURN {
                return Ok(true);
            }
        }
    }

    fn apply_slice(&mut self, at: usize, slice: &FrameSlice) -> Result<(), Halt> {
        let kinds = slice.frame.kinds();
        let mut applied = 0;
        let is_decided = kinds.iter().any(|kind| kind.category == DECISIONS);
        let portion = self.applier.portion(kinds);
        if is_decided || portion != Portion::Nothing {
            self.stand();
            // Shapes that cannot be read fail each event that needs them, with its own cause.
            let _ = self.applier.begin(&slice.frame);
            applied = if P::BATCH > 1 && !is_decided {
                self.apply_batches(at, slice, portion)?
            } else if self.is_for_all_owners(at, slice, is_decided) {
                self.apply_shared(at, slice, portion)?
            } else {
                self.apply_each(at, slice, portion, is_decided)?
            };
        }
        let header = slice.frame.header();
        let source = &mut self.sources[at];
        source.frame = Some((header.first, header.hash));
        source.moved = true;
        source.recorded = header.recorded_last;
        if applied > 0 && header.first >= source.begun_at {
            // Frames come in order, so the first is the oldest.
            source.unshown.get_or_insert(header.recorded_first);
        }
        source.metrics.observe_batch(applied);
        Ok(())
    }

    /// Applies the events of a frame begun last, one by one; gives how many.
    #[inline]
    pub(super) fn apply_each(
        &mut self,
        at: usize,
        slice: &FrameSlice,
        portion: Portion,
        is_decided: bool,
    ) -> Result<u64, Halt> {
        let mut applied = 0;
        // Decisions are of a kind that nobody wants, and heard of.
        let kinds = match portion {
            Portion::Some(kinds) if !is_decided => kinds,
            _ => KindSet::ALL,
        };
        let mut records = slice.records_of(kinds);
        let mut next = SmallVec::<[Record<'_>; AHEAD]>::new();
        loop {
            next.extend(records.by_ref().take(AHEAD));
            if next.is_empty() {
                return Ok(applied);
            }
            self.applier.foresee(&next);
            for record in &next {
                if is_decided && record.kind.category == DECISIONS {
                    self.decide(at, &slice.frame, record)?;
                }
                if portion != Portion::All && !self.applier.wants(record) {
                    continue;
                }
                applied += 1;
                self.apply_record(at, &slice.frame, record)?;
            }
            next.clear();
        }
    }

    /// Applies an event of the frame begun last, unless it waits behind another one or is given up; as it was edited if it was.
    #[inline]
    pub(super) fn apply_record(
        &mut self,
        at: usize,
        frame: &Frame,
        record: &Record<'_>,
    ) -> Result<(), Halt> {
        if !self.parked.is_empty() && self.parked.queue_behind(record) {
            return Ok(());
        }
        let source = &self.sources[at];
        match source.decided.fate(record.stream, record.offset) {
            Fate::Kept => self.try_record(at, frame, record, None),
            Fate::Edited(edit) => {
                let payload = edit.payload(&*self.streams, source.cursor.partition())?;
                self.try_record(at, frame, record, Some(&payload))
            }
            Fate::Discarded => {
                self.dead_letters.count_discarded(ERROR, 1);
                let decided = &mut self.sources[at].decided;
                decided.forget(record.stream, record.offset);
                Ok(())
            }
        }
    }

    /// Applies an event, as it was edited if it was.
    #[inline]
    fn try_record(
        &mut self,
        at: usize,
        frame: &Frame,
        record: &Record<'_>,
        edit: Option<&str>,
    ) -> Result<(), Halt> {
        let source = &mut self.sources[at];
        let partition = source.cursor.partition();
        let applier = &mut self.applier;
        if let Err(failure) = applier.apply_as(edit, partition, record, None) {
            if let Some(fault) = self.applier.sight.take_fault() {
                return Err(Halt::lookup(partition, record, fault));
            }
            return self.park(at, frame, record, failure);
        }
        source.decided.forget(record.stream, record.offset);
        Ok(())
    }

    #[cold]
    fn park(
        &mut self,
        at: usize,
        frame: &Frame,
        record: &Record<'_>,
        failure: Failure,
    ) -> Result<(), Halt> {
        let now = self.moment();
        let source = &mut self.sources[at];
        let partition = source.cursor.partition();
        let verdict = source.decided.get(record.stream, record.offset).cloned();
        let is_edited = verdict
            .as_ref()
            .is_some_and(|verdict| verdict.edit.is_some());
        let policy = self.config.unreadable.of(is_edited);
        let Some(failure) = unreadable::<P>(policy, partition, record, failure)? else {
            self.dead_letters.count_skipped(1);
            self.parked.tell_skipped(partition, record, now);
            source.decided.forget(record.stream, record.offset);
            return Ok(());
        };
        source.metrics.count_failures(1);
        self.board.count_failure();
        let is_full = self.parked.len() >= self.config.parked_keys_max
            || self.parked.bytes() >= self.config.parked_bytes_max;
        if is_full {
            return Err(Halt::full::<P>(&self.parked, record.stream, failure));
        }
        self.parked.park(partition, frame, record, failure, now);
        count_died(&mut self.dead_letters, &mut self.parked, record.stream);
        self.parked
            .know(record.stream, verdict.as_ref(), &*self.streams)?;
        Ok(())
    }
}

/// Counts the event of a key that has failed, if nobody tries it again by itself and it was not counted before.
pub(super) fn count_died(metrics: &mut DeadLetterMetrics, parked: &mut Parked, id: &str) {
    if let Some(class) = parked.died(id) {
        metrics.count_added(class, 1);
    }
}

/// What is done about an event that cannot be read: gives the failure back if it is to be parked, as any other is.
pub(super) fn unreadable<P: Projection>(
    policy: UnreadablePolicy,
    partition: PartitionId,
    record: &Record<'_>,
    failure: Failure,
) -> Result<Option<Failure>, Halt> {
    match policy {
        UnreadablePolicy::Skip if failure.is_unreadable() => Ok(None),
        UnreadablePolicy::Halt if failure.is_unreadable() => {
            Err(Halt::unreadable::<P>(partition, record, failure))
        }
        _ => Ok(Some(failure)),
    }
}
