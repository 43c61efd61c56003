//! The log and the tables of a data folder, read beside whoever writes it.

use std::collections::BTreeMap;
use std::path::Path;

use datafusion::common::{DataFusionError, Result};
use millstream_engine::checkpoint::InState;
use millstream_engine::log::{EmbeddedReader, LogReader};
use millstream_engine::state::{FoundTable, RegisteredProjection, StateStore};
use millstream_operators::projection::{KeyPart, effects_of};

use super::SqlError;
use super::catalog::{Opened, TableName, Tables};
use super::rows::RowsOf;
use crate::dataflow::table::dataflow_of;

/// What a store's folder has.
const DATA_FILE: &str = "data.mdb";

/// The tables that are stored in a folder, of each projection by the version that answers.
#[derive(Debug)]
pub(super) struct StoredTables {
    stored: Option<StateStore>,
    tables: BTreeMap<TableName, FoundTable>,
    keys: BTreeMap<String, Vec<KeyPart>>,
}

/// Opens a folder. One without state, which may have been deleted, has no tables.
pub(super) fn open(
    folder: &Path,
    keys: BTreeMap<String, Vec<KeyPart>>,
) -> Result<(EmbeddedReader, StoredTables), SqlError> {
    let log = folder.join("log");
    let file = log.join(DATA_FILE);
    if !file.is_file() {
        let folder = folder.to_path_buf();
        return Err(SqlError::NoLog { folder, file });
    }
    let reader = EmbeddedReader::open_beside(&log)?;
    let state = folder.join("state");
    let mut tables = StoredTables {
        stored: None,
        tables: BTreeMap::new(),
        keys,
    };
    if state.join(DATA_FILE).is_file() {
        let store = StateStore::open_beside(&state)?;
        tables.tables = named(&store, reader.partitions())?;
        let is_there = |name: &String| tables.tables.keys().any(|table| table.name == *name);
        if let Some(name) = tables.keys.keys().find(|name| !is_there(name)) {
            let unknown = format!("there is no table {name:?} to which the parts of a key belong");
            return Err(DataFusionError::Plan(unknown).into());
        }
        tables.stored = Some(store);
    }
    Ok((reader, tables))
}

fn named(store: &StateStore, partitions: u16) -> Result<BTreeMap<TableName, FoundTable>, SqlError> {
    // By whether a dataflow has it, which may be called as a projection is.
    let mut shown: BTreeMap<(bool, String), RegisteredProjection> = BTreeMap::new();
    let all = store.projections()?.into_iter();
    // What a dataflow's checkpoints and what waits in outboxes are kept in is nobody's rows.
    let rows = all.filter(|found| InState::dataflow_of(found).is_none());
    for found in rows.filter(|found| effects_of(found).is_none()) {
        let dataflow = dataflow_of(&found, store, partitions)?;
        let owner = (
            dataflow.is_some(),
            dataflow.unwrap_or(&found.name).to_owned(),
        );
        let versions = match dataflow {
            Some(_) => None,
            None => store.versions(&found.name)?,
        };
        let answers = versions.map(|versions| versions.active);
        // Of what does not say which one answers, the newest.
        let rank = |version: u32| (answers == Some(version), version);
        match shown.get(&owner) {
            Some(known) if rank(known.version) > rank(found.version) => {}
            _ => drop(shown.insert(owner, found)),
        }
    }
    let mut tables = BTreeMap::new();
    // Projections last: a table of one name that both have is the projection's.
    for ((_, owner), projection) in shown.into_iter().rev() {
        let names = projection.table_names.iter().zip(&projection.tables);
        for (name, id) in names.filter(|(name, _)| !is_index(name, &projection)) {
            let table = TableName {
                owner: Some(owner.clone()),
                name: name.to_string(),
            };
            tables.insert(table, projection.found(*id));
        }
    }
    Ok(tables)
}

/// An index is stored as `table#index`.
fn is_index(name: &str, projection: &RegisteredProjection) -> bool {
    let mut ends = name.match_indices('#');
    ends.any(|(at, _)| projection.table(&name[..at]).is_some())
}

impl Tables for StoredTables {
    fn names(&self) -> Vec<TableName> {
        self.tables.keys().cloned().collect()
    }

    fn open(&self, table: &TableName) -> Result<Opened, DataFusionError> {
        let found = self.tables.get(table).zip(self.stored.as_ref());
        let (rows, store) = found
            .ok_or_else(|| DataFusionError::Plan(format!("there is no table {:?}", table.name)))?;
        let keys = self.keys.get(&table.name).cloned();
        Ok((RowsOf::Stored(store.clone(), rows.clone()), keys))
    }
}
