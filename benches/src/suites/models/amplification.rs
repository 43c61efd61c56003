//! Write and read amplification of the log and of its index.
//!
//! *Log*: a frame is an LMDB value, in whole pages behind a page header; a commit copies the pages from its
//! leaf to the root, and writes them with the frame. *Index*: F flushed runs are merged eight to one, level by
//! level, so what is flushed is written again once per level that it has reached. *Look-up*: each run is asked
//! through its filter, and chunks of entries are read only where it lets the hash pass.

use anyhow::{Result, ensure};
use millstream_engine::event::Offset;
use millstream_engine::index::IndexConfig;
use millstream_engine::log::{EmbeddedLog, LogReader, LogStore};
use millstream_engine::store::EnvironmentOptions;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{SUITE, Sizes};
use crate::runs::MemoryIndex;
use crate::suites::append::{self, Sealer};
use crate::{Case, Harness, Machine, SEED, written_bytes};

/// Bytes of a page of the store.
const PAGE_BYTES: u64 = 4_096;
/// Bytes at the start of a value's first page that are not its own.
const PAGE_HEADER_BYTES: u64 = 16;
/// Pages that a commit copies beside the frame: leaf and root of the partition's tree, the tree of
/// databases, the list of free pages, and the page that names them all.
const COMMIT_PAGES: u64 = 5;
/// Events of one frame.
const FRAME_EVENTS: usize = 512;

pub(super) fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    log(harness, sizes, machine)?;
    index(harness, sizes, machine)
}

fn log(harness: &Harness, sizes: Sizes, machine: Machine) -> Result<()> {
    let folder = harness.folder()?;
    let options = EnvironmentOptions::default();
    let EmbeddedLog { mut store, reader } = EmbeddedLog::open(folder.path(), 1, options)?;
    let shape = append::Sizes {
        batch: FRAME_EVENTS,
        ..append::FULL
    };
    let mut sealer = Sealer::new(shape);
    let (used_before, _) = reader.file_bytes()?;
    let disk_before = written_bytes();
    let (mut stored, mut pages) = (0, 0);
    for _ in 0..sizes.frames {
        let mut frame = sealer.seal()?;
        // The index has its own case.
        frame.entries.clear();
        let bytes = frame.bytes.len() as u64;
        stored += bytes;
        pages += (bytes + PAGE_HEADER_BYTES).div_ceil(PAGE_BYTES);
        store.append(&[frame])?;
    }
    let frames = sizes.frames as u64;
    let payload = (frames as usize * FRAME_EVENTS * shape.event_bytes) as f64;
    let head = reader.head(millstream_engine::event::PartitionId(0))?.next;
    ensure!(head == Offset(frames * FRAME_EVENTS as u64), "all events");
    let (used, _) = reader.file_bytes()?;
    let grown = (used - used_before) as f64;
    let case = Case::new(SUITE, "amplification-log-space", machine)
        .with("frames", frames)
        .with("events_per_frame", FRAME_EVENTS)
        .figure("frame_bytes_per_payload_byte", stored as f64 / payload)
        .compare(
            "file_bytes_per_payload_byte",
            (pages * PAGE_BYTES) as f64 / payload,
            grown / payload,
        );
    harness.report(case)?;
    if let (Some(before), Some(after)) = (disk_before, written_bytes()) {
        let expected = (pages + frames * COMMIT_PAGES) * PAGE_BYTES;
        let case = Case::new(SUITE, "amplification-log-writes", machine)
            .with("commits", frames)
            .compare(
                "written_bytes_per_payload_byte",
                expected as f64 / payload,
                (after - before) as f64 / payload,
            );
        harness.report(case)?;
    }
    Ok(())
}

/// How often flushed bytes are written in all, once `flushes` runs were merged `fanout` to one.
fn expected_writes(flushes: usize, fanout: usize) -> f64 {
    let (mut written, mut per_run) = (flushes, fanout);
    while per_run <= flushes {
        written += flushes / per_run * per_run;
        per_run *= fanout;
    }
    written as f64 / flushes as f64
}

/// Runs that are left then: the digits of the number of flushes, written to the base `fanout`.
fn expected_runs(mut flushes: usize, fanout: usize) -> usize {
    let mut runs = 0;
    while flushes > 0 {
        runs += flushes % fanout;
        flushes /= fanout;
    }
    runs
}

fn index(harness: &Harness, sizes: Sizes, machine: Machine) -> Result<()> {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut index = MemoryIndex::new(sizes.tail)?;
    let mut known = Vec::with_capacity(sizes.flushes);
    for _ in 0..sizes.flushes {
        let hashes: Vec<_> = (0..sizes.tail).map(|_| random.next_u64()).collect();
        known.push(hashes[0]);
        index.add(hashes.into_iter().map(|hash| (hash, 0)))?;
    }
    let stats = index.stats();
    let entries = (sizes.flushes * sizes.tail) as u64;
    ensure!(stats.run_entries == entries, "all entries are in runs");
    let fanout = IndexConfig::default().level_fanout;
    let written = (stats.flush_bytes_total + stats.merge_bytes_total) as f64;
    let case = Case::new(SUITE, "amplification-index-writes", machine)
        .with("entries", entries)
        .with("flushes", sizes.flushes)
        .with("fanout", fanout)
        .figure("bytes_per_entry", stats.run_bytes as f64 / entries as f64)
        .compare(
            "written_bytes_per_flushed_byte",
            expected_writes(sizes.flushes, fanout),
            written / stats.flush_bytes_total as f64,
        );
    harness.report(case)?;
    let (checks, reads) = (stats.bloom_checks_total, index.data_reads());
    for &hash in &known {
        ensure!(index.finds(hash)?, "an entry that was added is found");
    }
    let lookups = known.len() as f64;
    let asked = (index.stats().bloom_checks_total - checks) as f64 / lookups;
    let case = Case::new(SUITE, "amplification-index-reads", machine)
        .with("lookups", known.len())
        .figure("filters_asked_per_lookup", asked)
        .figure(
            "filters_asked_most",
            expected_runs(sizes.flushes, fanout) as f64,
        )
        // Newest first: a stream of one event is searched for until it is found, in one chunk.
        .compare(
            "chunks_read_per_lookup",
            1.0,
            (index.data_reads() - reads) as f64 / lookups,
        );
    harness.report(case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_merged_is_written_again() {
        assert_eq!(expected_writes(7, 8), 1.0);
        assert_eq!(expected_writes(8, 8), 2.0);
        assert_eq!(expected_writes(64, 8), 3.0);
        // 200: 200 flushed, 200 merged into 25, of which 24 are merged into 3.
        assert_eq!(expected_writes(200, 8), 1.0 + 1.0 + 192.0 / 200.0);
        assert_eq!(expected_runs(200, 8), 3 + 1);
    }
}
