//! Dropping a version that does not answer, whether it runs or not.

use std::sync::Arc;

use millstream_engine::fail_point;
use millstream_engine::stage::StageStatus;
use millstream_engine::state::StateError;

use super::{Rebuild, RebuildError};
use crate::engine::reads;
use crate::engine::start::blocking;
use crate::engine::versions::Version;

impl Rebuild {
    /// Drops a version that does not answer: it ends if it runs, its readers get an error, and its rows are deleted, in
    /// slices, also after a restart. It is not built again as long as the program declares it beside others, and no other
    /// projection reads it.
    ///
    /// # Errors
    /// [`RebuildError::Active`]; [`RebuildError::Read`]: another projection looks into its tables;
    /// [`RebuildError::UnknownVersion`] if it is not stored either; [`RebuildError::Stage`]: it
    /// does not end, and nothing was dropped, but it gives no answers until the next start.
    pub async fn drop_version(&self, version: u32) -> Result<(), RebuildError> {
        let own = self.clone();
        self.to_its_end(async move { own.drop_one(version).await })
            .await
    }

    async fn drop_one(&self, version: u32) -> Result<(), RebuildError> {
        let _one = self.versions.changing.lock().await;
        let name = self.versions.name;
        if self.active() == version {
            return Err(RebuildError::Active {
                projection: name,
                version,
            });
        }
        if let Some((reader, its)) = reads::reader_of(&self.engine.inner.versions, name, version) {
            return Err(RebuildError::Read {
                projection: name,
                version,
                reader,
                reader_version: its,
            });
        }
        let mut started = self.versions.started().iter();
        match started.find(|one| one.version == version) {
            Some(running) => self.end(running).await?,
            None if self.engine.inner.store.projection(name, version)?.is_some() => {}
            None => return Err(self.unknown(version)),
        }
        fail_point!(VERSION_BEFORE_DROP);
        let state = self.engine.inner.state.clone();
        let dropped = blocking(move || state.drop_version(name, version)).await;
        fail_point!(VERSION_DROPPED);
        match dropped {
            // By somebody before.
            Err(StateError::UnknownProjection { .. }) => Ok(()),
            dropped => Ok(dropped?),
        }
    }

    /// Ends the stages of a version.
    async fn end(&self, version: &Version) -> Result<(), RebuildError> {
        version.board.drop_version();
        // What it had to wait for does not keep it from its end, and what waited for it waits for the one that answers.
        version.board.stay_below(None);
        for other in self.versions.all() {
            if other.board.is_below(&version.board) && !other.board.is_active() {
                let active = Arc::clone(&self.versions.active().board);
                other.board.stay_below(Some(active));
            }
        }
        let deadline = self.engine.inner.config.shutdown_deadline;
        for stage in &version.stages {
            let ended = tokio::time::timeout(deadline, stage.drain_and_stop()).await;
            let stands_still =
                matches!(ended, Ok(StageStatus::Stopped | StageStatus::Failed { .. }));
            if !stands_still {
                return Err(RebuildError::Stage {
                    stage: stage.name().to_owned(),
                    waited: deadline,
                });
            }
        }
        for (_, reader) in &version.readers {
            reader.free_dropped();
        }
        Ok(())
    }
}
