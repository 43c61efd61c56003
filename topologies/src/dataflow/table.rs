//! Streams that end in a table, and the places that an engine makes for it.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::checkpoint::{CheckpointError, InState, Manifest, StageManifest};
use millstream_engine::event::PartitionId;
use millstream_engine::flow::{Operator, Resources};
use millstream_engine::state::{
    RegisteredProjection, StateError, StateStore, StateWriterHandle, TableId,
};
use millstream_operators::projection::{AnyReader, Row, Table, TableKey};
use millstream_operators::sink::{
    LetterAccess, TableAccess, TablePlace, TableSink, TableSinkOptions,
};

use super::flow::Dataflow;
use super::origin::Origin;
use super::site::{FilesNote, table_identity};
use super::stream::Stream;

/// The tables of one dataflow of an engine, over all of its beginnings: whoever reads them keeps its reader.
pub(crate) struct Tables {
    store: StateStore,
    writer: StateWriterHandle,
    places: Mutex<HashMap<&'static str, TablePlace>>,
}

impl Tables {
    pub(crate) fn new(store: StateStore, writer: StateWriterHandle) -> Self {
        Self {
            store,
            writer,
            places: Mutex::default(),
        }
    }

    /// Places for a run that begins, the same ones as before as far as a table has kept its id.
    pub(crate) fn place(
        &self,
        dataflow: &Dataflow,
        from: Option<&Manifest>,
    ) -> Result<Placed, StateError> {
        let mut placed = dataflow.place_tables(&self.store, &self.writer, from)?;
        let mut known = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, place) in &mut placed.tables.places {
            match known.get(name) {
                Some(before) => *place = before.moved_to(place),
                None => {
                    known.insert(name, place.clone());
                }
            }
        }
        Ok(placed)
    }

    /// Readers by the names of the tables, once they are placed.
    pub(crate) fn readers(&self) -> Vec<(&'static str, Arc<dyn AnyReader>)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let readers = places.iter().map(|(name, place)| (*name, place.reader()));
        readers.collect()
    }
}

/// Where a dataflow keeps what it stores.
pub(crate) struct Placed {
    pub(crate) tables: TableAccess,
    /// If it stores anything.
    pub(crate) letters: Option<LetterAccess>,
}

impl Placed {
    pub(crate) fn add_to(&self, resources: Resources) -> Resources {
        let resources = resources.with(self.tables.clone());
        match &self.letters {
            Some(letters) => resources.with(letters.clone()),
            None => resources,
        }
    }
}

/// Makes the place of a table.
type MakePlace = Box<dyn Fn(TableId, &StateStore) -> TablePlace + Send>;

/// A table that a dataflow writes.
pub(super) struct TablePlan {
    name: &'static str,
    make: MakePlace,
    has_indexes: bool,
    is_versioned: bool,
}

impl TablePlan {
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) const fn is_versioned(&self) -> bool {
        self.is_versioned
    }

    pub(super) const fn has_indexes(&self) -> bool {
        self.has_indexes
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
            has_indexes: !table.indexes().is_empty(),
            is_versioned: table.retention().is_some(),
        });
        let keyed = self
            .map(row)
            .key_by(|(key, _): &(K, Option<R>)| key.clone());
        let (mut stream, _, _) = keyed.exchange("table");
        stream.site.table = Some(table.name());
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

    /// Folders and prefixes of its file sinks.
    pub(crate) fn files(&self) -> Vec<FilesNote> {
        let draft = self.lock();
        let stages = draft.stages.iter();
        stages
            .filter_map(|stage| stage.site.files.clone())
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

    /// Whether it can take checkpoints and is to.
    pub(crate) const fn takes_checkpoints(&self) -> bool {
        self.options.checkpoints.is_some()
    }

    /// Empties its tables, but not those whose rows are part of the checkpoint that the run begins from, makes places for
    /// them and says where they are. Blocks on the state's writer.
    pub(crate) fn place_tables(
        &self,
        store: &StateStore,
        writer: &StateWriterHandle,
        from: Option<&Manifest>,
    ) -> Result<Placed, StateError> {
        let draft = self.lock();
        let names: Vec<_> = draft.tables.iter().map(TablePlan::name).collect();
        let mut access = TableAccess {
            store: store.clone(),
            writer: writer.clone(),
            places: Default::default(),
        };
        // Registered like a projection that has nobody's name.
        let owner = owner(&self.name);
        let known = store.projection(&owner, VERSION)?;
        match (&known, from) {
            (Some(_), None) => writer.drop_projection(&owner, VERSION)?,
            (Some(known), Some(from)) => keep_tables(known, from, &names, writer)?,
            (None, _) => {}
        }
        let registered = match store.projection(&owner, VERSION)? {
            // Also of one that has neither tables nor letters now: it may have letters of before to delete.
            Some(kept) => kept,
            None if names.is_empty() && !draft.has_letters => {
                let tables = access;
                return Ok(Placed {
                    tables,
                    letters: None,
                });
            }
            None => writer.register_projection(&owner, VERSION, &names)?,
        };
        for plan in &draft.tables {
            if let Some(id) = registered.table(plan.name) {
                access.places.insert(plan.name, (plan.make)(id, store));
            }
        }
        let letters = LetterAccess {
            store: store.clone(),
            writer: writer.clone(),
            owner: registered.id,
            name: registered.name.as_str().into(),
        };
        Ok(Placed {
            tables: access,
            letters: Some(letters),
        })
    }

    /// Whether it keeps anything in the state.
    pub(crate) fn has_state(&self) -> bool {
        let draft = self.lock();
        draft.has_letters || !draft.tables.is_empty()
    }
}

/// Has a dataflow's tables be those of `names`: with the rows that are part of checkpoint `from`, otherwise empty. One that
/// the dataflow no longer has stays until it begins from a checkpoint without it: until then a start of the program as it
/// was finds its rows.
fn keep_tables(
    known: &RegisteredProjection,
    from: &Manifest,
    names: &[&str],
    writer: &StateWriterHandle,
) -> Result<(), StateError> {
    let has = |table: &str| {
        let identity = table_identity(table);
        let is_meant = |stage: &StageManifest| {
            let rest = stage.name.strip_prefix(&identity);
            rest.is_some_and(|rest| rest.is_empty() || rest == " (named)")
        };
        from.stages.iter().any(is_meant)
    };
    let stored = known.table_names.iter().map(|table| &table[..]);
    let kept: Vec<&str> = stored.filter(|table| has(table)).collect();
    let gone = kept.iter().copied().filter(|table| !names.contains(table));
    let tables: Vec<&str> = names.iter().copied().chain(gone).collect();
    writer.set_tables(&known.name, known.version, &tables, &kept)?;
    Ok(())
}

/// Of tables that are emptied where no checkpoint is begun from.
pub(crate) const VERSION: u32 = 1;
/// Of the names under which tables of dataflows are registered.
const OWNER: &str = "dataflow ";

/// The name that a dataflow's tables and letters are registered under.
pub(crate) fn owner(dataflow: &str) -> String {
    format!("{OWNER}{dataflow}")
}

/// The dataflow whose tables are registered so; `None` if they are a projection's. A projection may have any name, but
/// only it has progress once it has run.
pub(crate) fn dataflow_of<'a>(
    registered: &'a RegisteredProjection,
    store: &StateStore,
    partitions: u16,
) -> Result<Option<&'a str>, StateError> {
    let Some(dataflow) = registered.name.strip_prefix(OWNER) else {
        return Ok(None);
    };
    for partition in (0..partitions).map(PartitionId) {
        if store.progress(registered.id, partition)?.is_some() {
            return Ok(None);
        }
    }
    Ok((registered.version == VERSION).then_some(dataflow))
}

/// Forgets checkpoints, but not savepoints, of dataflows that are none of `dataflows`: without its tables one is of no use.
/// Before these are dropped, so that whatever fails leaves none that seems to fit to them. Blocks on the state's writer.
pub(crate) fn forget_others(
    dataflows: &[String],
    store: &StateStore,
    writer: &StateWriterHandle,
) -> Result<(), CheckpointError> {
    let registered = store.projections();
    let registered = registered.map_err(|error| CheckpointError::Storage(error.to_string()))?;
    for dataflow in registered.iter().filter_map(InState::dataflow_of) {
        if !dataflows.iter().any(|name| name == dataflow) {
            InState::forget(dataflow, store, writer)?;
        }
    }
    Ok(())
}

/// Drops tables of dataflows that are none of `dataflows`: they were removed or renamed. What they had comes again from
/// their sources. Blocks on the state's writer.
pub(crate) fn drop_others(
    dataflows: &[String],
    store: &StateStore,
    writer: &StateWriterHandle,
    partitions: u16,
) -> Result<(), StateError> {
    for registered in store.projections()? {
        let dataflow = dataflow_of(&registered, store, partitions)?;
        if dataflow.is_some_and(|dataflow| !dataflows.iter().any(|name| name == dataflow)) {
            writer.drop_projection(&registered.name, registered.version)?;
        }
    }
    Ok(())
}
