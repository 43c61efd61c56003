//! The command line: arguments in, text or JSON out, exit status 0 done, 1 failed, 2 wrong usage.
//!
//! Results go to standard output, errors to standard error. Reading a data folder is possible beside
//! the process that writes it.

mod bank;
mod inspect;
mod nexmark;
mod output;
mod run;
#[cfg(feature = "sql")]
mod sql;

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use self::output::Output;

/// An event-sourcing and stream-processing engine: runs ready-made topologies, and looks into data folders.
///
/// Without a command it runs the shop on the real sales in the repository. A data folder is what a program gave
/// to its engine: `log/` in it holds the events, `state/` what was made of them. Commands that look into one can do so
/// beside the program that writes it; those that change something say how.
#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage."
)]
struct Arguments {
    /// Print JSON, one object per line, instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    shop: run::ShopArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a ready-made topology on real data, and check what comes out
    Run {
        #[command(subcommand)]
        topology: run::Topology,
    },
    #[command(flatten)]
    Inspect(inspect::InspectCommand),
    /// Ask the events, streams and tables of a data folder in SQL
    ///
    /// Tables: `events`, a row per event of the log; `streams`, a row per stream; and the tables of projections and
    /// dataflows by their names, also as "projection"."table", as they were last stored. `show tables` lists them, `describe
    /// NAME` their columns. Names with other characters than small letters, digits and _ stand in double quotes. Filters on
    /// partition, offset, stream, category, id, version, type, recorded_at and event_time are sought in the log rather
    /// than read; `explain analyze QUERY` shows what was read. json_text, json_int, json_float and json_bool look into
    /// payloads.
    #[cfg(feature = "sql")]
    #[command(
        after_help = "Examples:\n  millstream sql data/bank \"select type, count(*) from events group by type\"\n  millstream sql data/bank \"select version, type, payload from events where stream = 'account-42' order by version\"\n  millstream sql data/bank \"select sum(json_int(payload, 'Deposited', 'amount')) from events where type = 'Deposited' and recorded_at >= '2024-02-29T12:00:00Z'\"\n  millstream sql data/bank \"select * from balances where key like '4%'\" --format csv\n  millstream sql data/bank \"select * from events\" --format parquet --output events.parquet"
    )]
    Sql(sql::SqlArguments),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = arguments.check() {
        error.exit(); // Status 2: wrong usage.
    }
    let stdout = Output::new(std::io::stdout().lock(), arguments.goes_on_unread());
    let mut out = BufWriter::new(stdout);
    let outcome = run(&arguments, &mut out).and_then(|()| Ok(out.flush()?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough, and there was nothing else to say.
        Err(error) if is_closed_pipe(&error) => {
            // What is still buffered has no reader; dropping the buffer would try it once more.
            let _ = out.into_parts();
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = out.flush();
            say(format_args!("millstream: {error:#}"));
            match error.is::<Usage>() {
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// Wrong usage that clap cannot tell: nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(&'static str);

impl Arguments {
    /// What clap cannot say: options of the shop belong to no other command.
    fn check(&self) -> Result<(), clap::Error> {
        if self.command.is_none() || self.shop == run::ShopArguments::default() {
            return Ok(());
        }
        let message = "options of the shop go behind `run shop`, or stand without a command";
        Err(Self::command().error(clap::error::ErrorKind::ArgumentConflict, message))
    }
}

/// Says a line beside the output, on stderr. Where it cannot be written, as to a file on a full disk, the work goes on: `eprintln`
/// would panic.
fn say(what: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let is_json = arguments.json;
    let Some(command) = &arguments.command else {
        return run::shop(&arguments.shop, is_json, out);
    };
    match command {
        Command::Run { topology } => topology.run(is_json, out),
        Command::Inspect(command) => inspect::run(command, is_json, out),
        #[cfg(feature = "sql")]
        Command::Sql(arguments) => sql::run(arguments, is_json, out),
    }
}

#[cfg(test)]
mod tests;
