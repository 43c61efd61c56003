//! The command line: arguments in, text or JSON out, exit status 0 done, 1 failed, 2 wrong usage.
//!
//! Results go to standard output, errors to standard error. Reading a data folder is possible beside
//! the process that writes it.

mod run;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::frame::{Frame, Record};
use millstream_engine::log::{EmbeddedReader, LogReader};
use serde_json::json;

/// Stored bytes that one read takes from the log.
const READ_BYTES: usize = 1 << 20;

/// Runs ready-made topologies, and looks into the event log of a data folder. Without a command it runs the
/// shop.
#[derive(Debug, Parser)]
#[command(name = "millstream", version)]
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
    /// Check every page, checksum and hash of a log, and name the first that is wrong
    Verify {
        /// Folder of the log
        data: PathBuf,
    },
    /// Read the log
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Print the events of one partition, oldest first: position, time, stream, version, type, bytes of payload
    Read {
        /// Folder of the log
        data: PathBuf,
        /// Partition to read
        #[arg(long, default_value_t = 0)]
        partition: u16,
        /// First offset to print
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Most events to print
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Print how many events each partition holds
    Stats {
        /// Folder of the log
        data: PathBuf,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = arguments.check() {
        error.exit(); // Status 2: wrong usage.
    }
    match run(&arguments, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "millstream: {error:#}");
            ExitCode::FAILURE
        }
    }
}

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

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let is_json = arguments.json;
    let Some(command) = &arguments.command else {
        return run::shop(&arguments.shop, is_json, out);
    };
    match command {
        Command::Run { topology } => topology.run(is_json, out),
        Command::Verify { data } => verify(data, is_json, out),
        Command::Log {
            command: LogCommand::Stats { data },
        } => stats(data, is_json, out),
        Command::Log {
            command:
                LogCommand::Read {
                    data,
                    partition,
                    from,
                    limit,
                },
        } => read(
            &open(data)?,
            PartitionId(*partition),
            Offset(*from),
            *limit,
            is_json,
            out,
        ),
    }
}

fn open(data: &Path) -> Result<EmbeddedReader> {
    EmbeddedReader::open_beside(data)
        .with_context(|| format!("opening the log in {}", data.display()))
}

fn verify(data: &Path, is_json: bool, out: &mut impl Write) -> Result<()> {
    let verified = open(data)?.verify()?;
    if is_json {
        writeln!(
            out,
            "{}",
            json!({ "frames": verified.frames, "events": verified.events, "ok": true })
        )?;
    } else {
        writeln!(
            out,
            "{} events in {} frames: all checksums, hashes and chains hold",
            verified.events, verified.frames
        )?;
    }
    Ok(())
}

fn stats(data: &Path, is_json: bool, out: &mut impl Write) -> Result<()> {
    let reader = open(data)?;
    for partition in (0..reader.partitions()).map(PartitionId) {
        let events = reader.head(partition)?.next.0;
        if is_json {
            writeln!(
                out,
                "{}",
                json!({ "partition": partition.0, "events": events })
            )?;
        } else {
            writeln!(out, "partition {partition}: {events} events")?;
        }
    }
    Ok(())
}

fn read(
    reader: &EmbeddedReader,
    partition: PartitionId,
    from: Offset,
    limit: usize,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let (mut next, mut left) = (from, limit);
    while left > 0 {
        let frames = reader.read(partition, next, READ_BYTES)?;
        let Some(last) = frames.last() else { break };
        let after = last.header().end();
        for record in frames
            .iter()
            .flat_map(Frame::records)
            .filter(|record| record.offset >= next)
            .take(left)
        {
            print(partition, &record, is_json, out)?;
            left -= 1;
        }
        next = after;
    }
    Ok(())
}

fn print(
    partition: PartitionId,
    record: &Record<'_>,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let Record {
        kind,
        stream,
        version,
        offset,
        recorded_at,
        ..
    } = record;
    let (category, event_type, bytes) = (&kind.category, &kind.event_type, record.payload.len());
    if is_json {
        let line = json!({
            "partition": partition.0, "offset": offset.0, "recorded_at": recorded_at.to_string(),
            "event_time": record.event_time.to_string(), "stream": format!("{category}-{stream}"),
            "version": version, "type": event_type.as_str(), "schema_version": kind.schema_version,
            "id": record.id.to_string(), "payload_bytes": bytes,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{partition}:{offset} {recorded_at} {category}-{stream} v{version} {event_type} {bytes} bytes"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
