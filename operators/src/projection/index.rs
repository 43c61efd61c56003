//! Secondary indexes: rows found by something else than their key.

use std::fmt::Debug;

use super::TableKey;

/// An index of a table. A constant of the program, as the table is: what a row is found by is a plain function of its
/// key and the row. A row for which it gives `None` is not in the index. Several parts are a tuple.
///
/// ```
/// use millstream_operators::projection::{Index, Table};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Customer { country: String, email: Option<String>, city: String }
///
/// const BY_COUNTRY: Index<String, Customer, (String, String)> =
///     Index::named("by-country", |_, row| Some((row.country.clone(), row.city.clone())));
/// const BY_EMAIL: Index<String, Customer, String> =
///     Index::named("by-email", |_, row: &Customer| row.email.clone()).unique();
/// const CUSTOMERS: Table<String, Customer> =
///     Table::named("customers").indexed(&[&BY_COUNTRY, &BY_EMAIL]);
/// assert_eq!(CUSTOMERS.name(), "customers");
/// ```
pub struct Index<K, R, I> {
    name: &'static str,
    of: fn(&K, &R) -> Option<I>,
    is_unique: bool,
}

impl<K, R, I> Index<K, R, I> {
    /// An index of this name, unique in its table, by what `of` gives. Another function needs another version of the
    /// projection.
    #[must_use]
    pub const fn named(name: &'static str, of: fn(&K, &R) -> Option<I>) -> Self {
        Self {
            name,
            of,
            is_unique: false,
        }
    }

    /// No two rows may be found by the same: the event that would make a second one fails, and is dealt with like any
    /// event that fails. The projection has to keep all rows in one actor
    /// ([`Rows::Global`](super::Rows::Global)). Cost: a read of the index for each row that enters it.
    #[must_use]
    pub const fn unique(mut self) -> Self {
        self.is_unique = true;
        self
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What a row is found by.
    pub(super) fn of(&self, key: &K, row: &R) -> Option<I> {
        (self.of)(key, row)
    }
}

impl<K, R, I> Debug for Index<K, R, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("name", &self.name)
            .field("is_unique", &self.is_unique)
            .finish_non_exhaustive()
    }
}

/// An [`Index`], whatever rows are found by in it.
pub trait AnyIndex<K, R>: Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Whether no two rows may be found by the same.
    fn is_unique(&self) -> bool;

    /// Appends what the row is found by, as a part of a key; gives whether it is in the index at all.
    fn write(&self, key: &K, row: &R, out: &mut Vec<u8>) -> bool;
}

impl<K, R, I: TableKey> AnyIndex<K, R> for Index<K, R, I> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_unique(&self) -> bool {
        self.is_unique
    }

    fn write(&self, key: &K, row: &R, out: &mut Vec<u8>) -> bool {
        let found_by = self.of(key, row);
        if let Some(found_by) = &found_by {
            found_by.write_part(out);
        }
        found_by.is_some()
    }
}
