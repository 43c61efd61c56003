//! Events of one frame in batches, for a projection that asks for them.
//!
//! A batch lies within a frame, after which rows may be shown and stored, so nobody sees half of one. Frames with decisions
//! about dead letters are applied event by event: a decision counts from its place on.
//! Failure: a batch that fails is told of and counted as one try, and its events are applied one by one; a handler that always
//! fails costs each event twice and is seen by nothing else.

use millstream_engine::event::Position;

use super::*;

impl<P: Projection> ProjectionCore<P> {
    /// Applies the events of a frame begun last, in batches as large as they may be; gives how many.
    pub(super) fn apply_batches(
        &mut self,
        at: usize,
        slice: &FrameSlice,
        portion: Portion,
    ) -> Result<u64, Halt> {
        let mut applied = 0;
        let mut batch: Vec<Record<'_>> = Vec::new();
        let kinds = match portion {
            Portion::Some(kinds) => kinds,
            _ => KindSet::ALL,
        };
        for record in slice.records_of(kinds) {
            if portion != Portion::All && !self.applier.wants(&record) {
                continue;
            }
            applied += 1;
            // Behind those that wait it is no part of a batch, nor is one that was given up or edited: that is applied
            // behind those before it.
            let decided = &self.sources[at].decided;
            let is_alone = self.parked.is_parked(record.stream)
                || decided.fate(record.stream, record.offset) != Fate::Kept;
            if is_alone {
                self.apply_batch(at, &slice.frame, &mut batch)?;
                self.apply_record(at, &slice.frame, &record)?;
                continue;
            }
            batch.push(record);
            if batch.len() == P::BATCH {
                self.apply_batch(at, &slice.frame, &mut batch)?;
            }
        }
        self.apply_batch(at, &slice.frame, &mut batch)?;
        Ok(applied)
    }

    /// Applies a batch, or its events one by one where it fails.
    fn apply_batch(
        &mut self,
        at: usize,
        frame: &Frame,
        batch: &mut Vec<Record<'_>>,
    ) -> Result<(), Halt> {
        if batch.len() > 1 {
            let partition = self.sources[at].cursor.partition();
            match self.applier.apply_batch(partition, batch) {
                Ok(()) => {
                    let decided = &mut self.sources[at].decided;
                    for record in batch.drain(..) {
                        decided.forget(record.stream, record.offset);
                    }
                    return Ok(());
                }
                Err(failure) => {
                    let first = batch.first().map_or(Offset(0), |first| first.offset);
                    self.tell_together(at, (first, batch.len()), failure);
                }
            }
            // Reading the events may have failed half way.
            let _ = self.applier.begin(frame);
        }
        for record in batch.drain(..) {
            self.apply_record(at, frame, &record)?;
        }
        Ok(())
    }

    /// Events that were applied together failed, and with them perhaps none by itself.
    #[cold]
    pub(super) fn tell_together(
        &mut self,
        at: usize,
        (first, events): (Offset, usize),
        failure: Failure,
    ) {
        let source = &self.sources[at];
        source.metrics.count_failures(1);
        self.board.count_failure();
        let now = self.clock.monotonic();
        let Some(unsaid) = self.telling.next(now) else {
            return;
        };
        let position = Position {
            partition: source.cursor.partition(),
            offset: first,
        };
        tracing::warn!(
            projection = P::NAME,
            version = P::VERSION,
            %position,
            events,
            cause = failure.causes().join(": "),
            unsaid,
            "events could not be applied together: they are applied one by one"
        );
    }
}
