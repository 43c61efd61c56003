//! The machine's own figures of the moment, without which none of ours says much.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use millstream_engine::time::{Clock, SystemClock};

/// Bytes of one overwritten block.
const BLOCK_BYTES: usize = 4 << 10;
/// Pages that a commit of one event writes, and how far apart they lie.
const COMMIT_PAGES: u64 = 4;
const COMMIT_STRIDE_BYTES: u64 = 64 << 10;
/// Bytes of a meta page that a commit writes.
const META_BYTES: usize = 120;
/// Bytes of one write of the sequential measurement.
const WRITE_BYTES: usize = 1 << 20;

/// What the disk under a folder does by itself, and how many cores there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Median of overwriting 4 KiB and forcing it to the disk, in microseconds.
    pub fdatasync_us: f64,
    /// Median of the two forced writes of a small commit of LMDB, without LMDB, in microseconds: four pages that lie apart,
    /// then a part of the page that names them.
    pub commit_us: f64,
    /// Sequential writing, forced to the disk at its end, in 10^6 bytes per second.
    pub disk_mb_per_second: f64,
    /// Cores that this process may use.
    pub cores: u32,
}

/// How much is written to find out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) syncs: usize,
    pub(crate) megabytes: usize,
}

impl Effort {
    /// A second or so of a slow disk.
    pub(crate) const FULL: Self = Self {
        syncs: 200,
        megabytes: 256,
    };
    /// A few milliseconds.
    pub(crate) const TINY: Self = Self {
        syncs: 5,
        megabytes: 2,
    };
}

impl Machine {
    /// The middle of two: a case that took a while is seen beside both ends of it.
    #[must_use]
    pub fn between(self, other: Self) -> Self {
        Self {
            fdatasync_us: f64::midpoint(self.fdatasync_us, other.fdatasync_us),
            commit_us: f64::midpoint(self.commit_us, other.commit_us),
            disk_mb_per_second: f64::midpoint(self.disk_mb_per_second, other.disk_mb_per_second),
            cores: self.cores,
        }
    }

    /// Measures the disk under `folder`. Blocks.
    pub(crate) fn measure(folder: &Path, effort: Effort) -> Result<Self> {
        let fdatasync_us = fdatasync_us(folder, effort.syncs).context("measuring fdatasync")?;
        let commit_us = commit_us(folder, effort.syncs).context("measuring a commit")?;
        let disk_mb_per_second =
            sequential(folder, effort.megabytes).context("measuring the disk")?;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        Ok(Self {
            fdatasync_us,
            commit_us,
            disk_mb_per_second,
            cores,
        })
    }
}

fn scratch(folder: &Path) -> Result<(File, tempfile::TempPath)> {
    let named = tempfile::Builder::new()
        .prefix("disk-")
        .tempfile_in(folder)?;
    let path = named.into_temp_path();
    let file = OpenOptions::new().write(true).open(&path)?;
    Ok((file, path))
}

fn fdatasync_us(folder: &Path, syncs: usize) -> Result<f64> {
    let (file, _path) = scratch(folder)?;
    let clock = SystemClock::new();
    let mut block = vec![0x5a; BLOCK_BYTES];
    file.write_all_at(&block, 0)?;
    // Its place is allocated and known: what follows changes data alone, as a preallocated log does.
    file.sync_all()?;
    let mut took = Vec::with_capacity(syncs);
    for turn in 0..syncs {
        block[0] = turn as u8;
        let start = clock.monotonic();
        file.write_all_at(&block, 0)?;
        file.sync_data()?;
        took.push(clock.monotonic() - start);
    }
    took.sort_unstable();
    Ok(took[took.len() / 2].as_secs_f64() * 1e6)
}

fn commit_us(folder: &Path, commits: usize) -> Result<f64> {
    let (file, path) = scratch(folder)?;
    let flags = rustix::fs::OFlags::DSYNC.bits().cast_signed();
    let forced = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(&path)?;
    let clock = SystemClock::new();
    let mut block = vec![0x5a; BLOCK_BYTES];
    // Two sets of pages, used in turn, and the meta pages before them: all allocated and written once.
    let places = 2 * COMMIT_PAGES + 1;
    for at in (0..places * COMMIT_STRIDE_BYTES).step_by(BLOCK_BYTES) {
        file.write_all_at(&block, at)?;
    }
    file.sync_all()?;
    let mut took = Vec::with_capacity(commits);
    for turn in 0..commits as u64 {
        block[0] = turn as u8;
        let start = clock.monotonic();
        for page in 0..COMMIT_PAGES {
            let place = 1 + (turn % 2) * COMMIT_PAGES + page;
            file.write_all_at(&block, place * COMMIT_STRIDE_BYTES)?;
        }
        file.sync_data()?;
        forced.write_all_at(&block[..META_BYTES], (turn % 2) * BLOCK_BYTES as u64)?;
        took.push(clock.monotonic() - start);
    }
    took.sort_unstable();
    Ok(took[took.len() / 2].as_secs_f64() * 1e6)
}

fn sequential(folder: &Path, megabytes: usize) -> Result<f64> {
    let (mut file, _path) = scratch(folder)?;
    let clock = SystemClock::new();
    // Not all zeros: some disks and file systems store those for nothing.
    let mut chunk = vec![0; WRITE_BYTES];
    let mut word = crate::SEED;
    for bytes in chunk.chunks_exact_mut(8) {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let start = clock.monotonic();
    for _ in 0..megabytes {
        file.write_all(&chunk)?;
    }
    file.sync_data()?;
    let seconds = (clock.monotonic() - start).as_secs_f64();
    Ok((megabytes * WRITE_BYTES) as f64 / 1e6 / seconds)
}

/// Memory of this process that is in use and its own, in bytes: without pages of mapped files, which are
/// the system's cache. `None` where the system does not say.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    const PAGE_BYTES: u64 = 4_096;
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = text.split_ascii_whitespace().skip(1);
    let resident: u64 = fields.next()?.parse().ok()?;
    let shared: u64 = fields.next()?.parse().ok()?;
    Some(resident.saturating_sub(shared) * PAGE_BYTES)
}

/// Bytes that this process has had written to a disk; `None` where the system does not say.
#[must_use]
pub fn written_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line?.parse().ok()
}

/// Time of all cores that this process has used.
#[must_use]
pub fn cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    // Both are never negative for a clock that counts from zero.
    Duration::new(
        used.tv_sec.unsigned_abs(),
        used.tv_nsec.unsigned_abs() as u32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_figures() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::measure(folder.path(), Effort::TINY).unwrap();
        assert!(machine.fdatasync_us > 0.0 && machine.commit_us > 0.0);
        assert!(machine.disk_mb_per_second > 0.0);
        assert!(machine.cores > 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
