//! What is expected of the rows and effects that events have left.

use std::collections::BTreeMap;
use std::fmt::Debug;

use millstream_engine::codec::{from_slice, to_vec};

use super::Projected;
use crate::projection::{HotRows, Outbox, Projection, Row, Table, TableKey};

impl<P: Projection> Projected<P> {
    /// Expects this row.
    ///
    /// # Panics
    /// When there is none under `key` or another one, or when it is not read back as it was written.
    #[track_caller]
    pub fn then_row<K, R>(self, table: &Table<K, R>, key: impl Into<K>, row: R) -> Self
    where
        K: TableKey + Debug,
        R: Row + Debug + PartialEq,
    {
        let key = key.into();
        let found = self.hot(table).get(&key);
        let name = table.name();
        let Some(found) = found else {
            panic!("expected {row:?} under {key:?} in {name}, there is no row");
        };
        assert_eq!(found, row, "another row under {key:?} in {name}");
        check_stored(&found, &key, name);
        self
    }

    /// Expects that there is no row under `key`.
    ///
    /// # Panics
    /// When there is one.
    #[track_caller]
    pub fn then_no_row<K, R>(self, table: &Table<K, R>, key: impl Into<K>) -> Self
    where
        K: TableKey + Debug,
        R: Row + Debug,
    {
        let key = key.into();
        let found = self.hot(table).get(&key);
        let name = table.name();
        assert!(
            found.is_none(),
            "expected no row under {key:?} in {name}, found {found:?}"
        );
        self
    }

    /// Expects exactly these rows in a table, in any order.
    ///
    /// # Panics
    /// When there are others, or when one is not read back as it was written.
    #[track_caller]
    pub fn then_rows<K, R, I>(
        self,
        table: &Table<K, R>,
        rows: impl IntoIterator<Item = (I, R)>,
    ) -> Self
    where
        I: Into<K>,
        K: TableKey + Debug + Ord,
        R: Row + Debug + PartialEq,
    {
        let expected: BTreeMap<K, R> = rows
            .into_iter()
            .map(|(key, row)| (key.into(), row))
            .collect();
        let found: BTreeMap<K, R> = self.hot(table).all().into_iter().collect();
        let name = table.name();
        assert_eq!(found, expected, "other rows in {name}");
        for (key, row) in &found {
            check_stored(row, key, name);
        }
        self
    }

    /// Expects that exactly these effects were sent to an outbox, in this order, since the beginning or since it was last
    /// asked; each with the id of its event's stream, without the category. What fails sends nothing.
    ///
    /// # Panics
    /// When there are others, or when one is not read back as it was written.
    #[track_caller]
    pub fn then_sent<'i, E: Row + Debug + PartialEq>(
        mut self,
        outbox: &Outbox<E>,
        effects: impl IntoIterator<Item = (&'i str, E)>,
    ) -> Self {
        let name = outbox.name();
        let expected: Vec<(String, E)> = effects
            .into_iter()
            .map(|(id, effect)| (id.to_owned(), effect))
            .collect();
        let (own, others): (Vec<_>, Vec<_>) =
            self.sent.drain(..).partition(|sent| sent.outbox == name);
        self.sent = others;
        let found: Vec<(String, E)> = own
            .iter()
            .map(|sent| {
                let (id, value) = sent.parts();
                let effect = from_slice(value);
                let effect = effect.unwrap_or_else(|cause| {
                    panic!("an effect of {name} is not read back as it was written: {cause}")
                });
                (id.to_owned(), effect)
            })
            .collect();
        assert_eq!(found, expected, "other effects were sent to {name}");
        self
    }

    #[track_caller]
    fn hot<K: TableKey, R: Row>(&self, table: &Table<K, R>) -> &HotRows<K, R> {
        let name = table.name();
        let at = self.names.iter().position(|own| *own == name);
        at.and_then(|at| self.hot[at].downcast_ref())
            .unwrap_or_else(|| {
                panic!(
                    "{} has no table {name:?} with such keys and rows, it has {:?}",
                    P::NAME,
                    self.names
                )
            })
    }
}

#[track_caller]
fn check_stored<K: TableKey + Debug, R: Row + Debug + PartialEq>(row: &R, key: &K, table: &str) {
    let mut bytes = Vec::new();
    key.write(&mut bytes);
    assert_eq!(
        K::read(&bytes).as_ref(),
        Some(key),
        "a key of {table} is not read back as it was written"
    );
    let read: Result<R, _> = to_vec(row)
        .map_err(|error| error.to_string())
        .and_then(|bytes| from_slice(&bytes).map_err(|error| error.to_string()));
    assert_eq!(
        read.as_ref(),
        Ok(row),
        "the row under {key:?} in {table} is not read back as it was written"
    );
}
