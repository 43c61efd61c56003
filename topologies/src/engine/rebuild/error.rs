//! What can go wrong with a change of versions.

use std::time::Duration;

use millstream_engine::state::StateError;
use millstream_operators::projection::QueryError;

/// Why a version of a projection was not compared, switched to or dropped.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// The topology has no such projection.
    #[error("the topology has no projection {projection:?}; it has {known:?}")]
    UnknownProjection {
        /// Its name.
        projection: String,
        /// Those that it has.
        known: Vec<&'static str>,
    },
    /// There is nothing to switch to.
    #[error(
        "version {active} of {projection} answers, and no higher one runs beside it: declare it with .candidate(…) and start \
         again, or say which other one is meant"
    )]
    NoCandidate {
        /// Name of the projection.
        projection: &'static str,
        /// The version that answers.
        active: u32,
    },
    /// No such version runs.
    #[error(
        "version {version} of {projection} does not run, but {known:?}: declare it with .candidate(…) and start again"
    )]
    UnknownVersion {
        /// Name of the projection.
        projection: &'static str,
        /// The version.
        version: u32,
        /// Those that run.
        known: Vec<u32>,
    },
    /// There was no switch, or the version from before does not run any more.
    #[error("{}", no_previous(.projection, *.previous))]
    NoPrevious {
        /// Name of the projection.
        projection: &'static str,
        /// The version that answered before, if there was a switch.
        previous: Option<u32>,
    },
    /// The version has not come as far as the one that answers. Nothing was changed: try again later.
    #[error(
        "version {version} of {projection} is {behind} events behind the one that answers, after {waited:?}: nothing was \
         changed, try again once it has caught up"
    )]
    Behind {
        /// Name of the projection.
        projection: &'static str,
        /// The version that is behind.
        version: u32,
        /// By how many events.
        behind: u64,
        /// How long was waited.
        waited: Duration,
    },
    /// Two versions could not be held at one position. Nothing was changed: try again.
    #[error(
        "the versions of {projection} did not come to stand at one position: try again while less is appended"
    )]
    Moving {
        /// Name of the projection.
        projection: &'static str,
    },
    /// The version that answers was given up before it had sent the effects of all events that the other one has applied
    /// without sending any: nobody would. Nothing was changed.
    #[error(
        "version {version} of {projection} was given up before it had sent the effects of {events} events, and after a switch \
         nobody would: mend it, start again, and switch once it has caught up; or do without them, and start with the other \
         version declared alone"
    )]
    Unsent {
        /// Name of the projection.
        projection: &'static str,
        /// The version that answers.
        version: u32,
        /// Events whose effects are not sent.
        events: u64,
    },
    /// The version that answers still has to send the effects of events that the other one has applied without sending any. It
    /// answers on: try again, or wait for longer.
    #[error(
        "version {version} of {projection} has yet to send the effects of {events} events before another version sends them,          after {waited:?}: it answers on, try again or with a longer deadline"
    )]
    Sending {
        /// Name of the projection.
        projection: &'static str,
        /// The version that answers.
        version: u32,
        /// Events whose effects are not sent.
        events: u64,
        /// How long was waited.
        waited: Duration,
    },
    /// The version answers queries. Nothing was dropped.
    #[error(
        "version {version} of {projection} answers queries: switch to another one before it is dropped"
    )]
    Active {
        /// Name of the projection.
        projection: &'static str,
        /// The version.
        version: u32,
    },
    /// Another projection looks into the tables of the version. Nothing was dropped.
    #[error(
        "version {reader_version} of {reader} reads the tables of version {version} of {projection}: let a new version of \
         {reader} read another one, switch to that, drop the old one, and then this"
    )]
    Read {
        /// Name of the projection.
        projection: &'static str,
        /// The version.
        version: u32,
        /// Name of the projection that reads it.
        reader: &'static str,
        /// Version of that.
        reader_version: u32,
    },
    /// A stage of the version does not end, so what it writes to cannot be deleted: start the process again.
    #[error(
        "stage {stage} did not end within {waited:?}: nothing was dropped, start the process again"
    )]
    Stage {
        /// Name of the stage.
        stage: String,
        /// How long was waited.
        waited: Duration,
    },
    /// A version does not come further, or its rows cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
}

fn no_previous(projection: &str, previous: Option<u32>) -> String {
    match previous {
        Some(previous) => format!(
            "version {previous} of {projection} answered before, and does not run: declare it with .candidate(…) and start \
             again"
        ),
        None => format!("no other version of {projection} has answered before, or it was dropped"),
    }
}

impl RebuildError {
    /// Whether the same may succeed later. No wildcard: each new variant must decide.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Behind { .. } | Self::Moving { .. } | Self::Sending { .. } => true,
            Self::Query(cause) => cause.is_retryable(),
            Self::State(cause) => cause.is_retryable(),
            Self::UnknownProjection { .. }
            | Self::NoCandidate { .. }
            | Self::UnknownVersion { .. }
            | Self::NoPrevious { .. }
            | Self::Unsent { .. }
            | Self::Active { .. }
            | Self::Read { .. }
            | Self::Stage { .. } => false,
        }
    }
}
