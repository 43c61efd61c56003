//! Finds log and state in what a person named as the data folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use millstream_engine::log::EmbeddedReader;
use millstream_engine::state::{StateOptions, StateStore, StateWriterHandle, StateWriterThread};

/// The file that each of the two stores has.
const DATA_FILE: &str = "data.mdb";

/// A data folder that holds a log.
#[derive(Debug)]
pub(super) struct DataFolder {
    data: PathBuf,
    log: PathBuf,
    state: PathBuf,
}

impl DataFolder {
    /// The folder given to an engine, or the log's own folder, beside which the state lies then.
    pub(super) fn find(given: &Path) -> Result<Self> {
        if !given.is_dir() {
            bail!("there is no folder {}", given.display());
        }
        let inner = given.join("log");
        if inner.join(DATA_FILE).is_file() {
            let state = given.join("state");
            let data = given.to_path_buf();
            return Ok(Self {
                data,
                log: inner,
                state,
            });
        }
        if given.join(DATA_FILE).is_file() {
            let log = given.to_path_buf();
            let state = log.join("../state");
            let data = log.join("..");
            return Ok(Self { data, log, state });
        }
        bail!(
            "{} holds no event log: there is neither {} nor {}",
            given.display(),
            inner.join(DATA_FILE).display(),
            given.join(DATA_FILE).display()
        )
    }

    /// The folder that an engine is given.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Where the derived state is, if there is any.
    pub(super) fn state_folder(&self) -> &Path {
        &self.state
    }

    /// Whether there is any derived state.
    pub(super) fn has_state(&self) -> bool {
        self.state.join(DATA_FILE).is_file()
    }

    /// The log, beside whoever writes it.
    pub(super) fn log(&self) -> Result<EmbeddedReader> {
        EmbeddedReader::open_beside(&self.log)
            .with_context(|| format!("opening the log in {}", self.log.display()))
    }

    /// The log with its stream index: single streams can be read.
    pub(super) fn streams(&self) -> Result<EmbeddedReader> {
        self.log()?
            .with_streams()
            .with_context(|| format!("opening the stream index in {}", self.log.display()))
    }

    /// The derived state, beside whoever writes it.
    pub(super) fn state(&self) -> Result<StateStore> {
        StateStore::open_beside(&self.state)
            .with_context(|| format!("opening the state in {}", self.state.display()))
    }
    /// The derived state, to be changed where no engine runs. Made if it is not there.
    pub(super) fn state_at_rest(
        &self,
    ) -> Result<(StateStore, StateWriterHandle, StateWriterThread)> {
        let options = StateOptions {
            preallocate_step_bytes: 0,
            ..StateOptions::default()
        };
        let opened = StateStore::open(&self.state, options);
        let (store, writer) = opened.context("stop the engine first")?;
        let (writer, thread) = millstream_engine::state::start(writer)?;
        Ok((store, writer, thread))
    }
}
