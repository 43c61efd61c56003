//! The description of a table: its name, its key and its row.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use super::{AnyIndex, Retention, TableKey, versions};

/// What a row must be able to do: be copied for readers, and stored.
pub trait Row: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<R: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Row for R {}

/// A table by name. A constant of the program: queries name it as well.
///
/// ```
/// use millstream_operators::projection::Table;
/// const BALANCES: Table<String, i64> = Table::named("balances");
/// assert_eq!(BALANCES.name(), "balances");
/// ```
pub struct Table<K: 'static, R: 'static> {
    name: &'static str,
    indexes: &'static [&'static dyn AnyIndex<K, R>],
    retention: Option<Retention>,
    types: PhantomData<fn() -> (K, R)>,
}

impl<K, R> Clone for Table<K, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, R> Copy for Table<K, R> {}

impl<K: TableKey, R: Row> Table<K, R> {
    /// A table of this name, unique in a topology.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            indexes: &[],
            retention: None,
            types: PhantomData,
        }
    }

    /// The same table with these secondary indexes. A table that gains or loses one needs another version of its
    /// projection. Cost per row that changes: what each index finds it by is computed before and after; where that
    /// differs, two entries are written.
    #[must_use]
    pub const fn indexed(self, indexes: &'static [&'static dyn AnyIndex<K, R>]) -> Self {
        Self { indexes, ..self }
    }

    /// Its secondary indexes.
    #[must_use]
    pub const fn indexes(&self) -> &'static [&'static dyn AnyIndex<K, R>] {
        self.indexes
    }

    /// The same table with each change of a row kept as a version, for so long: for questions about rows as they were, and
    /// a feed of changes. A table that becomes versioned, or is no more, needs another version of its projection. Cost per
    /// event that changes a row: the row is encoded, and stored once more with two entries.
    ///
    /// ```
    /// use millstream_operators::projection::{Retention, Table};
    /// const BALANCES: Table<String, i64> =
    ///     Table::named("balances").versioned(Retention::last(1_000_000));
    /// ```
    #[must_use]
    pub const fn versioned(self, retention: Retention) -> Self {
        Self {
            retention: Some(retention),
            ..self
        }
    }

    /// How long versions of its rows are kept; `None` if none are.
    #[must_use]
    pub const fn retention(&self) -> Option<Retention> {
        self.retention
    }

    /// Names of what is stored beside its rows: its indexes, and then changes and versions if it is versioned.
    pub(super) fn beside(&self) -> Vec<String> {
        let indexes = self.indexes.iter().map(|index| index.name());
        let indexes = indexes.map(|index| format!("{}#{index}", self.name));
        let versions = versions::STORED.map(|suffix| format!("{}{suffix}", self.name));
        let versions = versions.into_iter().filter(|_| self.retention.is_some());
        indexes.chain(versions).collect()
    }

    /// How many these are.
    pub(super) const fn beside_count(&self) -> usize {
        let versions = if self.retention.is_some() {
            versions::STORED.len()
        } else {
            0
        };
        self.indexes.len() + versions
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<K, R> std::fmt::Debug for Table<K, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}
