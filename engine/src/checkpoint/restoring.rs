//! What the operators of one partition of a stage get back when a dataflow is restored.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::saved_part::{Failure, Lies, StoredParts};
use super::storage::CheckpointStorage;
use super::{
    CheckpointError, Epoch, Manifest, Part, SavedPart, SlotManifest, StageManifest, StoredPart,
};
use crate::flow::{exchange_hash, target_of};
use crate::time::Timestamp;

/// What one operator gave: by partition that was saved, its parts, the oldest first.
#[derive(Debug, Default)]
struct Slot {
    kind: String,
    parts: Vec<Vec<Lies>>,
    /// Of the oldest part.
    base: Epoch,
}

/// Gives the operators of one partition of a stage their state, in their order.
#[derive(Debug)]
pub struct Restoring {
    slots: VecDeque<Slot>,
    partition: usize,
    partitions: usize,
    /// What is stored lies in other partitions than it is wanted in.
    is_spread_anew: bool,
    /// In how many partitions it was saved, if keys were hashed as they are now.
    saved_partitions: Option<usize>,
    /// Nothing is stored of this stage.
    is_new: bool,
    is_stale: bool,
    /// Processing time when what is restored was saved, as far as an operator has said it.
    reached: Timestamp,
    failure: Failure,
}

impl Restoring {
    /// Of a stage that has no stored state.
    pub fn nothing(partition: usize, partitions: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            partition,
            partitions,
            is_spread_anew: false,
            saved_partitions: None,
            is_new: true,
            is_stale: false,
            reached: Timestamp::MIN,
            failure: Failure::default(),
        }
    }

    /// Of what the operators of each partition gave at each barrier, the first one first, without storage between: for
    /// tests of operators.
    pub fn of_saves(
        saves: &[Vec<(Epoch, Vec<Part>)>],
        partition: usize,
        partitions: usize,
    ) -> Self {
        let is_spread_anew = saves.len() != partitions;
        let wanted = saves.iter().enumerate();
        let wanted = wanted.filter(|(from, _)| is_spread_anew || *from == partition);
        let mut slots: VecDeque<Slot> = VecDeque::new();
        for (_, saves) in wanted {
            let Some((_, last)) = saves.last() else {
                continue;
            };
            slots.resize_with(slots.len().max(last.len()), Slot::default);
            for (number, (slot, last)) in slots.iter_mut().zip(last).enumerate() {
                last.kind.clone_into(&mut slot.kind);
                let kept = saves.iter().filter(|(epoch, _)| *epoch >= last.base);
                let parts = kept.filter_map(|(epoch, parts)| {
                    let bytes = parts.get(number)?.bytes.clone();
                    bytes.map(|bytes| (*epoch, bytes))
                });
                let parts: Vec<_> = parts.collect();
                slot.base = parts.first().map_or(slot.base, |(epoch, _)| *epoch);
                slot.parts.push(
                    parts
                        .into_iter()
                        .map(|(_, bytes)| Lies::Here(bytes))
                        .collect(),
                );
            }
        }
        Self {
            slots,
            is_spread_anew,
            saved_partitions: Some(saves.len()),
            is_new: false,
            ..Self::nothing(partition, partitions)
        }
    }

    /// Whether the state comes from other partitions than it goes to, so that it holds what is not this partition's and
    /// the next checkpoint must have all of it.
    pub const fn is_spread_anew(&self) -> bool {
        self.is_spread_anew
    }

    /// What it was made of is not what its source holds now: the checkpoint is of no use.
    pub const fn mark_stale(&mut self) {
        self.is_stale = true;
    }

    /// Whether it was marked so.
    pub(super) const fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// What an operator takes back was saved at this processing time, or a later one: the stage's goes on from there.
    pub fn goes_on_from(&mut self, now: Timestamp) {
        self.reached = self.reached.max(now);
    }

    /// The latest of those times; [`Timestamp::MIN`] if there was none.
    pub(crate) const fn reached(&self) -> Timestamp {
        self.reached
    }

    /// Why an operator was not given its state, if one was not.
    pub(super) fn failure(&self) -> Option<&CheckpointError> {
        self.failure.get()
    }

    /// Keeps why an operator's state is of no use to it.
    pub fn fail(&self, error: CheckpointError) -> CheckpointError {
        self.failure.get_or_init(|| error.clone());
        error
    }

    /// Whether this partition is the one that takes what belongs to none in particular.
    pub const fn is_first(&self) -> bool {
        self.partition == 0
    }

    /// Whether a key is this partition's.
    pub fn owns<K: Hash>(&self, key: &K) -> bool {
        !self.is_spread_anew || target_of(exchange_hash(key), self.partitions) == self.partition
    }

    /// The partition that a key was in when it was saved, if that can be known: of values that several partitions gave it
    /// is the one at this place.
    pub fn saved_partition_of<K: Hash>(&self, key: &K) -> Option<usize> {
        if !self.is_spread_anew {
            return Some(0);
        }
        let partitions = self.saved_partitions?;
        Some(target_of(exchange_hash(key), partitions))
    }

    /// The state that the next operator gave [in whole](super::Saving::whole): of this partition, or of all if it
    /// [is spread anew](Self::is_spread_anew). None if nothing is stored.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`], [`CheckpointError::Decode`].
    pub fn whole<T: DeserializeOwned>(
        &mut self,
        kind: &'static str,
    ) -> Result<Vec<T>, CheckpointError> {
        let parts = self.parts(kind)?.into_iter();
        let last = parts.filter_map(|mut parts| parts.pop());
        last.map(SavedPart::read).collect()
    }

    /// What kind of state the next operator gave, if anything is left: for operators whose state had another form once.
    pub fn next_kind(&self) -> Option<&str> {
        self.slots.front().map(|slot| slot.kind.as_str())
    }

    /// The epoch that what the next operator gave goes back to, if that may stay where it is: it goes on with changes.
    /// `None`: it gives all of its state again.
    pub fn base(&self) -> Option<Epoch> {
        let slot = self.slots.front()?;
        (!self.is_spread_anew).then_some(slot.base)
    }

    /// The parts that the next operator gave, such as its [changes](super::Saving::changes): by partition that was saved,
    /// the oldest first.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`].
    pub fn parts(&mut self, kind: &'static str) -> Result<Vec<Vec<SavedPart>>, CheckpointError> {
        if self.is_new {
            return Ok(Vec::new());
        }
        let slot = match self.slots.pop_front() {
            Some(slot) if slot.kind == kind => slot,
            slot => {
                return Err(self.fail(CheckpointError::Changed {
                    expected: kind.to_owned(),
                    found: slot.map_or_else(|| "nothing".to_owned(), |slot| slot.kind),
                }));
            }
        };
        let part = |lies| SavedPart::new(kind, lies, Arc::clone(&self.failure));
        let of_partition = |parts: Vec<Lies>| parts.into_iter().map(part).collect();
        Ok(slot.parts.into_iter().map(of_partition).collect())
    }

    /// All operators have asked.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`]: there is state that none wanted.
    pub fn finish(mut self) -> Result<(), CheckpointError> {
        match self.slots.pop_front() {
            None => Ok(()),
            Some(slot) => Err(CheckpointError::Changed {
                expected: "nothing".to_owned(),
                found: slot.kind,
            }),
        }
    }
}

/// Reads a value that [`Saving`](super::Saving) wrote.
pub(super) fn decode<T: DeserializeOwned>(kind: &str, bytes: &[u8]) -> Result<T, CheckpointError> {
    rmp_serde::from_slice(bytes).map_err(|error| decode_error(kind, &error))
}

pub(super) fn decode_error(kind: &str, error: &rmp_serde::decode::Error) -> CheckpointError {
    CheckpointError::Decode {
        kind: kind.to_owned(),
        cause: error.to_string(),
    }
}

/// A checkpoint that is to be restored.
#[derive(Clone)]
pub struct SavedCheckpoint {
    manifest: Arc<Manifest>,
    storage: Arc<dyn CheckpointStorage>,
}

impl SavedCheckpoint {
    /// A stored checkpoint.
    pub fn new(manifest: Manifest, storage: Arc<dyn CheckpointStorage>) -> Self {
        Self {
            manifest: Arc::new(manifest),
            storage,
        }
    }

    /// What it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the stage named `stage` has its state in other partitions than the `partitions` that it has now.
    pub fn is_spread_anew(&self, stage: &str, partitions: usize) -> bool {
        let is_same_hash = self.manifest.hash_probe == Manifest::probe();
        let saved = self.manifest.stage(stage);
        saved.is_some_and(|saved| saved.partitions.len() != partitions || !is_same_hash)
    }

    /// The state of one partition of the stage named `stage`, which has `partitions` of them now. It is read when the
    /// operators ask for it.
    pub fn restoring(&self, stage: &str, partition: usize, partitions: usize) -> Restoring {
        let Some(saved) = self.manifest.stage(stage) else {
            return Restoring::nothing(partition, partitions);
        };
        let is_same_hash = self.manifest.hash_probe == Manifest::probe();
        let is_spread_anew = self.is_spread_anew(stage, partitions);
        let wanted: Vec<usize> = if is_spread_anew {
            (0..saved.partitions.len()).collect()
        } else {
            vec![partition]
        };
        let mut slots = VecDeque::new();
        let longest = saved.partitions.iter().map(Vec::len).max().unwrap_or(0);
        for number in 0..longest {
            let mut slot = Slot::default();
            for &from in &wanted {
                if let Some(stored) = saved.partitions[from].get(number) {
                    slot.kind.clone_from(&stored.kind);
                    slot.base = stored.parts.first().map_or(slot.base, |part| part.epoch);
                    slot.parts.push(self.stored(saved, from, number, stored));
                }
            }
            slots.push_back(slot);
        }
        Restoring {
            slots,
            partition,
            partitions,
            is_spread_anew,
            saved_partitions: is_same_hash.then_some(saved.partitions.len()),
            is_new: false,
            is_stale: false,
            reached: Timestamp::MIN,
            failure: Failure::default(),
        }
    }

    fn stored(
        &self,
        stage: &StageManifest,
        partition: usize,
        slot: usize,
        stored: &SlotManifest,
    ) -> Vec<Lies> {
        let parts = Arc::new(StoredParts {
            storage: Arc::clone(&self.storage),
            epoch: self.manifest.epoch,
            stage: stage.name.clone(),
            number: stage.number,
            partition,
            slot,
        });
        let lies = |&part: &StoredPart| Lies::Stored(Arc::clone(&parts), part);
        stored.parts.iter().map(lies).collect()
    }
}

impl fmt::Debug for SavedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedCheckpoint")
            .field("epoch", &self.manifest.epoch)
            .finish_non_exhaustive()
    }
}
