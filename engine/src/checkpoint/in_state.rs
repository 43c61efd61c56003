//! Checkpoints in the state environment, as rows of two tables that are registered for a dataflow.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::task::Waker;

use super::{
    CheckpointError, CheckpointStorage, Epoch, Rows, StorageWrite, StoredCallback, keep_savepoints,
};
use crate::fail_point;
#[cfg(feature = "failpoints")]
use crate::fail_points;
use crate::state::{
    RegisteredProjection, StateBatch, StateError, StateStore, StateWrite, StateWriterHandle,
    TableId,
};

/// Of the names under which checkpoints are registered in the state.
const OWNER: &str = "checkpoints ";
const VERSION: u32 = 1;
const TABLES: [&str; 2] = ["parts", "manifests"];
const READ_ONLY: &str = "the checkpoints were opened for reading alone";

/// The checkpoints of one dataflow.
#[derive(Clone)]
pub struct InState {
    store: StateStore,
    /// None: for reading alone.
    writer: Option<StateWriterHandle>,
    parts: TableId,
    manifests: TableId,
}

impl InState {
    /// Those of the dataflow of this name, with a place for them made if there is none. Blocks on the state's writer.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(
        dataflow: &str,
        store: &StateStore,
        writer: &StateWriterHandle,
    ) -> Result<Self, StateError> {
        let registered = writer.register_projection(&owner(dataflow), VERSION, &TABLES)?;
        Ok(Self {
            store: store.clone(),
            writer: Some(writer.clone()),
            parts: registered.tables[0],
            manifests: registered.tables[1],
        })
    }

    /// For reading alone; `None` if there never were any.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read(dataflow: &str, store: &StateStore) -> Result<Option<Self>, StateError> {
        let Some(registered) = store.projection(&owner(dataflow), VERSION)? else {
            return Ok(None);
        };
        let (Some(parts), Some(manifests)) =
            (registered.table(TABLES[0]), registered.table(TABLES[1]))
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            store: store.clone(),
            writer: None,
            parts,
            manifests,
        }))
    }

    /// Forgets all checkpoints of a dataflow but savepoints; gives whether there were any. Where there are savepoints, its
    /// next start with checkpoints begins anew all the same. Before the dataflow's tables are emptied. Blocks on the
    /// state's writer.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`]: nothing is forgotten that was not before.
    pub fn forget(
        dataflow: &str,
        store: &StateStore,
        writer: &StateWriterHandle,
    ) -> Result<bool, CheckpointError> {
        let owner = owner(dataflow);
        if store
            .projection(&owner, VERSION)
            .map_err(storage)?
            .is_none()
        {
            return Ok(false);
        }
        let known = Self::open(dataflow, store, writer).map_err(storage)?;
        if keep_savepoints(&known)? {
            return Ok(true);
        }
        let dropped = writer.drop_projection(&owner, VERSION);
        dropped.map_err(storage)?;
        Ok(true)
    }

    /// The dataflow whose checkpoints are registered so; `None` if it is something else.
    pub fn dataflow_of(registered: &RegisteredProjection) -> Option<&str> {
        registered.name.strip_prefix(OWNER)
    }

    const fn table(&self, rows: Rows) -> TableId {
        match rows {
            Rows::Parts => self.parts,
            Rows::Manifests => self.manifests,
        }
    }

    fn batch(&self, writes: Vec<StorageWrite>) -> Vec<StateWrite> {
        let writes = writes.into_iter();
        let write = |StorageWrite { rows, key, value }| {
            let table = self.table(rows);
            match value {
                Some(value) => StateWrite::PutRow { table, key, value },
                None => StateWrite::DeleteRow { table, key },
            }
        };
        writes.map(write).collect()
    }

    /// The writes of a batch that was not taken.
    fn unbatch(&self, batch: StateBatch) -> Vec<StorageWrite> {
        let writes = batch.writes.into_iter().filter_map(|write| match write {
            StateWrite::PutRow { table, key, value } => Some((table, key, Some(value))),
            StateWrite::DeleteRow { table, key } => Some((table, key, None)),
            _ => None,
        });
        let writes = writes.map(|(table, key, value)| StorageWrite {
            rows: if table == self.parts {
                Rows::Parts
            } else {
                Rows::Manifests
            },
            key,
            value,
        });
        writes.collect()
    }
}

fn owner(dataflow: &str) -> String {
    format!("{OWNER}{dataflow}")
}

/// The epoch that keys of rows begin with.
fn epoch_of(key: &[u8]) -> Epoch {
    let epoch = key.first_chunk().copied();
    Epoch(epoch.map_or(0, u64::from_be_bytes))
}

fn storage(error: StateError) -> CheckpointError {
    CheckpointError::Storage(error.to_string())
}

impl CheckpointStorage for InState {
    fn write(
        &self,
        writes: Vec<StorageWrite>,
        done: StoredCallback,
        room: &Waker,
    ) -> Result<(), Vec<StorageWrite>> {
        let Some(writer) = &self.writer else {
            done(Err(READ_ONLY.to_owned()));
            return Ok(());
        };
        let tell = Arc::clone(&done);
        let batch = StateBatch::new(self.batch(writes)).on_done(move |outcome| {
            let stored = || {
                outcome.map_err(|error| error.to_string())?;
                fail_point!(CHECKPOINT_ROWS_STORED, |cause| cause.to_string());
                Ok(())
            };
            tell(stored());
        });
        #[cfg(feature = "failpoints")]
        if let Some(cause) = fail_points::failure(fail_points::CHECKPOINT_BEFORE_ROWS, |cause| {
            cause.to_string()
        }) {
            done(Err(cause));
            return Ok(());
        }
        match writer.try_submit_or_wake(batch, room) {
            Ok(()) => Ok(()),
            Err(refused) if matches!(refused.reason, StateError::Full { .. }) => {
                Err(self.unbatch(*refused.batch))
            }
            Err(refused) => {
                done(Err(refused.reason.to_string()));
                Ok(())
            }
        }
    }

    fn sync(&self, done: StoredCallback, room: &Waker) -> bool {
        let Some(writer) = &self.writer else {
            done(Err(READ_ONLY.to_owned()));
            return true;
        };
        let tell = move |outcome: Result<(), StateError>| {
            done(outcome.map_err(|error| error.to_string()));
        };
        writer.try_sync_or_wake(tell, room)
    }

    fn help(&self) {
        if let Some(writer) = &self.writer {
            writer.help();
        }
    }

    fn get(&self, rows: Rows, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        let stored = self.store.get(self.table(rows), key);
        stored.map_err(|error| match error {
            StateError::Format { .. } => CheckpointError::Damaged {
                epoch: epoch_of(key),
                what: error.to_string(),
            },
            error => storage(error),
        })
    }

    fn keys(
        &self,
        rows: Rows,
        from: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, CheckpointError> {
        let keys = self.store.keys(self.table(rows), from, limit);
        keys.map_err(storage)
    }
}

impl fmt::Debug for InState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InState")
            .field("parts", &self.parts)
            .field("manifests", &self.manifests)
            .finish_non_exhaustive()
    }
}
