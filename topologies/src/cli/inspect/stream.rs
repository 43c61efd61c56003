//! `stream show`.

use std::io::Write;

use anyhow::{Result, bail};
use millstream_engine::event::StreamId;
use millstream_engine::log::{
    Direction, EmbeddedReader, LogError, LogReader, StreamRef, for_each_event,
};
use millstream_operators::past::At;

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
    /// Only events that count at this moment of the past: a version, a position, recorded=TIME or event=TIME
    #[arg(long, value_name = "MOMENT", value_parser = super::moment::moment)]
    at: Option<At>,
    /// Newest first
    #[arg(long)]
    backwards: bool,
}

/// Why a walk over the stream ended before its end.
enum Stop {
    Enough,
    Failed(anyhow::Error),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) fn show(arguments: &ShowArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let reader = DataFolder::find(&arguments.data.data)?.streams()?;
    let stream = StreamRef::new(&arguments.stream, reader.partitions());
    if let Some(At::Position(token)) = &arguments.at {
        let mut positions = token.positions().iter();
        if positions.all(|position| position.partition != stream.partition) {
            let (name, own) = (&arguments.stream, stream.partition);
            bail!("stream {name} lies in partition {own}: ask for a position there");
        }
    }
    let cut = arguments.at.clone().unwrap_or(At::Latest);
    let cut = cut.cut(&reader, stream.partition)?;
    let (direction, first) = match arguments.backwards {
        false => (Direction::Forwards, 0),
        true => (Direction::Backwards, u64::MAX),
    };
    let mut printer = Printer {
        out,
        is_json,
        category: None,
        left: arguments.limit,
    };
    let mut is_there = false;
    let walked = for_each_event::<_, Stop>(
        &reader,
        stream,
        arguments.from.unwrap_or(first),
        usize::MAX,
        direction,
        |frame, record| {
            is_there = true;
            let is_behind = record.offset >= cut.end() && direction == Direction::Forwards;
            if printer.left == 0 || is_behind {
                return Err(Stop::Enough);
            }
            if cut.holds(record) {
                let event = StoredEvent::of(stream.partition, frame, record);
                printer.event(&event).map_err(Stop::Failed)?;
                printer.left -= 1;
            }
            // Not one more than is wanted is looked for.
            if printer.left == 0 {
                return Err(Stop::Enough);
            }
            Ok(())
        },
    );
    if let Err(Stop::Failed(error)) = walked {
        return Err(error);
    }
    // Nothing met: say whether that is for want of a stream.
    if !is_there && !exists(&reader, stream)? {
        bail!("there is no stream {} in this log", arguments.stream);
    }
    Ok(())
}

fn exists(reader: &EmbeddedReader, stream: StreamRef<'_>) -> Result<bool, LogError> {
    let forwards = Direction::Forwards;
    let found = for_each_event(reader, stream, 0, 1, forwards, |_, _| Ok::<_, LogError>(()))?;
    Ok(found > 0)
}
