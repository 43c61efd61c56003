//! How far one partition of a stage has come, and what its stored state consists of.

use super::super::{Epoch, Manifest, Part, SlotManifest, StageManifest, StoredPart};

/// The checkpoint that is under way, if one is.
#[derive(Debug, Clone, Copy)]
pub(super) enum UnderWay {
    Nothing,
    /// Some have not given their part.
    Taking(Epoch),
    /// All have.
    Taken,
}

/// One partition of a stage.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What it has given up to its last barrier.
    slots: Vec<SlotManifest>,
    /// The last barrier that it has come to.
    given: Epoch,
    /// It has ended, and its state then is part of what is taken.
    has_ended: bool,
    /// The same, after it had given its part of the checkpoint that is under way: for the next one.
    ends_with: Option<Vec<SlotManifest>>,
    /// It holds something back until a checkpoint says that it has ended.
    waits: bool,
    /// Such a checkpoint is complete.
    is_covered: bool,
}

/// The partitions of a stage, with what is stored of them.
pub(super) fn of_stage(
    partitions: usize,
    saved: Option<&StageManifest>,
    last: Option<&Manifest>,
) -> Vec<Progress> {
    let given = last.map(|last| last.epoch).unwrap_or_default();
    let is_same = last.is_some_and(|last| last.hash_probe == Manifest::probe());
    let saved = saved.filter(|saved| is_same && saved.partitions.len() == partitions);
    (0..partitions)
        .map(|partition| Progress {
            // Spread anew, all of it is given again at the first barrier.
            slots: saved.map_or_else(Vec::new, |saved| saved.partitions[partition].clone()),
            given,
            ..Progress::default()
        })
        .collect()
}

impl Progress {
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether an ended one waits for a checkpoint.
    pub(super) const fn waits(&self) -> bool {
        self.waits && !self.is_covered
    }

    pub(super) fn has_given(&self, epoch: Epoch) -> bool {
        self.has_ended || self.given >= epoch
    }

    pub(super) fn slots(&self) -> Vec<SlotManifest> {
        self.slots.clone()
    }

    /// It came to the barrier of `epoch`.
    pub(super) fn taken(&mut self, epoch: Epoch, parts: &[Part]) {
        self.given = epoch;
        self.slots = with(&self.slots, epoch, parts);
    }

    /// It has ended. Gives the epoch that its state is stored under, which it has given nothing for yet; `last` is the
    /// latest one that anybody was asked for.
    pub(super) fn ended(
        &mut self,
        parts: &[Part],
        waits: bool,
        last: Epoch,
        under_way: UnderWay,
    ) -> Epoch {
        self.waits = waits;
        let next = Epoch(self.given.max(last).0 + 1);
        match under_way {
            UnderWay::Taking(epoch) if self.given < epoch => {
                self.slots = with(&self.slots, epoch, parts);
                self.has_ended = true;
                epoch
            }
            UnderWay::Nothing => {
                self.slots = with(&self.slots, next, parts);
                self.has_ended = true;
                next
            }
            // What it gave for that one stands for it.
            UnderWay::Taking(_) | UnderWay::Taken => {
                self.ends_with = Some(with(&self.slots, next, parts));
                next
            }
        }
    }

    /// The checkpoint that was under way is complete.
    pub(super) fn completed(&mut self) {
        self.is_covered = self.has_ended;
        self.gave_up();
    }

    /// None is under way any more.
    pub(super) fn gave_up(&mut self) {
        if let Some(slots) = self.ends_with.take() {
            self.slots = slots;
            self.has_ended = true;
        }
    }
}

/// What is stored once `parts` are as well.
fn with(slots: &[SlotManifest], epoch: Epoch, parts: &[Part]) -> Vec<SlotManifest> {
    let slot = |(number, part): (usize, &Part)| {
        let before = slots.get(number).filter(|slot| slot.kind == part.kind);
        let before = before.into_iter().flat_map(|slot| &slot.parts);
        let mut chain: Vec<_> = before
            .filter(|stored| stored.epoch >= part.base)
            .copied()
            .collect();
        chain.extend(part.bytes.as_ref().map(|bytes| StoredPart {
            epoch,
            bytes: bytes.len(),
        }));
        SlotManifest {
            kind: part.kind.to_owned(),
            parts: chain,
        }
    };
    parts.iter().enumerate().map(slot).collect()
}
