//! Additions that projections fail on.

use millstream_operators::projection::FailurePolicy;

use millstream::prelude::*;

use super::{Happened, panics};

/// An addition that is failed on always; one that is panicked on always.
pub(crate) const FAILS: i64 = 1_000;
pub(crate) const PANICS: i64 = 1_001;

#[derive(Debug, thiserror::Error)]
#[error("this is not summed")]
pub(crate) struct NotSummed;

/// What an event adds.
pub(crate) fn change(event: &Happened) -> i64 {
    match event {
        Happened::Added { by } => *by,
        _ => 0,
    }
}

/// What becomes of an event where it is summed.
pub(crate) fn summed(event: &Happened) -> Result<(), NotSummed> {
    match change(event) {
        FAILS => Err(NotSummed),
        PANICS => panics("summing panics"),
        _ => Ok(()),
    }
}

/// Whether it waits for a person in the end.
pub(crate) fn is_failed_on(by: i64) -> bool {
    [FAILS, PANICS].contains(&by)
}

/// An event that fails is a dead letter at once.
pub(crate) fn failing_at_once() -> ProjectionConfig {
    ProjectionConfig {
        failures: FailurePolicy {
            attempts_max: 1,
            ..FailurePolicy::default()
        },
        ..ProjectionConfig::default()
    }
}
