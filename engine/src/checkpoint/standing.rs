//! Which checkpoints a dataflow has, and which of them its next start begins from.
//!
//! As a rule that is the newest one that can be used. A person may choose another one, or none: the choice is stored with
//! the number of the newest one then, and holds until a later one is complete. Of those that there were when somebody
//! chose, only the chosen one is ever begun from afterwards: the others are of another course of things.
//! Rows of tables lie outside of the checkpoints and are those of the newest one. Before they are made anything else, that is
//! noted as a choice with a number that nothing has: from then on none counts as the newest. The choice of one that came from
//! elsewhere is noted with the one that they are those of, since another may be chosen before a start.
//! Invariants: (1) epochs that were given once are not given again while anything is stored under them; (2) one that cannot
//! be read may be a savepoint of a newer version, so it stays until somebody deletes it, with all parts it may name.

use serde::de::DeserializeOwned;
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
    /// The newest number then, or one above it: then no checkpoint is known to have what lies outside of them.
    pub above: Epoch,
    /// The newest one before one from elsewhere was chosen, which came behind it: rows outside are those of it, until a start
    /// is about to make them anything else.
    #[serde(default)]
    pub rows_of: Option<Epoch>,
}

/// What is stored of the checkpoints of a dataflow.
#[derive(Debug)]
pub struct Standing {
    all: Vec<(Epoch, Found)>,
    choice: Option<Result<Choice, CheckpointError>>,
}

impl Standing {
    /// What `storage` has.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`].
    pub fn read(storage: &dyn CheckpointStorage) -> Result<Self, CheckpointError> {
        let choice = match storage.get(Rows::Manifests, CHOICE_KEY) {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(decode("the choice of a checkpoint", &bytes)),
            Err(damaged @ CheckpointError::Damaged { .. }) => Some(Err(damaged)),
            Err(error) => return Err(error),
        };
        let all = manifests(storage)?;
        Ok(Self { all, choice })
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

    /// The greatest number that was given to one that was complete, as far as is known.
    pub fn last(&self) -> Epoch {
        let chosen = self.readable_choice().map(|choice| choice.above);
        let newest = self.all.last().map(|(newest, _)| *newest);
        chosen.max(newest).unwrap_or_default()
    }

    /// Whether nothing that is stored outside of the checkpoints can be newer than this one, or was made anything else since.
    pub fn is_newest(&self, epoch: Epoch) -> bool {
        let has_rows = || {
            let choice = self.readable_choice().filter(|choice| self.holds(choice));
            choice.is_some_and(|choice| choice.rows_of == Some(epoch))
        };
        self.choice_failure().is_none() && (epoch >= self.last() || has_rows())
    }

    /// Whether rows outside are those of one that is not the last, so that a start from any other is to say so first.
    pub fn keeps_rows_of_another(&self) -> bool {
        self.choice().is_some_and(|choice| choice.rows_of.is_some())
    }

    /// Whether none is complete since it was made.
    fn holds(&self, choice: &Choice) -> bool {
        self.choice_failure().is_none() && choice.above >= self.last()
    }

    /// What was chosen, unless a later one is complete since.
    pub fn choice(&self) -> Option<Choice> {
        self.readable_choice().filter(|choice| self.holds(choice))
    }

    /// Why it cannot be told what was chosen, if something was. Another choice takes its place.
    pub fn choice_failure(&self) -> Option<&CheckpointError> {
        self.choice.as_ref()?.as_ref().err()
    }

    fn readable_choice(&self) -> Option<Choice> {
        self.choice.as_ref()?.as_ref().ok().copied()
    }

    /// What the next start may begin from, the newest first; nothing where it cannot be told what was chosen.
    pub fn candidates(&self) -> impl Iterator<Item = &(Epoch, Result<Manifest, CheckpointError>)> {
        let is_meant = |epoch: Epoch| match &self.choice {
            None => true,
            Some(Ok(choice)) => epoch > choice.above || choice.from == Some(epoch),
            Some(Err(_)) => false,
        };
        self.all
            .iter()
            .rev()
            .filter(move |(epoch, _)| is_meant(*epoch))
    }

    /// Up to which number parts may belong to one that cannot be read.
    pub(super) fn unreadable_up_to(&self) -> Option<Epoch> {
        let mut unreadable = self.all.iter().rev().filter(|(_, found)| found.is_err());
        unreadable.next().map(|(epoch, _)| *epoch)
    }

    /// The choice of `from` if somebody makes it now.
    fn choose(&self, from: Option<Epoch>) -> Choice {
        let last = self.last();
        // Where it is not known what was chosen, it is not known either what tables hold.
        let above = self.choice_failure().map_or(last, |_| behind(last));
        Choice {
            from,
            above,
            rows_of: self.choice().and_then(|choice| choice.rows_of),
        }
    }

    /// The choice of one that comes from elsewhere, under a number behind all others: no tables here are those of it.
    pub(super) fn choose_new(&self, from: Epoch) -> Choice {
        let newest = self.all.iter().rev().map(|(epoch, _)| *epoch);
        Choice {
            from: Some(from),
            above: behind(from.max(self.last())),
            rows_of: newest.into_iter().find(|epoch| self.is_newest(*epoch)),
        }
    }

    /// What is to be stored before what lies outside is made that of `from`, or nothing; `None`: no checkpoint counts as
    /// the newest as it is.
    fn leave(&self, from: Option<Epoch>) -> Option<Choice> {
        let newest = self.all.last().map(|(newest, _)| *newest);
        let is_left = match &self.choice {
            None => newest.is_none(),
            Some(Ok(choice)) => {
                choice.from == from && choice.rows_of.is_none() && newest < Some(choice.above)
            }
            Some(Err(_)) => false,
        };
        let above = behind(self.last());
        (!is_left).then_some(Choice {
            from,
            above,
            rows_of: None,
        })
    }
}

const fn behind(epoch: Epoch) -> Epoch {
    Epoch(epoch.0.saturating_add(1))
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

impl Manifest {
    /// By partition, the stage and what each operator of this kind gave [in whole](super::Saving::whole).
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`], [`CheckpointError::Decode`], [`CheckpointError::Storage`].
    pub fn values<T: DeserializeOwned>(
        &self,
        kind: &str,
        storage: &dyn CheckpointStorage,
    ) -> Result<Vec<(&str, T)>, CheckpointError> {
        let mut found = Vec::new();
        for stage in &self.stages {
            for (partition, slots) in stage.partitions.iter().enumerate() {
                let slots = slots.iter().enumerate();
                for (number, slot) in slots.filter(|(_, slot)| slot.kind == kind) {
                    let Some(part) = slot.parts.last() else {
                        continue;
                    };
                    let mut bytes = Vec::new();
                    for chunk in 0..part.chunks() {
                        let key = part_key(part.epoch, stage.number, partition, number, chunk);
                        // One that is missing leaves bytes that are no value.
                        bytes.extend(storage.get(Rows::Parts, &key)?.unwrap_or_default());
                    }
                    found.push((stage.name.as_str(), decode(kind, &bytes)?));
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
        standing.choose(from).put(storage)
    }

    /// Says that rows of tables are about to be made those of `from`, or deleted: none of the checkpoints that there are
    /// counts as the newest any more. Nothing changes where none does. Blocks on the storage.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`].
    pub fn leave_newest(
        storage: &dyn CheckpointStorage,
        from: Option<Epoch>,
    ) -> Result<(), CheckpointError> {
        match Standing::read(storage)?.leave(from) {
            Some(choice) => choice.put(storage).map(|_| ()),
            None => Ok(()),
        }
    }

    fn put(self, storage: &dyn CheckpointStorage) -> Result<Self, CheckpointError> {
        write_blocking(storage, vec![self.to_write()?])?;
        sync_blocking(storage)?;
        Ok(self)
    }

    pub(super) fn to_write(self) -> Result<StorageWrite, CheckpointError> {
        let mut bytes = Vec::new();
        encode("the choice of a checkpoint", &self, &mut bytes)?;
        Ok(StorageWrite {
            rows: Rows::Manifests,
            key: CHOICE_KEY.to_owned(),
            value: Some(bytes),
        })
    }
}

/// Forgets all but savepoints, and what cannot be read and may be one; has the next start begin anew, before tables are
/// emptied. Gives whether there are any. Blocks on the storage.
///
/// # Errors
/// [`CheckpointError::Storage`].
pub fn keep_savepoints(storage: &dyn CheckpointStorage) -> Result<bool, CheckpointError> {
    let standing = Standing::read(storage)?;
    let kept = standing.readable().filter(|manifest| manifest.is_savepoint);
    let kept: Vec<_> = kept.cloned().collect();
    let readable = standing.readable().count();
    let leave = standing.leave(None);
    if leave.is_some() || kept.len() < readable {
        if let Some(choice) = leave {
            choice.put(storage)?;
        }
        sweep(storage, &kept)?;
    }
    Ok(!kept.is_empty() || readable < standing.all().len())
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
    let kept = standing
        .readable()
        .filter(|manifest| manifest.epoch != epoch);
    sweep(storage, &kept.cloned().collect::<Vec<_>>())
}

/// Deletes all manifests but those of `kept`, and all parts that none of these names. A manifest that cannot be read stays,
/// and so do all parts up to it.
pub(super) fn sweep(
    storage: &dyn CheckpointStorage,
    kept: &[Manifest],
) -> Result<(), CheckpointError> {
    let mut unreadable = None;
    for (epoch, found) in manifests(storage)? {
        if let Err(error) = found {
            tracing::warn!(
                %epoch, %error,
                "a checkpoint that cannot be read is kept, with all state up to it, in case another version of this \
                 program can: `millstream checkpoint delete` lets it go"
            );
            unreadable = Some(epoch);
        } else if kept.iter().all(|manifest| manifest.epoch != epoch) {
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
        let is_over = |key: &Vec<u8>| {
            part_of(key).is_none_or(|part| Some(part.0) > unreadable && !named.contains(&part))
        };
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
