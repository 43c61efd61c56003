//! A bank's past: a log of so many events, built once and not timed.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::bank::{Bank, ReadSide};
use crate::{DataFolder, Harness};

/// Written last, so that a log which was interrupted is not taken for a whole one.
const DESCRIPTION: &str = "history.json";

/// What the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Accounts.
    pub keys: u64,
    /// Events, those that opened the accounts included.
    pub events: u64,
    /// Sum of all balances, in hundredths.
    pub sum: i64,
}

/// A log, closed in order.
#[derive(Debug)]
pub struct History {
    folder: DataFolder,
    contents: Contents,
}

impl History {
    /// The log with so many events: the one that is there if it was kept, else a new one.
    ///
    /// # Errors
    /// When it cannot be built, or what is there is another.
    pub async fn make(harness: &Harness, keys: u64, events: u64) -> Result<Self> {
        Self::make_in(harness, folder(harness, keys, events)?, keys, events).await
    }

    /// A log for a suite that changes it: always a new one, and never kept.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn make_own(harness: &Harness, keys: u64, events: u64) -> Result<Self> {
        Self::make_in(harness, harness.folder()?, keys, events).await
    }

    async fn make_in(
        harness: &Harness,
        folder: DataFolder,
        keys: u64,
        events: u64,
    ) -> Result<Self> {
        let description = folder.path().join(DESCRIPTION);
        if description.is_file() {
            let text = std::fs::read(&description)?;
            let contents: Contents = serde_json::from_slice(&text).context("reading it")?;
            ensure!(
                (contents.keys, contents.events) == (keys, events),
                "{} describes another log",
                description.display()
            );
            return Ok(Self { folder, contents });
        }
        ensure!(events >= keys, "fewer events than accounts");
        let bank = Bank::open(harness, &folder, keys, ReadSide::None).await?;
        ensure!(
            bank.events() == 0,
            "{} holds a log that was not finished: remove it",
            folder.path().display()
        );
        bank.open_accounts().await?;
        let sum = bank.fill(events - keys).await?;
        bank.check(events, sum).await?;
        bank.close().await?;
        let contents = Contents { keys, events, sum };
        std::fs::write(&description, serde_json::to_vec(&contents)?)?;
        Ok(Self { folder, contents })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The log's own folder.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What is in it.
    #[must_use]
    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// Removes what was derived from the log, so that it is built from nothing.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_state(&self) -> Result<()> {
        let state = self.folder.path().join("state");
        if state.is_dir() {
            std::fs::remove_dir_all(&state)
                .with_context(|| format!("removing {}", state.display()))?;
        }
        Ok(())
    }
}

fn folder(harness: &Harness, keys: u64, events: u64) -> Result<DataFolder> {
    if !harness.options().keep {
        return harness.folder();
    }
    let partitions = harness.options().partitions.unwrap_or_default();
    let name = format!("bank-{events}-events-{keys}-accounts-{partitions}-partitions");
    DataFolder::kept(harness.root(), &name)
}
