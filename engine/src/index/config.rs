//! Limits of the stream index of one partition.

use serde::{Deserialize, Serialize};

use super::error::IndexError;

/// Limits of one partition's stream index; checked by [`validate`](Self::validate) when it opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexConfig {
    /// Entries held in memory before a flush is due. Default 262,144 (6 MiB), at least 1. More:
    /// fewer, larger runs and less merging; less: less memory, less to feed again after a crash.
    pub tail_entries_max: usize,
    /// Runs of one level that are merged into one of the next. Default 8, 2..=64. More: less is
    /// rewritten; less: fewer runs for a lookup to ask.
    pub level_fanout: usize,
    /// Largest value handed to the store. Bytes, default 32,752, 1,024..=1,048,576. More: fewer
    /// keys; less: less to copy and check for one lookup.
    pub chunk_bytes_max: usize,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            tail_entries_max: 262_144,
            level_fanout: 8,
            // Eight pages of 4 KiB less the 16-byte header of an LMDB overflow value.
            chunk_bytes_max: 32_752,
        }
    }
}

impl IndexConfig {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`IndexError::Config`] names the first field outside its range.
    pub fn validate(&self) -> Result<(), IndexError> {
        let fields = [
            (
                "tail_entries_max",
                self.tail_entries_max,
                1,
                usize::MAX,
                "1 and more",
            ),
            ("level_fanout", self.level_fanout, 2, 64, "2..=64"),
            (
                "chunk_bytes_max",
                self.chunk_bytes_max,
                1_024,
                1 << 20,
                "1,024..=1,048,576",
            ),
        ];
        for (field, value, least, most, allowed) in fields {
            if value < least || value > most {
                return Err(IndexError::Config {
                    field,
                    value: value as u64,
                    allowed,
                });
            }
        }
        Ok(())
    }
}
