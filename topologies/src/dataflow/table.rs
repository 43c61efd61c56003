//! Streams that end in a table, and the places that an engine makes for it.

use std::any::TypeId;

use millstream_engine::flow::Operator;
use millstream_engine::state::{StateError, StateStore, StateWriterHandle, TableId};
use millstream_operators::projection::{Row, Table, TableKey};
use millstream_operators::sink::{TableAccess, TablePlace, TableSink, TableSinkOptions};

use super::flow::Dataflow;
use super::origin::Origin;
use super::stream::Stream;

/// Makes the place of a table.
type MakePlace = Box<dyn Fn(TableId, &StateStore) -> TablePlace + Send>;

/// A table that a dataflow writes.
pub(super) struct TablePlan {
    name: &'static str,
    make: MakePlace,
}

impl TablePlan {
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }
}

impl<P: Origin, O: Operator<P::Item> + Clone> Stream<P, O> {
    /// Keeps a row per key in `table`, which [`Engine::query`](crate::Engine::query) reads: what `row` makes of an item
    /// takes the place of the key's row, `None` removes it. The last item of a key wins.
    ///
    /// Until there are checkpoints the table is emptied when the dataflow starts, and made anew from its sources.
    /// A query cannot ask it for a token. Cost: an exchange by key, so that a key's rows have one writer.
    pub fn to_table<K, R, F>(self, table: &Table<K, R>, row: F)
    where
        K: TableKey,
        R: Row,
        F: Fn(O::Out) -> (K, Option<R>) + Clone + Send + 'static,
    {
        self.to_table_with(table, TableSinkOptions::default(), row);
    }

    /// The same with limits of its own.
    pub fn to_table_with<K, R, F>(self, table: &Table<K, R>, options: TableSinkOptions, row: F)
    where
        K: TableKey,
        R: Row,
        F: Fn(O::Out) -> (K, Option<R>) + Clone + Send + 'static,
    {
        let table = *table;
        self.flow.draft.borrow_mut().tables.push(TablePlan {
            name: table.name(),
            make: Box::new(move |id, store| TablePlace::new(&table, id, store)),
        });
        let keyed = self
            .map(row)
            .key_by(|(key, _): &(K, Option<R>)| key.clone());
        let (stream, _, _) = keyed.exchange("table");
        stream.end(TableSink::new(table, options));
    }
}

impl Dataflow {
    /// Names of the tables that it writes.
    pub(crate) fn tables(&self) -> Vec<&'static str> {
        let draft = self.lock();
        draft.tables.iter().map(TablePlan::name).collect()
    }

    /// Names as producers of the sinks that tell repetitions by their number.
    pub(crate) fn producers(&self) -> Vec<String> {
        let draft = self.lock();
        let producers = draft.stages.iter();
        producers
            .filter_map(|stage| stage.site.producer.clone())
            .collect()
    }

    /// Event types whose categories must be known, with the sources that read them.
    pub(crate) fn event_types(&self) -> Vec<(String, (TypeId, &'static str))> {
        let draft = self.lock();
        let sources = draft.sources.iter();
        sources
            .filter_map(|source| Some((source.name.clone(), source.notes.events_of?)))
            .collect()
    }

    /// Empties its tables, makes places for them and says where they are. Blocks on the state's writer.
    pub(crate) fn place_tables(
        &self,
        store: &StateStore,
        writer: &StateWriterHandle,
    ) -> Result<TableAccess, StateError> {
        let draft = self.lock();
        let names: Vec<_> = draft.tables.iter().map(TablePlan::name).collect();
        let mut access = TableAccess {
            store: store.clone(),
            writer: writer.clone(),
            places: Default::default(),
        };
        // Registered like a projection that has nobody's name.
        let owner = format!("dataflow {}", self.name);
        if store.projection(&owner, VERSION)?.is_some() {
            writer.drop_projection(&owner, VERSION)?;
        }
        if names.is_empty() {
            return Ok(access);
        }
        let registered = writer.register_projection(&owner, VERSION, &names)?;
        for (plan, &id) in draft.tables.iter().zip(&registered.tables) {
            access.places.insert(plan.name, (plan.make)(id, store));
        }
        Ok(access)
    }
}

/// Of tables that are emptied at each start.
const VERSION: u32 = 1;
