//! What every run of an engine has: a data folder, a bar that shows how far it is, and metrics for as long as it stays up.
//!
//! Place: around the topologies of `millstream run` that have an engine, each of which imports what is its own in between.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::Engine;
use crate::cli::say;
use crate::server::{MetricsServer, serve_metrics};

/// Options that every run of an engine has.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct RunArguments {
    /// Data folder; a temporary one, deleted at the end, if it is not given
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Partitions of a new data folder
    ///
    /// For an old one no other number than it has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(in crate::cli) partitions: Option<u16>,
    /// Stay up after the run until Ctrl-C, with Prometheus metrics at this address
    ///
    /// The dataflows of the shop then run beside the commands instead of behind them, with checkpoints and tables in the data
    /// folder, and go on until Ctrl-C. A window's rows come once event time has passed it, so the last ones of a file stay open;
    /// what has come is checked.
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = DEFAULT_ADDRESS_TEXT)]
    serve: Option<SocketAddr>,
}

/// [`DEFAULT_METRICS_ADDRESS`](crate::server::DEFAULT_METRICS_ADDRESS), which a test compares with it.
const DEFAULT_ADDRESS_TEXT: &str = "127.0.0.1:9464";

impl RunArguments {
    /// Shows metrics where that was asked for. To be called before the engine opens: what it measures earlier would not be
    /// recorded.
    pub(super) fn metrics(&self) -> Result<Option<MetricsServer>> {
        Ok(self.serve.map(serve_metrics).transpose()?)
    }
}

/// The data folder asked for, or a temporary one.
pub(super) enum DataFolder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl DataFolder {
    pub(super) fn new(asked: Option<&Path>) -> Result<Self> {
        Ok(match asked {
            Some(path) => Self::Kept(path.to_path_buf()),
            None => Self::Temporary(tempfile::tempdir().context("making a temporary data folder")?),
        })
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }

    pub(super) fn close(self) -> Result<()> {
        match self {
            Self::Kept(_) => Ok(()),
            Self::Temporary(folder) => folder.close().context("deleting the temporary data folder"),
        }
    }
}

/// How far a run is, on standard error where that is a terminal and nobody asked for JSON.
pub(in crate::cli) struct Bar(ProgressBar);

impl Bar {
    pub(in crate::cli) fn new(is_json: bool) -> Self {
        if is_json || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(0);
        let style = "{bar:40} {percent:>3} %  {msg}  {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// `done` of `total`, in whatever they are counted, and in words.
    pub(in crate::cli) fn show(&self, done: u64, total: u64, words: String) {
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(words);
    }

    pub(in crate::cli) fn clear(self) {
        self.0.finish_and_clear();
    }
}

/// A run that stays up when it is done.
pub(in crate::cli) struct Stay<'a> {
    pub(super) metrics: &'a MetricsServer,
    /// Whether a signal has come.
    pub(super) told: watch::Receiver<bool>,
}

impl Stay<'_> {
    /// Stays until a signal has come, or until nothing can be written any more.
    async fn until_told(mut self, engine: &Engine) {
        let address = self.metrics.address();
        say(format_args!(
            "metrics at http://{address}/metrics, Ctrl-C ends"
        ));
        tokio::select! {
            _ = self.told.wait_for(|told| *told) => {}
            cause = engine.failed() => tracing::error!(cause, "shutting down"),
        }
    }
}

/// Prints what an import came to, stays up where that was asked for, and shuts down, in whichever case.
///
/// # Errors
/// The import's own, the engine's that did not end in order, or the output's, in this order.
pub(in crate::cli) async fn end<R>(
    engine: &Engine,
    imported: Result<R>,
    stay: Option<Stay<'_>>,
    print: impl FnOnce(&R) -> Result<()>,
) -> Result<R> {
    let mut shown = Ok(());
    if let Ok(report) = &imported {
        shown = print(report);
        // A report that nobody can be shown, as on a full disk, ends nothing that others use.
        if let Some(stay) = stay {
            stay.until_told(engine).await;
        }
    }
    let ended = engine.shutdown().await;
    let report = imported?;
    ended?;
    shown?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::DEFAULT_METRICS_ADDRESS;

    #[test]
    fn the_address_in_the_help_is_the_default() {
        assert_eq!(DEFAULT_ADDRESS_TEXT, DEFAULT_METRICS_ADDRESS.to_string());
    }

    #[test]
    fn the_bar_stands_where_the_run_is() {
        let bar = Bar::new(true);
        bar.show(3, 4, "3 of 4".to_owned());
        assert_eq!((bar.0.position(), bar.0.length()), (3, Some(4)));
        assert_eq!(bar.0.message(), "3 of 4");
    }
}
