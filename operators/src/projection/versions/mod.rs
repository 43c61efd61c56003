//! Versioned tables: each change of a row is kept, for questions about rows as they were and for a feed of changes.
//!
//! Place: a table's writer -> **two hidden tables**, stored with the rows -> [`Changes`], [`TableAt`], [`RowHistory`].
//! *Changes* lie under the actor and a number that counts the actor's changes from 1; *versions* under the row's key, the
//! actor and the same number, and hold the row. See `format.rs`.
//! Invariants: (1) changes, versions, rows and the position that explains them are stored in one transaction; an event that
//! is undone leaves nothing, a row that one event touches several times has one version; (2) numbers of an actor have no
//! gaps, and each change carries a hash of all before it, so whoever goes on behind one either has exactly what came before
//! or is told; (3) what is older than the oldest change kept is there as one version per row: the newest of them.
//! Only what is stored is told. What is merely shown may come in another order after a crash, since a parked key is tried
//! again by the clock: a feed over that would repeat and leave out. Whoever waits has the projection store sooner
//! ([`ProjectionConfig::changes_every_ms`](super::ProjectionConfig)).
//! An event that was freed after others counts from where the projection was by then: a table of the past is what this
//! table was, not what it would have been.
//! Cost: an event that changes a row of such a table has it encoded and two rows stored; tables that are not versioned pay
//! a branch per event. Pruning costs a read and up to two deletes for each change that goes: twice as many per store as
//! have come, of many that come at once a few thousand more than have come.
//! Not here: replays of the log, see `past`.

mod asking;
mod changes;
mod cursor;
mod error;
mod format;
mod history;
mod keeping;
mod pruning;
mod raw;
mod reading;
mod rows_at;
mod table_at;

pub use changes::{Changes, ChangesFrom, RowChange};
pub use cursor::{ChangeCursor, ParseChangeCursorError};
pub use error::ChangesError;
pub use format::Stamp;
pub(super) use format::{Change, Version, version_key, version_of, version_prefix};
pub use history::{RowHistory, RowVersion};
pub(super) use keeping::VersionsMut;
pub use raw::{RawChange, RawChanges, RawChangesError, RawVersion, RawVersions};
pub(super) use reading::{change_at, changes_from, head_of, reaches, tail_of, version_at};
pub use table_at::{FoundIn, TableAt};

use std::time::Duration;

use millstream_engine::state::{StateError, StateStore, TableId};
use xxhash_rust::xxh3::Xxh3;

/// How long the versions of a table's rows are kept. What goes is gone by and by, as new changes come; the newest version
/// of a row that is there never does.
///
/// It may be changed at any time, without another version of the projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub(super) changes_max: u64,
    pub(super) age_max: Duration,
}

impl Retention {
    /// All versions are kept. They grow with the log.
    pub const FOREVER: Self = Self {
        changes_max: u64::MAX,
        age_max: Duration::MAX,
    };

    /// The last `changes` of each of the projection's actors are kept, at least one: of each partition with
    /// [`Rows::ByPartition`](super::Rows), of all together with [`Rows::Global`](super::Rows).
    #[must_use]
    pub const fn last(changes: u64) -> Self {
        Self {
            changes_max: if changes == 0 { 1 } else { changes },
            ..Self::FOREVER
        }
    }

    /// Changes by events that were recorded at most so long before the newest one that changed a row are kept.
    #[must_use]
    pub const fn within(age: Duration) -> Self {
        Self {
            age_max: age,
            ..Self::FOREVER
        }
    }

    /// What both keep.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let is_fewer = self.changes_max < other.changes_max;
        let is_younger = self.age_max.as_nanos() < other.age_max.as_nanos();
        Self {
            changes_max: if is_fewer {
                self.changes_max
            } else {
                other.changes_max
            },
            age_max: if is_younger {
                self.age_max
            } else {
                other.age_max
            },
        }
    }
}

/// What is stored beside a versioned table, by what its names end in.
pub(super) const STORED: [&str; 2] = ["##changes", "##versions"];

/// Where the changes and the versions of a table lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct VersionIds {
    pub(super) changes: TableId,
    pub(super) versions: TableId,
}

impl VersionIds {
    /// Those at the end of what is stored beside a table.
    pub(super) fn last_of(ids: &[TableId]) -> Option<Self> {
        let [.., changes, versions] = *ids else {
            return None;
        };
        Some(Self { changes, versions })
    }

    /// What tells the changes of this table, of this version of its projection, from those of all others: the hash before
    /// the first.
    pub(super) fn seed(self, store: &StateStore) -> Result<u64, StateError> {
        let all = store.projections()?;
        let own = all.iter().find_map(|projection| {
            let at = projection.tables.iter().position(|id| *id == self.changes);
            at.map(|at| (projection, &projection.table_names[at]))
        });
        let mut hasher = Xxh3::new();
        if let Some((projection, name)) = own {
            let names = [projection.name.as_bytes(), name.as_bytes()];
            for bytes in names {
                hasher.update(&(bytes.len() as u64).to_be_bytes());
                hasher.update(bytes);
            }
            hasher.update(&projection.version.to_be_bytes());
        }
        Ok(hasher.digest())
    }
}

/// A place among the changes of one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Head {
    /// Number of the last change; 0 before the first.
    pub(super) number: u64,
    /// Of this change and all before it.
    pub(super) hash: u64,
}
