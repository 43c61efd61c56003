//! The description of a table: its name, its key and its row.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use super::{AnyIndex, TableKey};

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
