//! Tables and dead letters of a dataflow that no engine runs: a state store of its own, in a folder that is gone with it.

use millstream_engine::state::{StateOptions, StateStore, StateWriterThread};
use tempfile::TempDir;

use super::StartDataflowError;
use super::flow::Dataflow;
use super::table::Placed;

/// Fields are dropped in this order.
pub(super) struct OwnTables {
    placed: Placed,
    _thread: StateWriterThread,
    _folder: TempDir,
}

impl OwnTables {
    /// A store with the dataflow's tables; `None` if it writes none.
    pub(super) fn of(dataflow: &Dataflow) -> Result<Option<Self>, StartDataflowError> {
        if !dataflow.has_state() {
            return Ok(None);
        }
        let fault = |cause: String| StartDataflowError::Stage {
            dataflow: dataflow.name().to_owned(),
            stage: "tables".to_owned(),
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
        let placed = dataflow
            .place_tables(&store, &writer, None)
            .map_err(state)?;
        Ok(Some(Self {
            placed,
            _thread: thread,
            _folder: folder,
        }))
    }

    pub(super) const fn placed(&self) -> &Placed {
        &self.placed
    }
}
