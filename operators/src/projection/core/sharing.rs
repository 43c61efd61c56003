//! Frames that all owners of the rows apply side by side.
//!
//! Only where each event can be applied at its place: while nothing is parked, which events would wait behind, and nothing is
//! decided about events to come.

use super::*;

impl<P: Projection> ProjectionCore<P> {
    /// Whether all owners apply a frame: it has many events, and none of them can be one that waits, is given up or edited.
    pub(super) fn is_for_all_owners(
        &self,
        at: usize,
        slice: &FrameSlice,
        is_decided: bool,
    ) -> bool {
        self.applier.is_shared()
            && slice.len() >= self.config.shared_events_min
            && !is_decided
            && self.parked.is_empty()
            && self.sources[at].decided.is_empty()
    }

    /// Applies a frame by all owners, or its events one by one where that fails; gives how many.
    pub(super) fn apply_shared(
        &mut self,
        at: usize,
        slice: &FrameSlice,
        portion: Portion,
    ) -> Result<u64, Halt> {
        let (partition, start) = (self.sources[at].cursor.partition(), self.clock.monotonic());
        let applied = self.applier.apply_shared(partition, slice, portion);
        self.shared_for += self.clock.monotonic().saturating_sub(start);
        self.board.count_shared(applied.is_ok());
        let failure = match applied {
            Ok(applied) => return Ok(applied),
            Err(failure) => failure,
        };
        // What is passed over is no failure, alone or together.
        if !(failure.is_unreadable() && self.config.unreadable == UnreadablePolicy::Skip) {
            self.tell_together(at, (slice.from, slice.len()), failure);
        }
        // Reading the events may have failed half way.
        let _ = self.applier.begin(&slice.frame);
        self.apply_each(at, slice, portion, false)
    }
}
