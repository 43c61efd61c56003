//! `millstream run`: a ready-made topology on real data, with progress, a summary and checks.
//!
//! Another topology is one more variant of [`Topology`] with a function beside [`shop`]. Ctrl-C and SIGTERM stop its reading, and
//! all that was read is dealt with, told, and made durable where there is an engine; the status is 1 then. A second one ends the
//! process at once.

pub(super) mod keeping;
mod shop_summary;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use self::keeping::{Bar, DataFolder, RunArguments, Stay};
use super::bank::{BankArguments, run_bank};
use super::nexmark::{NexmarkArguments, run_nexmark};
use super::say;
use crate::Runtime;
use crate::catalog::StopSignal;
use crate::catalog::shop::rules::{self, Dirt};
use crate::catalog::shop::run::{Progress, import, open};
use crate::catalog::shop::{InvoiceLine, InvoiceLines, ShopError, ShopOptions, ShopReport};
use crate::catalog::table::TableError;
use crate::engine::signal;
use crate::server::MetricsServer;

/// The topologies that can be run.
#[derive(Debug, Subcommand)]
pub(super) enum Topology {
    /// Half a million invoice lines of a web shop, in the repository: revenue, products, refunds
    Shop(ShopArguments),
    /// The real history of a bank, from files that may not be shipped with this program
    Bank(BankArguments),
    /// A Nexmark query over the reference generator's events
    Nexmark(NexmarkArguments),
}

impl Topology {
    /// See [`ShopArguments::only_lists`].
    pub(super) fn only_lists(&self) -> bool {
        matches!(self, Self::Shop(arguments) if arguments.only_lists())
    }

    pub(super) fn run(&self, is_json: bool, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Shop(arguments) => shop(arguments, is_json, out),
            Self::Bank(arguments) => bank(arguments, is_json, out),
            Self::Nexmark(arguments) => {
                log_to_stderr();
                let (tell, mut told) = watch::channel(false);
                runtime()?.block_on(async {
                    tokio::spawn(stop_at_signal(StopSignal::default(), tell));
                    let stop = async move {
                        if told.wait_for(|told| *told).await.is_err() {
                            std::future::pending().await
                        }
                    };
                    run_nexmark(arguments, stop, is_json, out).await
                })
            }
        }
    }
}

/// Options of the shop.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ShopArguments {
    /// Invoice lines, .csv or .csv.zst; the published file of the repository if it is not given
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    run: RunArguments,
    /// Run nothing: print every line of the file with one kind of dirt
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    list: Option<String>,
}

impl ShopArguments {
    /// Whether nothing is run, and lines are printed.
    pub(super) fn only_lists(&self) -> bool {
        self.list.is_some()
    }
}

/// Lists the lines that cannot be read, beside the kinds of [`Dirt`].
const UNREADABLE: &str = "unreadable";

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(Dirt::ALL.into_iter().map(Dirt::name).chain([UNREADABLE]))
}

/// Runs the shop.
pub(super) fn shop(arguments: &ShopArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    log_to_stderr();
    if let Some(kind) = &arguments.list {
        return list(arguments, kind, is_json, out);
    }
    let metrics = arguments.run.metrics()?;
    let folder = DataFolder::new(arguments.run.data.as_deref())?;
    let options = ShopOptions {
        input: arguments.input.clone(),
        partitions: arguments.run.partitions,
        live_dataflows: metrics.is_some(),
        ..ShopOptions::new(folder.path())
    };
    let report = runtime()?.block_on(run_shop(&options, metrics.as_ref(), is_json, out))?;
    folder.close()?;
    verdict(&report, arguments.run.data.is_some())
}

/// Runs the bank.
fn bank(arguments: &BankArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    log_to_stderr();
    let metrics = arguments.run.metrics()?;
    let folder = DataFolder::new(arguments.run.data.as_deref())?;
    let report = runtime()?.block_on(async {
        let stop = StopSignal::default();
        let (tell, told) = watch::channel(false);
        tokio::spawn(stop_at_signal(stop.clone(), tell));
        let stay = metrics.as_ref().map(|metrics| Stay { metrics, told });
        run_bank(arguments, folder.path(), (&stop, stay), is_json, out).await
    })?;
    folder.close()?;
    let commands = report.commands;
    ensure!(
        !report.interrupted,
        "stopped after {commands} commands; {}",
        what_is_left("sent", arguments.run.data.is_some())
    );
    ensure!(report.is_good(), "not all checks hold");
    Ok(())
}

async fn run_shop(
    options: &ShopOptions,
    metrics: Option<&MetricsServer>,
    is_json: bool,
    out: &mut impl Write,
) -> Result<ShopReport> {
    let (tell, told) = watch::channel(false);
    // One task for the whole run: a signal between two phases must not be lost.
    tokio::spawn(stop_at_signal(options.stop.clone(), tell));
    let stay = metrics.map(|metrics| Stay { metrics, told });
    let engine = open(options).await.map_err(said)?;
    let bar = Bar::new(is_json);
    let show = |progress: Progress| {
        let words = format!("{} lines", progress.lines);
        bar.show(progress.bytes, progress.bytes_total, words);
    };
    let imported = import(&engine, options, &show).await.map_err(said);
    bar.clear();
    let print = |report: &ShopReport| print_report(report, is_json, out);
    keeping::end(&engine, imported, stay, print).await
}

fn print_report(report: &ShopReport, is_json: bool, out: &mut impl Write) -> Result<()> {
    if is_json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        shop_summary::print(report, out)?;
    }
    out.flush()?;
    Ok(())
}

/// The error's own text, which names its cause: anyhow would repeat it.
fn said(error: ShopError) -> anyhow::Error {
    anyhow::Error::msg(error.to_string())
}

/// Of a run that was stopped, which had `done` so much: nothing, where its folder was a temporary one.
fn what_is_left(done: &str, keeps_data: bool) -> String {
    if keeps_data {
        format!("what was {done} is durable, and a run with the same --data goes on")
    } else {
        format!(
            "what was {done} is gone with the temporary data folder: --data names one that stays"
        )
    }
}

/// Status 1 for a run that did not come to its end with all checks holding.
fn verdict(report: &ShopReport, keeps_data: bool) -> Result<()> {
    let file = report.input.display();
    if report.interrupted {
        bail!(
            "stopped after line {} of {file}; {}",
            report.last_line,
            what_is_left("read", keeps_data)
        );
    }
    if let Some(cause) = &report.broken_off {
        bail!("{file} broke off after line {}: {cause}", report.last_line);
    }
    let failed = report.checks.iter().filter(|check| !check.ok).count();
    if failed > 0 || !report.is_ok() {
        bail!("{failed} of {} checks do not hold", report.checks.len());
    }
    Ok(())
}

fn runtime() -> Result<Runtime> {
    Runtime::new().context("starting the runtime")
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second run in one process, as tests make, keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would say with `eprintln` that it cannot write, which panics on whatever thread of the engine it is.
        .log_internal_errors(false)
        .try_init();
}

/// At the first signal asks the run to stop and says so, at the second ends the process.
async fn stop_at_signal(stop: StopSignal, tell: watch::Sender<bool>) {
    signal().await;
    stop.stop();
    let _ = tell.send(true); // Nobody waits for it during the run.
    say("stopping in order; once more to stop at once");
    signal().await;
    std::process::exit(1);
}

/// Prints the lines with one kind of dirt.
fn list(arguments: &ShopArguments, kind: &str, is_json: bool, out: &mut impl Write) -> Result<()> {
    let options = ShopOptions {
        input: arguments.input.clone(),
        ..ShopOptions::new("")
    };
    let path = options.input_path().map_err(said)?;
    let lines = InvoiceLines::open(&path).map_err(|error| said(error.into()))?;
    let dirt = Dirt::ALL.into_iter().find(|dirt| dirt.name() == kind);
    let Some(dirt) = dirt else {
        for line in lines {
            match line {
                Ok(_) => {}
                Err(TableError::Bad(bad)) if is_json => {
                    let line = json!({ "line": bad.line, "field": bad.field, "reason": bad.reason.to_string() });
                    writeln!(out, "{line}")?;
                }
                Err(TableError::Bad(bad)) => writeln!(out, "{bad}")?,
                Err(error) => return Err(said(error.into())),
            }
        }
        return Ok(());
    };
    for line in rules::lines_with(dirt, lines) {
        match line {
            Ok(line) => print_line(&line, is_json, out)?,
            Err(TableError::Bad(_)) => {}
            Err(error) => return Err(said(error.into())),
        }
    }
    Ok(())
}

fn print_line(line: &InvoiceLine, is_json: bool, out: &mut impl Write) -> Result<()> {
    let time = millstream_engine::time::Timestamp::from_micros(line.at_us);
    if is_json {
        let line = json!({
            "line": line.number, "invoice": line.invoice, "stock_code": line.stock_code,
            "description": line.description, "quantity": line.quantity, "time": time.to_string(),
            "unit_price": line.unit_price, "customer": line.customer, "country": line.country,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    let (customer, description) = (line.customer.as_deref(), line.description.as_deref());
    writeln!(
        out,
        "line {}: {} {} {} x {} at {}, customer {}, {}, {}",
        line.number,
        line.invoice,
        line.stock_code,
        line.quantity,
        line.unit_price,
        time,
        customer.unwrap_or("unknown"),
        line.country,
        description.unwrap_or("no description"),
    )?;
    Ok(())
}
