//! The stream index of one partition: from the hash of a stream to the offsets of its events.
//!
//! Place: the log's writer feeds it after each commit; reads of a stream ask it where to look. It
//! knows no database: chunks are read through [`RunStore`] and writes are handed to the caller.
//! How it works: new entries go into an in-memory tail. A full tail is flushed as a *run*, sorted
//! entries with a Bloom filter; eight runs of one level are merged into one of the next. Both happen
//! in slices of a bounded size, so they can share transactions with the log without delaying it.
//! Invariants: (1) runs and tail together hold each entry pushed exactly once, at every moment a
//! reader may look; (2) what the manifest lists as live is whole; (3) of one stream, an older run
//! never holds a later version than a newer one, since only neighbours in age are merged.
//! Threads: one writer pushes, one maintainer takes slices, any number read. Readers take a lock for
//! the time of a look into the tail; sorting and merging happen outside it.
//! Failure: after a crash the index is as of the last flush, and entries from
//! [`covered_until`](StreamIndex::covered_until) on are fed again from the log. A damaged chunk is a
//! typed error; [emptying](emptied) the index and feeding everything again heals it.
//! Cost: `benches/stream_index.rs`. In memory per stream and run, 10 to 20 bits of filter.
//! Not here: stream names. Two streams may share a hash, so callers compare names themselves.

mod block;
mod bloom;
mod build;
mod chunk;
mod config;
mod encode;
mod error;
mod key;
mod maintenance;
mod manifest;
mod merge;
mod run;
mod stats;
mod stream_index;
mod tail;
#[cfg(test)]
mod tests;
mod upkeep;
mod verify;
mod wire;

pub use chunk::{ChunkKey, ChunkKind, IndexWrite, RunStore};
pub use config::IndexConfig;
pub use error::IndexError;
pub use manifest::emptied;
pub use stats::IndexStats;
pub use stream_index::StreamIndex;
pub use upkeep::FlushDue;
pub use verify::verify;

/// Where an event of a stream lies. Ordered by hash, version, offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexEntry {
    /// Hash of the stream's id; should be uniform over all 64 bits.
    pub hash: u64,
    /// Number of the event in its stream, from 0, without gaps.
    pub version: u64,
    /// Offset of the event in its partition.
    pub offset: u64,
}
