//! The command line: arguments in, text or JSON out, exit status 0 done, 1 failed, 2 wrong usage.
//!
//! Results go to standard output, errors to standard error. Reading a data folder is possible beside
//! the process that writes it.

pub mod bank;
mod inspect;

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// An event-sourcing and stream-processing engine: looks into the data folders that it keeps.
///
/// A data folder is what a program gave to its engine: `log/` in it holds the events, `state/` what was made of
/// them. Every command here only reads, also beside the program that writes the folder.
#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage."
)]
struct Arguments {
    /// Print JSON, one object per line, instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Inspect(inspect::InspectCommand),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let outcome = run(&arguments, &mut out).and_then(|()| Ok(out.flush()?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) if is_closed_pipe(&error) => {
            // What is still buffered has no reader; dropping the buffer would try it once more.
            let _ = out.into_parts();
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = out.flush();
            let _ = writeln!(std::io::stderr(), "millstream: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    match &arguments.command {
        Command::Inspect(command) => inspect::run(command, arguments.json, out),
    }
}

#[cfg(test)]
mod tests;
