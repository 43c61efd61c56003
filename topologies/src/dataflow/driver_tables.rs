//! Tables of a dataflow that no engine runs: a state store of its own, in a folder that is gone with it.

use millstream_engine::state::{StateOptions, StateStore, StateWriterThread};
use millstream_operators::sink::TableAccess;
use tempfile::TempDir;

use super::StartDataflowError;
use super::flow::Dataflow;

/// Fields are dropped in this order.
pub(super) struct OwnTables {
    access: TableAccess,
    _thread: StateWriterThread,
    _folder: TempDir,
}

impl OwnTables {
    /// A store with the dataflow's tables; `None` if it writes none.
    pub(super) fn of(dataflow: &Dataflow) -> Result<Option<Self>, StartDataflowError> {
        let tables = dataflow.tables();
        let Some(first) = tables.first() else {
            return Ok(None);
        };
        let fault = |cause: String| StartDataflowError::Stage {
            dataflow: dataflow.name().to_owned(),
            stage: format!("table {first:?}"),
            cause,
        };
        let folder = TempDir::with_prefix("millstream-tables-");
        let folder = folder.map_err(|error| fault(error.to_string()))?;
        let options = StateOptions {
            map_bytes_max: 64 << 30,
            preallocate_step_bytes: 0,
            ..StateOptions::default()
        };
        let state = |error: millstream_engine::state::StateError| fault(error.to_string());
        let (store, writer) = StateStore::open(folder.path(), options).map_err(state)?;
        let (writer, thread) = millstream_engine::state::start(writer).map_err(state)?;
        let access = dataflow.place_tables(&store, &writer).map_err(state)?;
        Ok(Some(Self {
            access,
            _thread: thread,
            _folder: folder,
        }))
    }

    pub(super) const fn access(&self) -> &TableAccess {
        &self.access
    }
}
