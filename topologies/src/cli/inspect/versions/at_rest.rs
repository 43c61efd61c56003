//! Versions where no engine runs: the record of the one that answers is changed by itself.

use anyhow::{Context, Result, ensure};
use millstream_engine::event::PartitionId;
use millstream_engine::log::LogReader;
use millstream_engine::state::{
    ProjectionVersions, RegisteredProjection, StateStore, StateWriterHandle, StateWriterThread,
};
use serde_json::Value;

use crate::cli::inspect::folder::DataFolder;
use crate::engine::version_requests::switched;

/// The state of a folder that no engine has, for writing.
pub(super) struct AtRest {
    store: StateStore,
    pub(super) writer: StateWriterHandle,
    thread: StateWriterThread,
    name: String,
    pub(super) known: ProjectionVersions,
    all: Vec<RegisteredProjection>,
}

impl AtRest {
    /// Opens it, for a projection that it has.
    pub(super) fn open(folder: &DataFolder, name: &str) -> Result<Self> {
        // Nothing is made where there is nothing, and what is damaged is left to the engine.
        let state = folder.state()?;
        let mut all = state.projections()?;
        all.retain(|one| one.name == name);
        ensure!(
            !all.is_empty(),
            "there is no projection {name:?} here: `millstream projection list` prints those that there are"
        );
        let known = state.versions(name)?;
        let known = known.with_context(|| {
            format!(
                "nobody has said which version of {name} answers: start and stop the engine once"
            )
        })?;
        drop(state);
        let (store, writer, thread) = folder.state_at_rest()?;
        Ok(Self {
            store,
            writer,
            thread,
            name: name.to_owned(),
            known,
            all,
        })
    }

    /// The version to switch to where none was named.
    pub(super) fn highest(&self) -> Result<u32> {
        let others = self.all.iter().map(|one| one.version);
        let highest = others.filter(|&version| version > self.known.active).max();
        highest.with_context(|| {
            format!(
                "version {} of {} answers, and there is no higher one: have a program declare it as a candidate, or say \
                 which one is meant with --to",
                self.known.active, self.name
            )
        })
    }

    /// Has another version answer at the next start, if it has come as far as the one that answers.
    pub(super) fn switch(
        &self,
        folder: &DataFolder,
        choose: impl FnOnce(&Self) -> Result<u32>,
    ) -> Result<Value> {
        let version = choose(self)?;
        let find = |version: u32| self.all.iter().find(|one| one.version == version);
        let to = find(version).with_context(|| {
            let known: Vec<_> = self.all.iter().map(|one| one.version).collect();
            format!("{} has no version {version} here, but {known:?}", self.name)
        })?;
        if let Some(from) = find(self.known.active) {
            let behind = self.behind(folder, to, from)?;
            ensure!(
                behind == 0,
                "version {version} of {} is {behind} events behind version {}, which answers: start the engine, and \
                 switch once it has caught up",
                self.name,
                self.known.active
            );
        }
        self.writer.activate_version(&self.name, version)?;
        Ok(switched(&self.name, self.known.active, version))
    }

    /// Stored events of `from` that are not in the rows of `to`.
    fn behind(
        &self,
        folder: &DataFolder,
        to: &RegisteredProjection,
        from: &RegisteredProjection,
    ) -> Result<u64> {
        let mut behind = 0;
        for partition in (0..folder.log()?.partitions()).map(PartitionId) {
            let next = |one: &RegisteredProjection| -> Result<u64> {
                let progress = self.store.progress(one.id, partition)?;
                Ok(progress.unwrap_or_default().next.0)
            };
            behind += next(from)?.saturating_sub(next(to)?);
        }
        Ok(behind)
    }

    pub(super) fn close(self) -> Result<()> {
        drop((self.store, self.writer));
        Ok(self.thread.close()?)
    }
}
