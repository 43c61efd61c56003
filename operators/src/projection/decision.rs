//! What a person decided about a dead letter: events of the log, in a category of their own.
//!
//! Place: `dead-letters redrive|edit|discard` or the engine's API -> the log -> **the projection**, which reads those about events
//! ahead when it opens, and comes upon later ones between the other events of the partition.
//! Those about items of a dataflow are read by its stages, see [`failing`](crate::failing).
//! Invariants: (1) a decision lies in the partition of its letter, behind its event; (2) it names the event and the
//! number of redrives before it, and the first that names a number counts: the same decision twice does what one does;
//! (3) it is appended by the engine alone, about an event that is stored as dead: nothing but a decision that names the
//! same number, or the one itself, has that event applied or passed over.

use millstream_engine::codec::Event;
use millstream_engine::event::{Offset, PartitionId, Position, StreamId, StreamIdError};
use millstream_engine::log::frame::Encoding;
use millstream_engine::state::DeadLetter;
use serde::{Deserialize, Serialize};

/// Category of the streams that decisions lie in. No aggregate may have it.
pub const DECISIONS: &str = "dead_letter";

/// Category of the letters of items of dataflows. Not one that the log could have.
pub(crate) const ITEMS: &str = "dataflow-item";

/// Bytes of JSON that an edit may have. It is in memory while its event is applied, and in the letter while that waits.
pub const EDIT_BYTES_MAX: usize = 1 << 20;

/// A decision, as it lies in the log. Later versions may know more of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LetterDecision {
    /// The event is to be tried again, and what waits behind it follows.
    Redriven(LetterOrder),
    /// The event is given up; what waits behind it follows.
    Discarded(LetterOrder),
    /// Another payload takes the place of the event's: it is tried again so, and what waits behind it follows.
    Edited {
        /// Which letter.
        order: LetterOrder,
        /// The payload as JSON text. Of an event in the shape that its type had when it was written; of an item as its letter
        /// shows it.
        payload: String,
    },
}

impl Event for LetterDecision {
    // Readable by whoever looks into the log.
    const ENCODING: Encoding = Encoding::Json;
}

/// Which letter, and who decided why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterOrder {
    /// Name of the projection; of a dataflow's letter the name that its state is registered under.
    pub projection: String,
    /// The stage of a dataflow, if the letter is of one; its item is found by the letter's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Its version. The decision is one for this version and all later ones.
    pub version: u32,
    /// The parked stream, or the key of an item.
    pub key: String,
    /// Partition of the event that failed; of an item that of the stage in which it failed.
    pub partition: u16,
    /// Its offset; of an item the number of its letter.
    pub offset: u64,
    /// How many redrives of it the log held, as far as the letter said: of two decisions that know of the same ones
    /// the first counts.
    pub redrives: u32,
    /// Of a late item's letter its [`content`](DeadLetter::content) as it was seen: its place may be that of another one by now,
    /// which is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<u64>,
    /// Who decided.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl LetterOrder {
    /// An order for this letter; `None` for one that belongs to no projection, such as a late item of a dataflow:
    /// nobody waits for a decision on it.
    #[must_use]
    pub fn of(letter: &DeadLetter, by: &str, reason: &str) -> Option<Self> {
        let category = letter.kind.category.as_str();
        let id = letter.key.strip_prefix(category)?.strip_prefix('-')?;
        (!category.is_empty() && !id.is_empty()).then(|| Self {
            projection: letter.stage.to_string(),
            stage: None,
            version: letter.version,
            key: letter.key.to_string(),
            partition: letter.position.partition.0,
            offset: letter.position.offset.0,
            redrives: letter.redrives,
            content: None,
            by: by.to_owned(),
            reason: reason.to_owned(),
        })
    }

    /// An order for the letter of a late item of a dataflow whose state is registered under `dataflow`; `None` for any other.
    /// Nothing holds the item: all that can be done is to let the letter go, which no event in the log says.
    #[must_use]
    pub fn of_late(letter: &DeadLetter, dataflow: &str, by: &str, reason: &str) -> Option<Self> {
        let is_late = letter.kind.category.is_empty();
        is_late.then(|| Self {
            content: Some(letter.content()),
            ..Self::of_stage(letter, dataflow, by, reason)
        })
    }

    /// An order for the letter of an item of a dataflow whose state is registered under `dataflow`; `None` for any other.
    #[must_use]
    pub fn of_item(letter: &DeadLetter, dataflow: &str, by: &str, reason: &str) -> Option<Self> {
        (letter.kind.category == ITEMS).then(|| Self::of_stage(letter, dataflow, by, reason))
    }

    fn of_stage(letter: &DeadLetter, dataflow: &str, by: &str, reason: &str) -> Self {
        Self {
            projection: dataflow.to_owned(),
            stage: Some(letter.stage.to_string()),
            version: letter.version,
            key: letter.key.to_string(),
            partition: letter.position.partition.0,
            offset: letter.position.offset.0,
            redrives: letter.redrives,
            content: None,
            by: by.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// The partition of the log that the decision lies in. A stage of a dataflow may have more partitions than the log.
    #[must_use]
    pub const fn log_partition(&self, partitions: u16) -> PartitionId {
        match self.stage {
            Some(_) if partitions > 0 => PartitionId(self.partition % partitions),
            _ => PartitionId(self.partition),
        }
    }

    /// Where the event lies that it is about.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position {
            partition: PartitionId(self.partition),
            offset: Offset(self.offset),
        }
    }
}

impl LetterDecision {
    /// What it is about.
    #[must_use]
    pub const fn order(&self) -> &LetterOrder {
        match self {
            Self::Redriven(order) | Self::Discarded(order) | Self::Edited { order, .. } => order,
        }
    }

    /// The stream of all decisions of a partition: it lies in the partition itself, as its partition key says.
    ///
    /// Cost: about as many hashes as there are partitions.
    ///
    /// # Errors
    /// [`StreamIdError`]: never, for a partition that the store has.
    pub fn stream(partition: PartitionId, partitions: u16) -> Result<StreamId, StreamIdError> {
        let mut salt = 0u64;
        loop {
            let id = StreamId::new(DECISIONS, &format!("decisions@{salt}"))?;
            if id.partition(partitions) == partition || partition.0 >= partitions {
                return Ok(id);
            }
            salt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Part of the on-disk format: decisions of before must be found again.
    #[test]
    fn each_partition_has_a_stream_of_its_own() {
        for partitions in [1, 2, 3, 16, 257] {
            let mut seen = std::collections::HashSet::new();
            for partition in (0..partitions).map(PartitionId) {
                let id = LetterDecision::stream(partition, partitions).unwrap();
                assert_eq!(id.partition(partitions), partition);
                assert_eq!(id.category(), DECISIONS);
                assert!(seen.insert(id));
            }
        }
        let first = LetterDecision::stream(PartitionId(0), 1).unwrap();
        assert_eq!(first.as_str(), "dead_letter-decisions@0");
    }
}
