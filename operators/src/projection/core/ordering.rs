//! Which partition's events are next.

use millstream_engine::log::frame::FrameHeader;

use super::*;

/// Time after which it is looked again whether a partition is quiet: a turn that gives no event wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl<P: Projection> ProjectionCore<P> {
    /// The next frame of the partition whose turn it is, or of the first behind it that has one.
    pub(super) fn next_to_arrive(&mut self) -> Result<Option<(usize, FrameSlice)>, Halt> {
        let count = self.sources.len();
        for _ in 0..count {
            let at = self.turn % count;
            self.turn += 1;
            if let Some(slice) = self.pull(at)? {
                return Ok(Some((at, slice)));
            }
        }
        Ok(None)
    }

    /// The frame that was recorded first; `None` as well while one that was recorded earlier may still come.
    pub(super) fn next_recorded(&mut self) -> Result<Option<(usize, FrameSlice)>, Halt> {
        self.waits = false;
        let mut first = None;
        for at in 0..self.sources.len() {
            first = earlier(first, self.place(at)?);
        }
        let mut at = 0;
        while let Some((recorded, next)) = first
            && at < self.sources.len()
        {
            let has_frame = self.sources[at].cursor.peek()?.is_some();
            // At the same time the partition with the smaller number comes first.
            let least = Timestamp(recorded.0.saturating_add(i64::from(at < next)));
            if !has_frame && !self.is_quiet(at, least) {
                self.waits = true;
                return Ok(None);
            }
            // What came before it was quiet.
            let found = self.place(at)?;
            if earlier(first, found) != first {
                first = found;
                at = 0;
                continue;
            }
            at += 1;
        }
        let Some((_, at)) = first else {
            return Ok(None);
        };
        let slice = self.pull(at)?;
        Ok(slice.map(|slice| (at, slice)))
    }

    /// Whether all of a source that is recorded before `least` can be read. Asked once and then waited for: one that is always
    /// at work would never be found at rest.
    fn is_quiet(&mut self, at: usize, least: Timestamp) -> bool {
        let (source, stamps) = (&mut self.sources[at], self.feed.stamps());
        let partition = source.cursor.partition();
        let known = source.asked.filter(|asked| asked.least >= least);
        let asked = known.unwrap_or_else(|| stamps.ask(partition, least));
        source.asked = Some(asked);
        stamps.is_quiet(partition, asked)
    }

    /// Time and partition of the next frame of a source.
    fn place(&mut self, at: usize) -> Result<Option<(Timestamp, usize)>, Halt> {
        let header: Option<&FrameHeader> = self.sources[at].cursor.peek()?;
        Ok(header.map(|header| (header.recorded_first, at)))
    }

    /// When it is to be looked again, if events are there that others may have to come before.
    pub(super) fn next_look_for_order(&self) -> Option<Duration> {
        self.waits.then_some(LOOK_AGAIN)
    }
}

fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
