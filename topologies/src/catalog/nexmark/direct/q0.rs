//! q0: every event.

use crate::catalog::nexmark::event::NexmarkEvent;

/// Every event.
#[must_use]
pub fn q0(events: &[NexmarkEvent]) -> Vec<NexmarkEvent> {
    let mut rows = events.to_vec();
    rows.sort();
    rows
}
