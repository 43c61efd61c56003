//! What suites share: options, the clock, the data folder, and where results go.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use millstream_engine::time::{Clock, SystemClock};

use crate::machine::Effort;
use crate::{Case, DataFolder, Machine, Options};

/// Where every pseudo-random sequence begins.
pub const SEED: u64 = 0x6d69_6c6c;

/// A suite's surroundings.
#[derive(Debug)]
pub struct Harness {
    options: Options,
    root: PathBuf,
    clock: Arc<dyn Clock>,
    effort: Effort,
    prints: bool,
    cases: Mutex<Vec<Case>>,
}

impl Harness {
    /// A harness that prints each case as it is done.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let root = options
            .data
            .clone()
            .unwrap_or_else(|| Path::new("target").join("bench-data"));
        Self {
            options,
            root,
            clock: Arc::new(SystemClock::new()),
            effort: Effort::FULL,
            prints: true,
            cases: Mutex::default(),
        }
    }

    /// A harness for tests: prints nothing and measures the disk briefly.
    #[must_use]
    pub fn tiny(options: Options) -> Self {
        Self {
            effort: Effort::TINY,
            prints: false,
            ..Self::new(options)
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Time since the harness was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The clock behind [`now`](Self::now).
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// How long a timed case runs.
    #[must_use]
    pub fn seconds(&self) -> Duration {
        Duration::from_secs_f64(self.options.seconds)
    }

    /// Whether a case was asked for.
    #[must_use]
    pub fn wants(&self, case: &str) -> bool {
        let asked = self.options.case.as_deref();
        asked.is_none_or(|part| match part.strip_prefix('=') {
            Some(whole) => case == whole,
            None => case.contains(part),
        })
    }

    /// Where the data is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder for one case.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> Result<DataFolder> {
        DataFolder::temporary(&self.root)
    }

    /// The machine's figures of this moment, in `folder`. Blocks for a second or so.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn machine(&self, folder: &DataFolder) -> Result<Machine> {
        Machine::measure(folder.path(), self.effort)
    }

    /// Takes a case in, and prints it.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn report(&self, case: Case) -> Result<()> {
        if self.prints {
            let mut out = std::io::stdout().lock();
            if self.options.json {
                writeln!(out, "{}", case.json())?;
            } else {
                writeln!(out, "{}", case.line())?;
            }
        }
        self.lock().push(case);
        Ok(())
    }

    /// The cases so far.
    #[must_use]
    pub fn cases(&self) -> Vec<Case> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Case>> {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Suite;

    #[test]
    fn cases_are_asked_for_by_a_part_or_the_whole_of_their_name() {
        let wants = |asked: Option<&str>, case| {
            let case_asked = asked.map(str::to_owned);
            let options = Options {
                case: case_asked,
                ..Options::of(Suite::Commands)
            };
            Harness::tiny(options).wants(case)
        };
        assert!(wants(None, "callers"));
        assert!(wants(Some("callers"), "callers+balances"));
        assert!(wants(Some("=callers"), "callers"));
        assert!(!wants(Some("=callers"), "callers+balances"));
    }
}
