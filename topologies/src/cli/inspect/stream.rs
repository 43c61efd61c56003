//! `stream show`.

use std::io::Write;

use anyhow::{Result, bail};
use millstream_engine::event::StreamId;
use millstream_engine::log::{Direction, LogError, LogReader, StreamRef, for_each_event};

use super::Data;
use super::events::Printer;
use super::folder::DataFolder;
use crate::StoredEvent;

/// Which stream, and what of it.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ShowArguments {
    #[command(flatten)]
    data: Data,
    /// The stream's id: category, `-`, id of the instance
    #[arg(value_name = "STREAM", value_parser = super::stream_id)]
    stream: StreamId,
    /// First version to print; versions count from 0 [default: the first, backwards the last]
    #[arg(long, value_name = "VERSION")]
    from: Option<u64>,
    /// Most events to print
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Newest first
    #[arg(long)]
    backwards: bool,
}

pub(super) fn show(arguments: &ShowArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let reader = DataFolder::find(&arguments.data.data)?.streams()?;
    let stream = StreamRef::new(&arguments.stream, reader.partitions());
    let (direction, first) = match arguments.backwards {
        false => (Direction::Forwards, 0),
        true => (Direction::Backwards, u64::MAX),
    };
    let from = arguments.from.unwrap_or(first);
    let limit = arguments.limit;
    let mut printer = Printer {
        out,
        is_json,
        category: None,
        left: limit,
    };
    let seen = for_each_event::<_, anyhow::Error>(
        &reader,
        stream,
        from,
        limit,
        direction,
        |frame, record| printer.event(&StoredEvent::of(stream.partition, frame, record)),
    )?;
    // Nothing printed: say whether that is for want of a stream.
    if seen == 0 {
        let forwards = Direction::Forwards;
        let found = for_each_event(
            &reader,
            stream,
            0,
            1,
            forwards,
            |_, _| Ok::<_, LogError>(()),
        )?;
        if found == 0 {
            bail!("there is no stream {} in this log", arguments.stream);
        }
    }
    Ok(())
}
