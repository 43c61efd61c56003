//! `log stats`.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use millstream_engine::event::PartitionId;
use millstream_engine::log::{LogReader, PartitionStats};
use millstream_engine::time::Timestamp;
use serde_json::json;

use super::folder::DataFolder;
use super::text::{number, table};

const COLUMNS: [&str; 9] = [
    "partition",
    "events",
    "frames",
    "bytes",
    "first recorded",
    "last recorded",
    "index runs",
    "index entries",
    "unflushed",
];

/// What the log says of one partition.
struct Row {
    partition: PartitionId,
    log: PartitionStats,
    runs: usize,
    entries: u64,
    unflushed: u64,
}

pub(super) fn stats(data: &Path, is_json: bool, out: &mut impl Write) -> Result<()> {
    let reader = DataFolder::find(data)?.streams()?;
    let mut rows = Vec::new();
    for partition in (0..reader.partitions()).map(PartitionId) {
        let index = reader.index_stats(partition).unwrap_or_default();
        rows.push(Row {
            partition,
            log: reader.partition_stats(partition)?,
            runs: index.level_runs.iter().sum(),
            entries: index.run_entries,
            unflushed: index.tail_entries as u64,
        });
    }
    let (used, file) = reader.file_bytes()?;
    if is_json {
        return print_json(&rows, used, file, out);
    }
    let mut printed = table(&COLUMNS);
    for row in &rows {
        let time = |pick: fn((Timestamp, Timestamp)) -> Timestamp| {
            let time = row.log.recorded.map(pick);
            time.map_or("-".to_owned(), |time| time.to_string())
        };
        printed.add_row(vec![
            number(row.partition),
            number(row.log.events),
            number(row.log.frames),
            number(row.log.bytes),
            time(|(first, _)| first).into(),
            time(|(_, last)| last).into(),
            number(row.runs),
            number(row.entries),
            number(row.unflushed),
        ]);
    }
    writeln!(out, "{}", printed.trim_fmt())?;
    let events: u64 = rows.iter().map(|row| row.log.events).sum();
    let frames: u64 = rows.iter().map(|row| row.log.frames).sum();
    let bytes: u64 = rows.iter().map(|row| row.log.bytes).sum();
    writeln!(
        out,
        "{events} events in {frames} frames of {bytes} bytes; file: {used} bytes used of {file}"
    )?;
    Ok(())
}

/// A line per partition, then one for the whole log.
fn print_json(rows: &[Row], used: u64, file: u64, out: &mut impl Write) -> Result<()> {
    for row in rows {
        let recorded = row.log.recorded;
        let line = json!({
            "partition": row.partition.0,
            "events": row.log.events,
            "frames": row.log.frames,
            "bytes": row.log.bytes,
            "first_recorded_at": recorded.map(|(first, _)| first.to_string()),
            "last_recorded_at": recorded.map(|(_, last)| last.to_string()),
            "index_runs": row.runs,
            "index_entries": row.entries,
            "index_unflushed": row.unflushed,
        });
        writeln!(out, "{line}")?;
    }
    let line = json!({
        "partitions": rows.len(),
        "events": rows.iter().map(|row| row.log.events).sum::<u64>(),
        "frames": rows.iter().map(|row| row.log.frames).sum::<u64>(),
        "bytes": rows.iter().map(|row| row.log.bytes).sum::<u64>(),
        "file_used_bytes": used,
        "file_bytes": file,
    });
    writeln!(out, "{line}")?;
    Ok(())
}
