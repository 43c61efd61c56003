//! Events that fail while a test says so, and what is done about them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::time::ManualClock;
use millstream_operators::projection::{FailurePolicy, ProjectionConfig};

/// Numbers that are not borne; what is done about a number takes a while.
#[derive(Clone)]
pub(crate) struct Moods {
    poison: Arc<Mutex<BTreeSet<u32>>>,
    clock: Arc<ManualClock>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot bear {0}")]
pub(crate) struct CannotBear(u32);

impl Moods {
    /// In which all is borne.
    pub(crate) fn good(clock: &Arc<ManualClock>) -> Self {
        Self {
            poison: Arc::default(),
            clock: Arc::clone(clock),
        }
    }

    /// From now on these are not borne.
    pub(crate) fn poison(&self, values: impl IntoIterator<Item = u32>) {
        *self.poison.lock().unwrap() = values.into_iter().collect();
    }

    pub(crate) fn are_good(&self) -> bool {
        self.poison.lock().unwrap().is_empty()
    }

    pub(crate) fn bear(&self, value: u32) -> Result<(), CannotBear> {
        // Turns end in the middle of things.
        self.clock.advance(Duration::from_micros(170));
        if self.poison.lock().unwrap().contains(&value) {
            return Err(CannotBear(value));
        }
        Ok(())
    }
}

/// Tries and stores come soon.
pub(crate) fn config(attempts_max: u32) -> ProjectionConfig {
    ProjectionConfig {
        failures: FailurePolicy {
            attempts_max,
            backoff_first: Duration::from_millis(3),
            backoff_max: Duration::from_millis(9),
        },
        store_every_ms: 4,
        store_every_behind_ms: 7,
        shared_events_min: 2,
        ..ProjectionConfig::default()
    }
}
