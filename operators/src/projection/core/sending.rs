//! Turns of a projection with outboxes: counted, so that nobody has to guess how far it has sent effects.

use super::*;

impl<P: Projection> ProjectionCore<P> {
    /// As [`apply_some`](Self::apply_some). Waits with new events while an outbox is full, but not at the end: what is
    /// durable is applied before a shutdown is over.
    pub(super) fn apply_and_send(&mut self, start: Duration) -> Result<bool, Halt> {
        let board = Arc::clone(&self.board);
        let Some(outlet) = board.outlet().filter(|_| P::Tables::HAS_OUTBOXES) else {
            return self.apply_some(start);
        };
        self.is_choked = outlet.is_full() && !self.stopping && self.board.is_active();
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
}
