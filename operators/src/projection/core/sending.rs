//! Turns of a projection with outboxes: counted, so that nobody has to guess how far it has sent effects.

use super::*;

impl<P: Projection> ProjectionCore<P> {
    /// As [`apply_some`](Self::apply_some). Waits with new events while an outbox is full, also at the end: deliveries may take
    /// as long as the outside is away, and what is left in the log is applied after the next start. A version that does not
    /// answer does not wait: of what is new it sends nothing, and what it frees late is bounded by what is parked. Nor does one
    /// that is switched away from, up to where it ends.
    pub(super) fn apply_and_send(&mut self, start: Duration) -> Result<bool, Halt> {
        let board = Arc::clone(&self.board);
        let Some(outlet) = board.outlet().filter(|_| P::Tables::HAS_OUTBOXES) else {
            return self.apply_some(start);
        };
        self.is_choked = outlet.is_full() && self.board.is_active();
        if self.is_choked {
            return Ok(false);
        }
        let Some(turn) = outlet.turn() else {
            self.is_choked = true;
            // One that stops must not take this for the end.
            return Ok(self.stopping);
        };
        let outcome = self.apply_some(start);
        for source in &self.sources {
            outlet.note_applied(source.cursor.partition(), source.cursor.next_offset());
        }
        drop(turn);
        outcome
    }

    /// Whether one that stops, and has nothing to do just now, ends here. One that leaves does not wait for what others may
    /// still record, nor does one whose outbox is full.
    pub(super) fn is_at_end(&self) -> bool {
        let waits = self.waits || self.waits_for_others() || self.is_held_back;
        let waits = waits || self.waits_for_answering();
        !waits || self.is_leaving() || self.is_choked
    }
}
