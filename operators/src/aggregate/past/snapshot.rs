//! The nearest snapshot at or before a moment.

use millstream_engine::codec::StandaloneReader;
use millstream_engine::stage::caught;
use millstream_engine::state::Snapshot;

use super::{AggregateAt, Past};
use crate::aggregate::Aggregate;
use crate::past::{Cut, PastError};

impl<A: Aggregate> Past<A> {
    /// The state of the newest snapshot that lies within a moment. Whatever is wrong with one, an older one or the events
    /// are there.
    pub(super) fn nearest(&self, cut: &Cut) -> Result<Option<AggregateAt<A>>, PastError> {
        let Some(store) = self.snapshots.as_ref().filter(|_| cut.is_beginning()) else {
            return Ok(None);
        };
        let mut below = u64::MAX;
        loop {
            let fits = |head: &Snapshot| {
                let last = head.stream_version.checked_sub(1);
                let is_within = last
                    .is_some_and(|own| cut.version().is_none_or(|last| own <= last))
                    && head.position.offset < cut.end();
                is_within && head.stream_version < below && head.aggregate_version == A::VERSION
            };
            let Some(snapshot) = store.snapshot_fitting(&self.stream, fits) else {
                return Ok(None);
            };
            below = snapshot.stream_version;
            if let Some(found) = self.state_of(&snapshot)? {
                return Ok(Some(found));
            }
        }
    }

    /// `None` when the snapshot is not of this log or cannot be read.
    fn state_of(&self, snapshot: &Snapshot) -> Result<Option<AggregateAt<A>>, PastError> {
        let position = snapshot.position;
        if position.partition != self.partition {
            return Ok(None);
        }
        // The hash alone tells the frame, which is not unpacked for that.
        let head = self.streams.frame_head(self.partition, position.offset)?;
        let Some(head) = head.filter(|head| head.hash == snapshot.frame) else {
            return Ok(None);
        };
        let decoded = caught(|| StandaloneReader::new().decode::<A>(&snapshot.bytes));
        let Ok(Ok(state)) = decoded else {
            tracing::warn!(stream = %self.stream, "a snapshot cannot be read, its events are");
            return Ok(None);
        };
        // All events of a frame of one turn have one time as a rule, and then the frame need not be unpacked.
        let recorded_at = if head.recorded_first == head.recorded_last {
            head.recorded_last
        } else {
            let frame = self.streams.frame_at(self.partition, position.offset)?;
            let slot = position.offset.0.saturating_sub(head.first.0) as u32;
            let record = frame.as_ref().and_then(|frame| {
                let record = frame.records_from(slot).next();
                record.map(|record| record.recorded_at)
            });
            record.unwrap_or(head.recorded_last)
        };
        Ok(Some(AggregateAt {
            state,
            version: snapshot.stream_version - 1,
            position,
            recorded_at,
        }))
    }
}
