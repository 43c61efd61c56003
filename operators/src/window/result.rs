//! What windows give out.

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A span of time, `start` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First time in it.
    pub start: Timestamp,
    /// First time after it.
    pub end: Timestamp,
}

impl Window {
    /// The last time in it: what its results are stamped with.
    pub fn last(&self) -> Timestamp {
        Timestamp(self.end.0.saturating_sub(1))
    }
}

/// What a result is in the life of its window and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Revision {
    /// Before the watermark has passed the window's end; replaces an earlier one.
    Early,
    /// When the watermark passed the window's end.
    OnTime,
    /// After that, because an item came late but within the allowed lateness; replaces what was given before.
    Late,
    /// Takes back the value that was given before; the value that replaces it follows.
    Retraction,
}

/// The result of one window for one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Windowed<K, V> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: Window,
    /// What was computed.
    pub value: V,
    /// Whether it is the first, an early one or one that replaces another.
    pub revision: Revision,
}
