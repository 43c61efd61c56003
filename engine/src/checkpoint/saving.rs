//! What the operators of one partition of a stage give at a barrier.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use super::part_bytes::PartWriter;
use super::{CheckpointError, Epoch, PartBytes};
use crate::spill::SpillStore;

/// State of one operator, as far as it is to be stored.
#[derive(Debug, Clone)]
pub struct Part {
    /// What kind of operator gave it: another kind does not read it.
    pub kind: &'static str,
    /// Parts from before this epoch are needed no longer.
    pub base: Epoch,
    /// Its bytes; `None` if nothing has changed, so that what was given before stands.
    pub bytes: Option<PartBytes>,
}

/// Takes the state of the operators of one partition of a stage, in their order.
#[derive(Debug)]
pub struct Saving {
    epoch: Epoch,
    has_barrier: bool,
    is_savepoint: bool,
    holds_end: bool,
    store: Option<Arc<SpillStore>>,
    parts: Vec<Part>,
}

impl Saving {
    /// For checkpoint `epoch`, whose barrier is passed on.
    pub const fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            has_barrier: true,
            is_savepoint: false,
            holds_end: false,
            store: None,
            parts: Vec::new(),
        }
    }

    /// At the end of the input, for `epoch` and later ones: there is nobody left to pass a barrier on to.
    pub const fn without_barrier(epoch: Epoch) -> Self {
        Self {
            epoch,
            has_barrier: false,
            is_savepoint: false,
            holds_end: false,
            store: None,
            parts: Vec::new(),
        }
    }

    /// The same for a savepoint, or not.
    #[must_use]
    pub const fn of_savepoint(mut self, is_savepoint: bool) -> Self {
        self.is_savepoint = is_savepoint;
        self
    }

    /// The same where an operator of the stage holds the end of time back, or not.
    #[must_use]
    pub const fn of_held_end(mut self, holds_end: bool) -> Self {
        self.holds_end = holds_end;
        self
    }

    /// What is too much for memory goes to `store`, if there is one.
    #[must_use]
    pub fn through(mut self, store: Option<Arc<SpillStore>>) -> Self {
        self.store = store;
        self
    }

    /// Whether it is kept and may be restored much later, or elsewhere: it must have what an operator otherwise finds
    /// outside of its parts.
    pub const fn is_savepoint(&self) -> bool {
        self.is_savepoint
    }

    /// Whether an operator of the stage holds the end of time back: a restart tells it anew, since those behind it do not
    /// know of it.
    pub const fn holds_end(&self) -> bool {
        self.holds_end
    }

    /// Whether a barrier is to be passed on.
    pub const fn has_barrier(&self) -> bool {
        self.has_barrier
    }

    /// Which checkpoint it is.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes all of an operator's state; what it gave before is needed no longer.
    ///
    /// # Errors
    /// [`CheckpointError::Encode`].
    pub fn whole<T: Serialize + ?Sized>(
        &mut self,
        kind: &'static str,
        state: &T,
    ) -> Result<(), CheckpointError> {
        self.changes(kind, self.epoch, state)
    }

    /// Takes a value that says what has changed since an operator was last asked; those that it gave from epoch `base` on
    /// stay part of its state.
    ///
    /// # Errors
    /// [`CheckpointError::Encode`].
    pub fn changes<T: Serialize + ?Sized>(
        &mut self,
        kind: &'static str,
        base: Epoch,
        changes: &T,
    ) -> Result<(), CheckpointError> {
        let mut writer = PartWriter::new(self.store.as_ref());
        encode(kind, changes, &mut writer)?;
        let bytes = Some(writer.finish());
        self.parts.push(Part { kind, base, bytes });
        Ok(())
    }

    /// Takes what has changed of an operator's state since it was last asked; what it gave from epoch `base` on stays
    /// part of it.
    pub fn part(&mut self, kind: &'static str, base: Epoch, bytes: Vec<u8>) {
        let bytes = Some(bytes.into());
        self.parts.push(Part { kind, base, bytes });
    }

    /// Nothing of an operator has changed since it was last asked: all that it gave from epoch `base` on stays.
    pub fn unchanged(&mut self, kind: &'static str, base: Epoch) {
        let bytes = None;
        self.parts.push(Part { kind, base, bytes });
    }

    /// What was taken.
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }
}

/// Appends a value. Fields have their names, so that one that is added with a default needs nothing.
///
/// # Errors
/// [`CheckpointError::Encode`].
pub(super) fn encode<T: Serialize + ?Sized>(
    kind: &str,
    value: &T,
    into: &mut impl Write,
) -> Result<(), CheckpointError> {
    let mut serializer = rmp_serde::Serializer::new(into).with_struct_map();
    value
        .serialize(&mut serializer)
        .map_err(|error| CheckpointError::Encode {
            kind: kind.to_owned(),
            cause: error.to_string(),
        })
}
