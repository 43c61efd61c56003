//! `log tail`: new events of an engine that runs in another process.
//!
//! The log is polled, not listened to: a reader beside the engine shares nothing with it but the file.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{EmbeddedReader, LogReader};

use super::Data;
use super::events::Printer;
use super::folder::DataFolder;
use super::log::partitions;
use crate::cli::say;

/// Time between two looks while nothing comes: short for a person, nothing for a processor.
const POLL: Duration = Duration::from_millis(100);

/// What to follow.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TailArguments {
    #[command(flatten)]
    data: Data,
    /// The one partition to follow [default: all]
    #[arg(long, value_name = "N")]
    partition: Option<u16>,
    /// Print only events of this category, such as `account` of account-42
    #[arg(long, value_name = "CATEGORY")]
    category: Option<String>,
    /// Leave after so many events [default: only at Ctrl-C]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(super) fn tail(arguments: &TailArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let reader = DataFolder::find(&arguments.data.data)?.log()?;
    let mut places = Vec::new();
    for partition in partitions(&reader, arguments.partition)? {
        places.push((partition, reader.head(partition)?.next));
    }
    let begins: Vec<_> = places
        .iter()
        .map(|(partition, next)| format!("{partition}:{next}"))
        .collect();
    let begins = begins.join(", ");
    say(format_args!("following from {begins}; Ctrl-C ends it"));
    let printer = Printer {
        out,
        is_json,
        category: arguments.category.as_deref(),
        left: arguments.limit.unwrap_or(usize::MAX),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(follow(&reader, places, printer))
}

async fn follow<W: Write>(
    reader: &EmbeddedReader,
    mut places: Vec<(PartitionId, Offset)>,
    mut printer: Printer<'_, W>,
) -> Result<()> {
    // Asked for before the first look, so that Ctrl-C is ours from then on.
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    loop {
        let mut moved = false;
        for (partition, next) in &mut places {
            let after = printer.page(reader, *partition, *next)?;
            moved |= after != *next;
            *next = after;
        }
        printer.out.flush()?;
        if printer.left == 0 {
            return Ok(());
        }
        let pause = if moved { Duration::ZERO } else { POLL };
        tokio::select! {
            biased;
            outcome = &mut interrupt => return Ok(outcome?),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
