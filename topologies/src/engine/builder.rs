//! How an engine is opened.

use std::path::PathBuf;
use std::sync::Arc;

use millstream_engine::event::TokenKey;
use millstream_engine::time::Clock;

use super::{Engine, EngineConfig, OpenError, start};
use crate::Topology;

/// How an engine is to be opened.
#[derive(Clone, Debug)]
pub struct EngineBuilder {
    pub(super) folder: PathBuf,
    pub(super) config: EngineConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) token_key: Option<TokenKey>,
}

impl EngineBuilder {
    /// Sets all limits.
    #[must_use]
    pub fn config(self, config: EngineConfig) -> Self {
        Self { config, ..self }
    }

    /// Sets the number of partitions of a new store.
    #[must_use]
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.config.partitions = Some(partitions);
        self
    }

    /// Sets the clock: for tests and simulation.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets the key that tokens which leave the process are signed with, such as one that several engines share.
    /// Otherwise it is the one in `token.key` in the data folder, which is made if there is none. With another key than
    /// before, tokens that are out there are no longer taken.
    #[must_use]
    pub fn token_key(self, key: TokenKey) -> Self {
        Self {
            token_key: Some(key),
            ..self
        }
    }

    /// Starts `topology` on the current tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`]; a data folder that another process holds is named with its holder.
    pub async fn run(self, topology: Topology) -> Result<Engine, OpenError> {
        // Whoever stops waiting for it has an engine that ends, not one half begun that holds its folder.
        let started = tokio::spawn(start::start(self, topology)).await;
        started.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}
