//! Millstream and its peers in one run: each query so many times by each in turn.
//!
//! `cargo run --release --bin compare` prints a table of medians in million events per core-second, and what Millstream
//! has of each peer's speed: the median of the ratios within a round, since what else a machine does changes from
//! minute to minute and hits those of one round alike. Core time is that of the whole process from the start of the
//! run to its end, all threads together. Failure: a run that fails or gives other rows than the first ends it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;

/// Runs each query in Millstream and in its peers, in turn, and prints a table.
#[derive(Debug, Parser)]
struct Options {
    /// Queries to run.
    #[arg(default_values_t = ["q0", "q1", "q2", "q3", "q5", "q7", "q8", "keyed"].map(String::from))]
    queries: Vec<String>,
    /// Events of each run.
    #[arg(long, default_value_t = 20_000_000)]
    events: u64,
    /// How often each runs.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Threads of timely and renoir, partitions of Millstream; the loops have one.
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Millstream's benchmarks, built with `cargo build --release -p millstream-benches` in the repository's root.
    #[arg(long, default_value = "../../target/release/millstream-benches")]
    millstream: PathBuf,
}

/// Somebody who computes.
struct Contender {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    /// Million events per core-second, one per round.
    speeds: Vec<f64>,
}

impl Contender {
    fn peer(name: &'static str, query: &str, workers: u32, options: &Options) -> Result<Self> {
        let mut program = std::env::current_exe()?;
        program.set_file_name("peers");
        let arguments = format!(
            "{name} --query {query} --events {} --workers {workers}",
            options.events
        );
        Ok(Self::new(name, program, &arguments))
    }

    fn new(name: &'static str, program: PathBuf, arguments: &str) -> Self {
        Self {
            name,
            program,
            arguments: arguments.split(' ').map(str::to_owned).collect(),
            speeds: Vec::new(),
        }
    }

    /// Runs once; gives the number of rows.
    fn run(&mut self) -> Result<u64> {
        let mut command = Command::new(&self.program);
        let output = command.args(&self.arguments).output();
        let output = output.with_context(|| format!("{} cannot be run", self.program.display()))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed: {errors}", self.name);
        let line: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{} printed no JSON line", self.name))?;
        let speed = line["events_per_core_second"].as_f64();
        self.speeds
            .push(speed.context("a line without its speed")? / 1e6);
        line["results"].as_u64().context("a line without its rows")
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn compare(query: &str, options: &Options) -> Result<()> {
    let mut contenders = vec![
        Contender::peer("loop", query, 1, options)?,
        Contender::peer("timely", query, options.workers, options)?,
    ];
    if query != "q7" {
        contenders.push(Contender::peer("renoir", query, options.workers, options)?);
    }
    let arguments = format!(
        "nexmark --json --case ={query} --events {} --partitions {}",
        options.events, options.workers
    );
    let mut ours = Contender::new("millstream", options.millstream.clone(), &arguments);
    let mut rows = None;
    for _ in 0..options.rounds {
        for contender in contenders.iter_mut().chain([&mut ours]) {
            let found = contender.run()?;
            let expected = *rows.get_or_insert(found);
            ensure!(
                found == expected,
                "{query}: {} gave {found} rows, not {expected}",
                contender.name
            );
        }
    }
    let mut line = format!("| {query} | {:.1} |", median(ours.speeds.clone()));
    for name in ["loop", "timely", "renoir"] {
        let Some(peer) = contenders.iter().find(|peer| peer.name == name) else {
            line.push_str(" – | – |");
            continue;
        };
        let ratios = ours.speeds.iter().zip(&peer.speeds);
        let ratio = median(ratios.map(|(ours, theirs)| ours / theirs).collect());
        line.push_str(&format!(
            " {:.1} | {ratio:.2} |",
            median(peer.speeds.clone())
        ));
    }
    println!("{line}");
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.rounds > 0, "`--rounds` is at least 1");
    println!("| query | Millstream | loop | ratio | timely | ratio | renoir | ratio |");
    println!("|---|---|---|---|---|---|---|---|");
    for query in &options.queries {
        compare(query, &options)?;
    }
    Ok(())
}
