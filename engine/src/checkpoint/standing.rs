//! Which checkpoints a dataflow has, and which of them its next start begins from.
//!
//! As a rule that is the newest one that can be used. A person may choose another one, or none: the choice is stored with
//! the number of the newest one then, and holds until a later one is complete. Of those that there were when somebody
//! chose, only the chosen one is ever begun from afterwards: the others are of another course of things.
//! Invariant: epochs that were given once are not given again while anything is stored under them.

use serde::{Deserialize, Serialize};

use super::manifest::PartId;
use super::restoring::decode;
use super::saving::encode;
use super::storage::{
    Found, manifest_key, manifests, part_key, part_of, sync_blocking, write_blocking,
};
use super::{CheckpointError, CheckpointStorage, Epoch, Manifest, Rows, StorageWrite};

/// Key of the choice among the manifests, which have eight bytes.
const CHOICE_KEY: &[u8] = b"begin";
/// Keys that are looked at, or deleted, at once.
const KEYS: usize = 4_096;

/// What somebody chose to begin from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The checkpoint; `None`: begin anew.
    pub from: Option<Epoch>,
    /// The newest number then.
    pub above: Epoch,
}

/// What is stored of the checkpoints of a dataflow.
#[derive(Debug)]
pub struct Standing {
    all: Vec<(Epoch, Found)>,
    choice: Option<Choice>,
}

impl Standing {
    /// What `storage` has.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`].
    pub fn read(storage: &dyn CheckpointStorage) -> Result<Self, CheckpointError> {
        let choice = storage.get(Rows::Manifests, CHOICE_KEY)?;
        let choice = choice.map(|bytes| decode("the choice of a checkpoint", &bytes));
        Ok(Self {
            all: manifests(storage)?,
            choice: choice.transpose()?,
        })
    }

    /// All checkpoints, the oldest first, with why one cannot be read.
    pub fn all(&self) -> &[(Epoch, Result<Manifest, CheckpointError>)] {
        &self.all
    }

    /// Those that can be read, the oldest first.
    pub fn readable(&self) -> impl DoubleEndedIterator<Item = &Manifest> {
        self.all.iter().filter_map(|(_, found)| found.as_ref().ok())
    }

    /// The one with this number.
    ///
    /// # Errors
    /// Why it cannot be read; [`CheckpointError::Unknown`]: there is none.
    pub fn get(&self, epoch: Epoch) -> Result<&Manifest, CheckpointError> {
        match self.all.iter().find(|(known, _)| *known == epoch) {
            Some((_, found)) => found.as_ref().map_err(Clone::clone),
            None => Err(CheckpointError::Unknown { epoch }),
        }
    }

    /// The greatest number that was given to one that was complete.
    pub fn last(&self) -> Epoch {
        let chosen = self.choice.map(|choice| choice.above).unwrap_or_default();
        self.all
            .last()
            .map_or(chosen, |(last, _)| chosen.max(*last))
    }

    /// Whether nothing that is stored outside of the checkpoints can be newer than this one.
    pub fn is_newest(&self, epoch: Epoch) -> bool {
        self.all.iter().all(|(known, _)| *known <= epoch)
    }

    /// What was chosen, unless a later one is complete since.
    pub fn choice(&self) -> Option<Choice> {
        let holds = |choice: &Choice| self.is_newest(choice.above);
        self.choice.filter(holds)
    }

    /// What the next start may begin from, the newest first.
    pub fn candidates(&self) -> impl Iterator<Item = &(Epoch, Result<Manifest, CheckpointError>)> {
        let is_meant = |epoch: Epoch| {
            let meant = |choice: Choice| epoch > choice.above || choice.from == Some(epoch);
            self.choice.is_none_or(meant)
        };
        self.all
            .iter()
            .rev()
            .filter(move |(epoch, _)| is_meant(*epoch))
    }
}

impl Manifest {
    /// By partition, the stage and the first byte of the last part of each operator of this kind; `None`: it is empty.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`], [`CheckpointError::Storage`].
    pub fn first_bytes(
        &self,
        kind: &str,
        storage: &dyn CheckpointStorage,
    ) -> Result<Vec<(String, Option<u8>)>, CheckpointError> {
        let mut found = Vec::new();
        for stage in &self.stages {
            for (partition, slots) in stage.partitions.iter().enumerate() {
                let slots = slots.iter().enumerate();
                for (number, slot) in slots.filter(|(_, slot)| slot.kind == kind) {
                    let part = slot.parts.last().filter(|part| part.bytes > 0);
                    let key =
                        part.map(|part| part_key(part.epoch, stage.number, partition, number, 0));
                    let row = key.map(|key| storage.get(Rows::Parts, &key)).transpose()?;
                    let first = row.flatten().and_then(|row| row.first().copied());
                    found.push((stage.name.clone(), first));
                }
            }
        }
        Ok(found)
    }
}

impl Choice {
    /// Has the next start begin from `from`, or anew. Blocks on the storage.
    ///
    /// # Errors
    /// As [`Standing::get`]; [`CheckpointError::Storage`].
    pub fn store(
        storage: &dyn CheckpointStorage,
        from: Option<Epoch>,
    ) -> Result<Self, CheckpointError> {
        let standing = Standing::read(storage)?;
        if let Some(from) = from {
            standing.get(from)?;
        }
        let above = standing.last();
        let choice = Self { from, above };
        let mut bytes = Vec::new();
        encode("the choice of a checkpoint", &choice, &mut bytes)?;
        let write = StorageWrite {
            rows: Rows::Manifests,
            key: CHOICE_KEY.to_owned(),
            value: Some(bytes),
        };
        write_blocking(storage, vec![write])?;
        sync_blocking(storage)?;
        Ok(choice)
    }
}

/// Forgets all but savepoints, and has the next start begin anew; gives whether there are any. Blocks on the storage.
///
/// # Errors
/// [`CheckpointError::Storage`].
pub fn keep_savepoints(storage: &dyn CheckpointStorage) -> Result<bool, CheckpointError> {
    let standing = Standing::read(storage)?;
    let kept = standing.readable().filter(|manifest| manifest.is_savepoint);
    let kept: Vec<_> = kept.cloned().collect();
    let is_anew = standing
        .choice()
        .is_some_and(|choice| choice.from.is_none());
    if !is_anew || kept.len() < standing.all().len() {
        Choice::store(storage, None)?;
        sweep(storage, &kept)?;
    }
    Ok(!kept.is_empty())
}

/// Deletes one checkpoint, and parts that no other one names; if the next start would have begun from it, that begins
/// anew. Not while the dataflow runs. Blocks on the storage.
///
/// # Errors
/// [`CheckpointError::Unknown`], [`CheckpointError::Storage`].
pub fn delete(storage: &dyn CheckpointStorage, epoch: Epoch) -> Result<(), CheckpointError> {
    let standing = Standing::read(storage)?;
    if standing.all().iter().all(|(known, _)| *known != epoch) {
        return Err(CheckpointError::Unknown { epoch });
    }
    if standing
        .candidates()
        .next()
        .is_some_and(|(next, _)| *next == epoch)
    {
        // Those before it may not fit to what is stored outside of them. Its number is not given again, either.
        Choice::store(storage, None)?;
    }
    write_blocking(storage, vec![without(epoch)])?;
    let mut others = standing.all().iter().filter(|(known, _)| *known != epoch);
    if others.any(|(_, found)| found.is_err()) {
        // What they name is not known; the next start deletes what nobody does.
        return Ok(());
    }
    let kept = standing
        .readable()
        .filter(|manifest| manifest.epoch != epoch);
    sweep(storage, &kept.cloned().collect::<Vec<_>>())
}

/// Deletes all manifests but those of `kept`, and all parts that none of these names.
pub(super) fn sweep(
    storage: &dyn CheckpointStorage,
    kept: &[Manifest],
) -> Result<(), CheckpointError> {
    for (epoch, _) in manifests(storage)? {
        if kept.iter().all(|manifest| manifest.epoch != epoch) {
            write_blocking(storage, vec![without(epoch)])?;
        }
    }
    let named: std::collections::BTreeSet<PartId> = kept
        .iter()
        .flat_map(Manifest::named)
        .map(|(part, _)| part)
        .collect();
    let mut last: Option<Vec<u8>> = None;
    loop {
        let from = last.as_deref();
        let from = from.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let keys = storage.keys(Rows::Parts, from, KEYS)?;
        let Some(behind) = keys.last().cloned() else {
            return Ok(());
        };
        last = Some(behind);
        let is_over = |key: &Vec<u8>| part_of(key).is_none_or(|part| !named.contains(&part));
        let over: Vec<_> = keys.into_iter().filter(is_over).collect();
        let deletes = over.into_iter().map(|key| StorageWrite {
            rows: Rows::Parts,
            key,
            value: None,
        });
        let deletes: Vec<_> = deletes.collect();
        if !deletes.is_empty() {
            write_blocking(storage, deletes)?;
        }
    }
}

fn without(epoch: Epoch) -> StorageWrite {
    StorageWrite {
        rows: Rows::Manifests,
        key: manifest_key(epoch),
        value: None,
    }
}
