//! Records of a file that cannot be used, and what is done with them.

use std::error::Error;
use std::sync::Arc;

use millstream_engine::event::PartitionId;
use millstream_engine::flow::Fault;
use millstream_engine::metrics::UnreadableMetrics;
use serde::{Deserialize, Serialize};

use crate::failing::Classed;
use crate::stateless::Again;

/// Longest piece of a record that an error repeats. Characters.
const SHOWN_CHARS_MAX: usize = 120;
/// Bytes that are enough for it: a character has at most four.
pub(super) const BEGINNING_BYTES: usize = SHOWN_CHARS_MAX * 4;

/// One record of a file that is not what was expected. Those around it are not touched by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{file}, line {line}{}: {reason}", place(.field.as_deref()))]
pub struct BadLine {
    /// The file, as it was named.
    #[serde(with = "shared_text")]
    pub file: Arc<str>,
    /// Line in the file at which the record begins, from 1; a header is line 1.
    pub line: u64,
    /// Byte in the file at which the record begins.
    pub offset: u64,
    /// The field, where one is to blame: a column, or a path into a JSON object.
    pub field: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// The beginning of the record.
    pub text: String,
}

/// A text that many have, as a text.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}

fn place(field: Option<&str>) -> String {
    field.map_or_else(String::new, |field| format!(", field {field:?}"))
}

/// It is what it is: the line is not read again, as only its beginning is kept.
impl<T> Again<T> for BadLine {
    fn again(&self) -> Result<T, Box<dyn Error + Send + Sync>> {
        Err(Classed::new("unreadable", self.clone()).into())
    }
}

/// The beginning of a record, for messages.
pub(super) fn shown(record: &[u8]) -> String {
    let part = &record[..record.len().min(BEGINNING_BYTES)];
    let text = String::from_utf8_lossy(part);
    text.trim_end().chars().take(SHOWN_CHARS_MAX).collect()
}

/// What becomes of good and bad records.
pub trait BadLinePolicy<T>: Clone + Send + 'static {
    /// What the source gives.
    type Item: Send + 'static;

    /// Before the first record, with the stage and the number of the split.
    fn open(&mut self, stage: &str, split: PartitionId) {
        let _ = (stage, split);
    }

    /// Of a good record.
    fn good(&mut self, item: T) -> Self::Item;

    /// Of a bad one; `None` passes over it.
    ///
    /// # Errors
    /// [`Fault`]: the stage fails for it.
    fn bad(&mut self, line: BadLine) -> Result<Option<Self::Item>, Fault>;
}

/// A bad record fails the stage, and is named.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailOnBadLine;

impl<T: Send + 'static> BadLinePolicy<T> for FailOnBadLine {
    type Item = T;

    #[inline]
    fn good(&mut self, item: T) -> T {
        item
    }

    fn bad(&mut self, line: BadLine) -> Result<Option<T>, Fault> {
        Err(Fault(line.to_string()))
    }
}

/// A bad record is an item as well: for a side output.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepBadLines;

impl<T: Send + 'static> BadLinePolicy<T> for KeepBadLines {
    type Item = Result<T, BadLine>;

    #[inline]
    fn good(&mut self, item: T) -> Result<T, BadLine> {
        Ok(item)
    }

    fn bad(&mut self, line: BadLine) -> Result<Option<Result<T, BadLine>>, Fault> {
        Ok(Some(Err(line)))
    }
}

/// A bad record is counted in `millstream_source_unreadable_total` and passed over; the first one is told.
#[derive(Clone, Debug, Default)]
pub struct SkipBadLines {
    metrics: Option<UnreadableMetrics>,
    told: bool,
}

impl<T: Send + 'static> BadLinePolicy<T> for SkipBadLines {
    type Item = T;

    fn open(&mut self, stage: &str, split: PartitionId) {
        self.metrics = Some(UnreadableMetrics::new(stage, split));
    }

    #[inline]
    fn good(&mut self, item: T) -> T {
        item
    }

    fn bad(&mut self, line: BadLine) -> Result<Option<T>, Fault> {
        if let Some(metrics) = &self.metrics {
            metrics.count(1);
        }
        if !self.told {
            self.told = true;
            tracing::warn!(%line, "a line cannot be read and is passed over, as later ones will be");
        }
        Ok(None)
    }
}
