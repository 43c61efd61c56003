//! Where the rows of the dataflows go: into memory where they run over what is there, into tables where they go on.

use millstream_engine::flow::Operator;
use millstream_operators::projection::{Row, Table, TableKey};

use crate::dataflow::{Collected, Origin, Stream};

/// Takes the rows of each dataflow.
pub(super) trait Destination {
    /// What is left of rows to whoever declares a dataflow.
    type Kept<R>;

    /// Ends a stream of rows, whose keys in `table` are what `key` says.
    fn keep<P, O, K, R>(
        &self,
        rows: Stream<P, O>,
        table: &Table<K, R>,
        key: fn(&R) -> K,
    ) -> Self::Kept<R>
    where
        P: Origin,
        O: Operator<P::Item, Out = R> + Clone,
        K: TableKey,
        R: Row;
}

/// Collects them.
#[derive(Clone, Copy, Debug)]
pub(super) struct InMemory;

impl Destination for InMemory {
    type Kept<R> = Collected<R>;

    fn keep<P, O, K, R>(
        &self,
        rows: Stream<P, O>,
        _table: &Table<K, R>,
        _key: fn(&R) -> K,
    ) -> Collected<R>
    where
        P: Origin,
        O: Operator<P::Item, Out = R> + Clone,
        K: TableKey,
        R: Row,
    {
        rows.collect()
    }
}

/// Keeps them in tables, which queries read.
#[derive(Clone, Copy, Debug)]
pub(super) struct InTables;

impl Destination for InTables {
    type Kept<R> = ();

    fn keep<P, O, K, R>(&self, rows: Stream<P, O>, table: &Table<K, R>, key: fn(&R) -> K)
    where
        P: Origin,
        O: Operator<P::Item, Out = R> + Clone,
        K: TableKey,
        R: Row,
    {
        rows.to_table(table, move |row| (key(&row), Some(row)));
    }
}
