//! Figures of the stream index.

/// Figures of one partition's index at one moment. Counters run from its opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Live runs of each level, level 0 first; empty without runs.
    pub level_runs: Vec<usize>,
    /// Entries in live runs.
    pub run_entries: u64,
    /// Bytes of the chunks of live runs, filters and directories included.
    pub run_bytes: u64,
    /// Bytes of the runs' Bloom filters, which are held in memory.
    pub filter_bytes: u64,
    /// Entries in memory, those of a flush under way included.
    pub tail_entries: usize,
    /// How often a run's filter was asked.
    pub bloom_checks_total: u64,
    /// How often a filter let a hash pass that its run did not have.
    pub bloom_false_positives_total: u64,
    /// Bytes of durable slices of flushes, with their manifests.
    pub flush_bytes_total: u64,
    /// Bytes of durable slices of merges and deletes, with their manifests. Write amplification is
    /// `(flush_bytes_total + merge_bytes_total) / flush_bytes_total`.
    pub merge_bytes_total: u64,
}
