//! `log read`.

use std::io::Write;

use anyhow::Result;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{EmbeddedReader, LogError, LogReader};
use millstream_engine::time::Timestamp;

use super::Data;
use super::events::Printer;
use super::folder::DataFolder;

/// What to read.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ReadArguments {
    #[command(flatten)]
    data: Data,
    /// The one partition to read [default: all, one after another]
    #[arg(long, value_name = "N")]
    partition: Option<u16>,
    /// First offset to print, in each partition that is read
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// Begin with the first event that was recorded at this time or later, such as 2024-02-29T12:00:00Z, in each
    /// partition that is read
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    from_time: Option<Timestamp>,
    /// Most events to print, over all partitions
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print only events of this category, such as `account` of account-42
    #[arg(long, value_name = "CATEGORY")]
    category: Option<String>,
}

/// The partition named, or all.
pub(super) fn partitions(
    reader: &EmbeddedReader,
    asked: Option<u16>,
) -> Result<Vec<PartitionId>, LogError> {
    let partitions = reader.partitions();
    match asked {
        None => Ok((0..partitions).map(PartitionId).collect()),
        Some(one) if one < partitions => Ok(vec![PartitionId(one)]),
        Some(one) => Err(LogError::UnknownPartition {
            partition: PartitionId(one),
            partitions,
        }),
    }
}

pub(super) fn read(arguments: &ReadArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let reader = DataFolder::find(&arguments.data.data)?.log()?;
    let mut printer = Printer {
        out,
        is_json,
        category: arguments.category.as_deref(),
        left: arguments.limit,
    };
    for partition in partitions(&reader, arguments.partition)? {
        let mut next = match arguments.from_time {
            Some(time) => reader.first_recorded_at(partition, time)?,
            None => Offset(arguments.from),
        };
        while printer.left > 0 {
            let after = printer.page(&reader, partition, next)?;
            if after == next {
                break;
            }
            next = after;
        }
    }
    Ok(())
}
