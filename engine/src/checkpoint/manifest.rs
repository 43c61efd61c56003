//! What a checkpoint consists of: stored last, so that where it is, everything is.

use serde::{Deserialize, Serialize};

use super::restoring::decode;
use super::saving::encode;
use super::storage::CHUNK_BYTES;
use super::{CheckpointError, Epoch};
use crate::flow::exchange_hash;
use crate::time::Timestamp;

/// First byte of a stored manifest.
const FORMAT_VERSION: u8 = 1;

/// What identifies a part: epoch, stage, partition, slot.
pub(super) type PartId = (Epoch, u32, usize, usize);

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its number.
    pub epoch: Epoch,
    /// When its barriers were sent, by the engine's clock.
    pub taken_at: Timestamp,
    /// Time until it was complete, microseconds.
    pub micros: u64,
    /// Bytes that were written for it.
    pub bytes_written: u64,
    /// What hashes of keys were like: those of another program may spread keys otherwise.
    pub hash_probe: u64,
    /// Somebody asked for it to be kept.
    #[serde(default)]
    pub is_savepoint: bool,
    /// Its stages.
    pub stages: Vec<StageManifest>,
}

/// What is stored of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageManifest {
    /// Its name within the dataflow.
    pub name: String,
    /// Its number in the keys of parts; stays with the name.
    pub number: u32,
    /// By partition, by operator in their order.
    pub partitions: Vec<Vec<SlotManifest>>,
}

/// What is stored of an operator in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotManifest {
    /// The kind of operator.
    pub kind: String,
    /// Its parts, the oldest first: state is what they make one after another.
    pub parts: Vec<StoredPart>,
}

/// A part that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPart {
    /// Under which epoch.
    pub epoch: Epoch,
    /// Its length.
    pub bytes: u64,
}

impl StageManifest {
    /// Whether any of its operators has given state, beside the watermark of its input.
    pub fn has_state(&self) -> bool {
        let slots = self.partitions.iter().flatten();
        let mut kinds = slots.map(|slot| slot.kind.as_str());
        kinds.any(|kind| kind != crate::flow::INPUT_KIND)
    }
}

impl StoredPart {
    /// Rows that it takes.
    pub(super) fn chunks(&self) -> u32 {
        u32::try_from(self.bytes.div_ceil(CHUNK_BYTES as u64)).unwrap_or(u32::MAX)
    }
}

impl Manifest {
    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<&StageManifest> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Bytes of all of its parts.
    pub fn bytes(&self) -> u64 {
        let slots = self.stages.iter().flat_map(|stage| &stage.partitions);
        let parts = slots.flatten().flat_map(|slot| &slot.parts);
        parts.map(|part| part.bytes).sum()
    }

    /// Parts that it names, with the numbers of their rows.
    pub(super) fn named(&self) -> impl Iterator<Item = (PartId, u32)> {
        self.parts().map(|(id, part)| (id, part.chunks()))
    }

    /// Parts that it names.
    pub(super) fn parts(&self) -> impl Iterator<Item = (PartId, StoredPart)> {
        self.stages.iter().flat_map(|stage| {
            let partitions = stage.partitions.iter().enumerate();
            partitions.flat_map(move |(partition, slots)| {
                slots.iter().enumerate().flat_map(move |(number, slot)| {
                    let parts = slot.parts.iter();
                    parts.map(move |part| {
                        let id = (part.epoch, stage.number, partition, number);
                        (id, *part)
                    })
                })
            })
        })
    }

    /// What this program's hashes are like.
    pub(super) fn probe() -> u64 {
        exchange_hash(&(0x6d69_6c6c_u64, "stream"))
    }

    /// As it is stored.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = vec![FORMAT_VERSION];
        encode("a manifest", self, &mut bytes)?;
        Ok(bytes)
    }

    /// From its stored bytes.
    ///
    /// # Errors
    /// [`CheckpointError::Decode`], [`CheckpointError::Version`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        match bytes.split_first() {
            Some((&FORMAT_VERSION, rest)) => decode("a manifest", rest),
            Some((&found, _)) => Err(CheckpointError::Version {
                found,
                known: FORMAT_VERSION,
            }),
            None => Err(CheckpointError::Decode {
                kind: "a manifest".to_owned(),
                cause: "it is empty".to_owned(),
            }),
        }
    }
}
