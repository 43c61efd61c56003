//! What events have beside their payload, in the kit.

use millstream_engine::event::{Metadata, Offset, PartitionId, Position};
use millstream_engine::time::Timestamp;

use crate::projection::ProjectedEvent;
use crate::projection::enrich::Sight;

/// When events happen, where they come from, and what they see of other projections.
pub(super) struct Scene {
    pub(super) now: Timestamp,
    pub(super) metadata: Metadata,
    pub(super) sight: Sight,
}

/// Place of an event with so many before it.
pub(super) fn position(count: u64) -> Position {
    Position {
        partition: PartitionId(0),
        offset: Offset(count),
    }
}

impl Scene {
    /// The event that a projection is given, with `count` events before it.
    pub(super) fn event<'e, E>(
        &'e self,
        count: u64,
        (id, version): (&'e str, u64),
        payload: &'e E,
    ) -> ProjectedEvent<'e, E> {
        ProjectedEvent {
            id,
            version,
            position: position(count),
            recorded_at: self.now,
            event_time: self.now,
            metadata: &self.metadata,
            payload,
            sight: &self.sight,
        }
    }
}
