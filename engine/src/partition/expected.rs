//! What a caller expects of a stream before it is written.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a stream that an append or command is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Expected {
    /// Whatever it is.
    #[default]
    Any,
    /// Without any event.
    NoStream,
    /// With at least one event.
    Exists,
    /// With exactly this version: the number of its last event, from 0.
    Exact(u64),
}

/// A stream is not as it was expected. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {}", Found(*.actual))]
pub struct Conflict {
    /// What was expected.
    pub expected: Expected,
    /// Number of the stream's last event; `None` when it has none.
    pub actual: Option<u64>,
}

impl Expected {
    /// Compares with a stream of `events` events.
    ///
    /// # Errors
    /// [`Conflict`] with the actual version.
    pub fn check(self, events: u64) -> Result<(), Conflict> {
        let holds = match self {
            Self::Any => true,
            Self::NoStream => events == 0,
            Self::Exists => events > 0,
            Self::Exact(version) => events.checked_sub(1) == Some(version),
        };
        if holds {
            return Ok(());
        }
        Err(Conflict {
            expected: self,
            actual: events.checked_sub(1),
        })
    }

    /// The expectation that a stream which was found like this still is.
    #[must_use]
    pub fn unchanged_since(actual: Option<u64>) -> Self {
        actual.map_or(Self::NoStream, Self::Exact)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::Exists => f.write_str("an existing stream"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

struct Found(Option<u64>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("no stream"),
            Some(version) => write!(f, "version {version}"),
        }
    }
}
