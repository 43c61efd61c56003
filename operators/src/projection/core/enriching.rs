//! Going no further than those whose tables are looked into.

use super::*;
use crate::projection::enrich::{Scope, Sight};

impl<P: Projection> ProjectionCore<P> {
    /// What is read, and by whom it is stored.
    pub(super) fn sight(parts: &ProjectionParts<P>) -> Result<Sight, OpenProjectionError> {
        let (reads, scope) = (parts.projection.reads(), Scope::of::<P>());
        let sight = Sight::stored(&reads, &parts.reads, scope, &parts.streams);
        sight.ok_or(OpenProjectionError::Reads)
    }

    /// Whether a source has a frame that comes next, all of which, and all before it, is stored by those that are read.
    ///
    /// Asked of the frame itself, which is the one that is taken then: how far the log has come may be another thing with
    /// each look.
    pub(super) fn is_fed(&mut self, at: usize) -> Result<bool, LogError> {
        let Some(header) = self.sources[at].cursor.peek()? else {
            return Ok(false);
        };
        let end = header.end();
        Ok(self.is_followed(Some((at, end))))
    }

    /// Whether those that are read have stored all that was applied; and the next frame of a source, which ends there, if one
    /// is meant.
    fn is_followed(&mut self, next: Option<(usize, Offset)>) -> bool {
        for board in &self.following.boards {
            for (at, source) in self.sources.iter().enumerate() {
                let end = match next {
                    Some((own, end)) if own == at => end,
                    Some(_) if self.following.scope == Scope::Partition => continue,
                    _ => source.cursor.next_offset(),
                };
                let partition = source.cursor.partition();
                if board.stored(partition) < end {
                    self.following.waits = Some((partition, Arc::clone(board)));
                    return false;
                }
            }
        }
        true
    }

    /// Tells what sees others how far each partition is, before the events of a frame.
    pub(super) fn stand(&mut self) {
        if self.following.boards.is_empty() {
            return;
        }
        let sources = self.sources.iter();
        let ends = sources.map(|source| (source.cursor.partition(), source.cursor.next_offset()));
        self.applier.sight.stand(ends);
    }

    /// Whether keys that were parked may be tried: what they look up must be there, which right after a start is not known.
    pub(super) fn may_retry(&mut self) -> bool {
        self.following.waits = None;
        self.following.boards.is_empty() || self.is_followed(None)
    }

    /// Whether it must not end yet: what it waits for is still being stored.
    pub(super) fn waits_for_others(&self) -> bool {
        let waits = self.following.waits.as_ref();
        waits.is_some_and(|(_, board)| board.end().is_none())
    }
}
