//! What can go wrong with changes and versions.

use millstream_engine::state::StateError;

use super::ChangeCursor;
use crate::projection::QueryError;

/// Why there is no answer from the versions of a table. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangesError {
    /// The table keeps no versions of its rows.
    #[error(
        "table {table:?} keeps no versions of its rows: say .versioned(…) and raise the version of its projection"
    )]
    NotVersioned {
        /// Name of the table.
        table: &'static str,
    },
    /// The cursor is of another table, or of another version of the projection: take a snapshot, and go on from there.
    #[error(
        "the place is one in the changes of another table than {table:?}, or of another version of its projection: \
         go on from a snapshot"
    )]
    Foreign {
        /// Name of the table.
        table: &'static str,
    },
    /// The table has come to where it is by other changes: of another store, or of one before a backup was restored or power
    /// failed. Take a snapshot, and go on from there.
    #[error(
        "table {table:?} did not have the changes that lie before this place, or not in this order: go on from a snapshot"
    )]
    OtherHistory {
        /// Name of the table.
        table: &'static str,
    },
    /// The place is behind changes that are shown and not stored yet: ask again.
    #[error(
        "the changes of table {table:?} before this place are not stored yet: ask again in a moment"
    )]
    NotStored {
        /// Name of the table.
        table: &'static str,
    },
    /// What lies behind the cursor is not kept any more. Take a snapshot, and go on from there.
    #[error(
        "changes of table {table:?} behind this place are not kept any more, the oldest are those behind {oldest}: go on \
         from a snapshot, or from there"
    )]
    Expired {
        /// Name of the table.
        table: &'static str,
        /// The oldest place to go on from.
        oldest: Box<ChangeCursor>,
    },
    /// The store or the projection failed.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl From<StateError> for ChangesError {
    fn from(cause: StateError) -> Self {
        Self::Query(cause.into())
    }
}

impl ChangesError {
    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotVersioned { .. }
            | Self::Foreign { .. }
            | Self::OtherHistory { .. }
            | Self::Expired { .. } => false,
            Self::NotStored { .. } => true,
            Self::Query(cause) => cause.is_retryable(),
        }
    }
}
