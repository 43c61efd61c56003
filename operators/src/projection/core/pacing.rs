//! Turns of a version that nobody asks yet, and what it may not overtake.

use super::*;

/// Events that it may be behind without having to wait for its turns: as any other that keeps up.
const NEAR: u64 = 16_384;
/// Age of the newest event that was applied from which on a projection with more to apply is behind, and not only busy.
const FAR: Duration = Duration::from_secs(1);

impl<P: Projection> ProjectionCore<P> {
    /// Whether it ends where it stands, and its next start goes on from there: nobody waits for what a version still has to apply
    /// that does not answer and is not looked into by one that does. One that is looked into but was far from the end when it was to
    /// stop, since it is built from the beginning, would hold a shutdown for as long as that takes. Who looks into it ends with it.
    pub(super) fn is_leaving(&self) -> bool {
        self.stopping && (self.is_unbuilt || !self.board.is_asked())
    }

    /// Whether it does not answer, and has so much to apply that it does not keep up.
    pub(super) fn is_being_built(&self) -> bool {
        !self.board.is_active() && self.events_left() > NEAR
    }

    fn events_left(&self) -> u64 {
        let left = self.sources.iter().map(|source| source.cursor.lag());
        left.sum()
    }

    /// Whether it must not end yet: it has more to apply, and those who look into its tables wait for that, but the version
    /// that answers instead of it does not show that yet.
    pub(super) fn waits_for_answering(&self) -> bool {
        !self.board.is_active() && self.is_held_up()
    }

    /// How long to wait before a turn, so that others have theirs; `None`: not at all.
    pub(super) fn wait_for_turn(&self, now: Duration) -> Option<Duration> {
        if !self.is_behind || self.stopping {
            return None;
        }
        let pacer = self.board.pacer()?;
        if self.events_left() <= NEAR {
            return None;
        }
        let partitions = (0..self.feed.partitions()).map(PartitionId);
        let durable = partitions.map(|partition| self.feed.durable(partition).0);
        pacer.wait(now, durable.sum())
    }

    /// Says that a turn is over.
    pub(super) fn turn_over(&mut self, start: Duration, now: Duration, more: bool) {
        let shared_for = std::mem::take(&mut self.shared_for);
        if let Some(pacer) = self.board.pacer()
            && (more || self.is_behind)
        {
            // Those that work beside it take their processors as well.
            let beside = self.applier.owners.processors() - 1;
            pacer.spend(start, now, shared_for * beside);
        }
        self.is_behind = more;
    }

    /// Whether it is so far behind that its readers have more to wait for than its next store. One that is busy all the time
    /// and yet keeps up is not: what it applies is to be stored soon.
    pub(super) fn is_far_behind(&self) -> bool {
        let now = self.clock.now();
        let mut sources = self.sources.iter();
        // The newest event of a partition that was quiet is old, and little is behind it.
        sources.any(|source| source.cursor.lag() > NEAR && now.since(source.recorded) >= FAR)
    }

    /// The next frame of a source, unless it is behind what this version may apply.
    #[inline]
    pub(super) fn pull(&mut self, at: usize) -> Result<Option<FrameSlice>, LogError> {
        let cursor = &mut self.sources[at].cursor;
        if cursor.next_offset() >= self.board.bound(cursor.partition()) {
            return Ok(None);
        }
        if !self.following.boards.is_empty() && !self.is_fed(at)? {
            return Ok(None);
        }
        self.sources[at].cursor.pull()
    }

    /// Whether it has applied what it may not show yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.sources.iter().any(|source| {
            let cursor = &source.cursor;
            cursor.next_offset() > self.board.showable(cursor.partition())
        })
    }

    /// Whether it waits for another version, which tells nobody when it comes further.
    pub(super) fn is_held_up(&self) -> bool {
        let waits = self.sources.iter().any(|source| {
            let cursor = &source.cursor;
            let is_bound = cursor.next_offset() >= self.board.bound(cursor.partition());
            is_bound && cursor.lag() > 0
        });
        waits || self.is_ahead()
    }
}
