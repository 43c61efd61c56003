//! Runs one suite of benchmarks: `cargo run --release -p millstream-benches -- commands`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use millstream::Runtime;
use millstream_benches::{Harness, Options, Suite, suites};

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.suite {
        Suite::All => all(),
        suite => one(options, suite),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn one(options: Options, suite: Suite) -> Result<()> {
    let runtime = Runtime::new()?;
    let harness = Harness::new(options);
    runtime.block_on(suites::run(&harness, suite))
}

/// Each suite in a process of its own: what one leaves in memory must not be the next one's figure.
fn all() -> Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    for suite in Suite::value_variants()
        .iter()
        .filter(|&&suite| !matches!(suite, Suite::All | Suite::RecoveryChild))
    {
        let value = suite.to_possible_value().context("a suite has a name")?;
        let rest: Vec<_> = std::env::args_os()
            .skip(1)
            .map(|argument| {
                if argument == "all" {
                    value.get_name().into()
                } else {
                    argument
                }
            })
            .collect();
        let status = Command::new(&program).args(rest).status()?;
        anyhow::ensure!(status.success(), "{} ended with {status}", value.get_name());
    }
    Ok(())
}
