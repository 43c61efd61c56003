//! How much waits in outboxes, and how long the oldest has: for metrics.
//!
//! Age by recorded time is nothing for as long as stamps lie ahead of a clock that was set back, and cannot be told of what cannot
//! be read. So it is known by monotonic time as well for how long this process has seen that what is the oldest now, or what came
//! before it and after that moment, lies there.
//! Cost: a read of the store per look for each partition of an outbox that has something, and rarely another one.

use std::ops::Bound;
use std::sync::PoisonError;
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::metrics::OutboxNow;
use millstream_engine::state::{RowsSize, StateError};
use millstream_engine::time::{Clock, Timestamp};

use super::format::{self, keys_of};
use super::outlets::Outlets;
use super::waiting::PartitionState;
use super::{EffectPlace, damaged};

/// Rows that are looked at for one that can be read, where the oldest cannot.
const LOOKED_AT_MAX: usize = 256;

/// The last effect of a partition at a moment. What is there and does not lie behind it has waited since then, but for what came
/// late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    last: EffectPlace,
    /// Monotonic time.
    since: Duration,
}

/// The oldest effects of a partition.
struct Oldest {
    first: EffectPlace,
    /// When the event was recorded of the first that can be read, if one of them can.
    recorded_at: Option<Timestamp>,
}

impl Outlets {
    /// Shows what waits in all outboxes now.
    ///
    /// # Errors
    /// [`StateError`]: figures behind the first one that cannot be looked at stay as they were.
    #[doc(hidden)]
    pub fn observe(&self, clock: &dyn Clock) -> Result<(), StateError> {
        for own in &self.boxes {
            own.metrics.observe_full(own.is_full());
            for (partition, waits) in (0..).map(PartitionId).zip(&own.partitions) {
                let RowsSize { rows, bytes } = waits.size();
                let oldest = self.waits_for(own.name, (partition, waits), clock)?;
                own.metrics.observe(
                    partition,
                    OutboxNow {
                        effects: rows,
                        bytes,
                        oldest,
                    },
                );
            }
        }
        Ok(())
    }

    /// How long the oldest effect of a partition has waited that can be read, as far as is known. Where none of the first can,
    /// for how long they were seen to.
    fn waits_for(
        &self,
        outbox: &str,
        (partition, waits): (PartitionId, &PartitionState),
        clock: &dyn Clock,
    ) -> Result<Duration, StateError> {
        let watched = waits.watched.lock();
        let mut watched = watched.unwrap_or_else(PoisonError::into_inner);
        let oldest = match waits.size().rows {
            0 => None,
            _ => self.oldest(outbox, partition)?,
        };
        let Some(oldest) = oldest else {
            *watched = None;
            return Ok(Duration::ZERO);
        };
        let now = clock.monotonic();
        let known = watched.filter(|known| oldest.first <= known.last);
        let since = match known {
            Some(known) => known.since,
            None => {
                let last = self.last(outbox, partition)?.unwrap_or(oldest.first);
                *watched = Some(Watched { last, since: now });
                now
            }
        };
        let recorded = oldest.recorded_at.map(|at| clock.now().since(at));
        Ok(recorded.unwrap_or_default().max(now.saturating_sub(since)))
    }

    fn oldest(&self, outbox: &str, partition: PartitionId) -> Result<Option<Oldest>, StateError> {
        let (first, last) = keys_of(outbox, partition);
        let (first, last) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let mut oldest = None;
        // Nearly always the first can be read.
        for limit in [1, LOOKED_AT_MAX] {
            let range = (first, last);
            let rows = damaged::page(&self.store, self.ids.effects, range, limit, false)?.rows;
            let place = rows.first().and_then(|(key, _)| EffectPlace::of_key(key));
            let Some(first) = place else { return Ok(None) };
            let read = rows.iter().find_map(|(_, row)| format::read(row));
            let recorded_at = read.map(|read| read.recorded_at);
            oldest = Some(Oldest { first, recorded_at });
            if recorded_at.is_some() {
                break;
            }
        }
        Ok(oldest)
    }

    fn last(
        &self,
        outbox: &str,
        partition: PartitionId,
    ) -> Result<Option<EffectPlace>, StateError> {
        let (first, last) = keys_of(outbox, partition);
        let (first, last) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let page = damaged::page(&self.store, self.ids.effects, (first, last), 1, true)?;
        let row = page.rows.first();
        Ok(row.and_then(|(key, _)| EffectPlace::of_key(key)))
    }
}
