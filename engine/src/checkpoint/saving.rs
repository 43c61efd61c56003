//! What the operators of one partition of a stage give at a barrier.

use std::any::type_name;
use std::io::Write;
use std::panic::resume_unwind;
use std::sync::Arc;

use serde::Serialize;

use super::part_bytes::PartWriter;
use super::{CheckpointError, Epoch, PartBytes};
use crate::flow::Fenced;
use crate::spill::SpillStore;
use crate::stage::{caught, panic_message};

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

/// Appends a value. Fields have their names, so that one that is added with a default needs nothing. A `Serialize` of the program's own
/// may panic: that is a value that cannot be written, and whose it is can be told here alone.
///
/// # Errors
/// [`CheckpointError::Encode`].
pub(super) fn encode<T: Serialize + ?Sized>(
    kind: &str,
    value: &T,
    into: &mut impl Write,
) -> Result<(), CheckpointError> {
    let mut serializer = rmp_serde::Serializer::new(into).with_struct_map();
    let cause = match caught(|| value.serialize(&mut serializer)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        // Nobody's mistake: a run that was given up goes no further than this.
        Err(fenced) if fenced.is::<Fenced>() => resume_unwind(fenced),
        Err(panic) => {
            let (message, name) = (panic_message(&*panic), type_name::<T>());
            format!("its `Serialize` panicked, of a value within {name}: {message}")
        }
    };
    let kind = kind.to_owned();
    Err(CheckpointError::Encode { kind, cause })
}

#[cfg(test)]
mod tests {
    use serde::Serializer;

    use super::*;
    use crate::flow::Fence;

    struct Broken;

    impl Serialize for Broken {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("it has no form")
        }
    }

    /// Story: each checkpoint failed with the bare message of a panic, which did not say of whose `Serialize`.
    #[test]
    fn a_type_that_panics_is_named() {
        let mut saving = Saving::new(Epoch(1));
        let refused = saving.whole("process", &vec![("a", Broken)]).unwrap_err();
        let told = refused.to_string();
        for part in ["process", "Broken", "it has no form"] {
            assert!(told.contains(part), "{told}");
        }
        // Nothing of it counts, and the next value is written.
        saving.whole("count", &7).unwrap();
        let parts = saving.into_parts();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].kind, "count");
    }

    /// A run that was given up unwinds up to its actor, and says nothing.
    #[test]
    fn one_that_comes_to_a_closed_fence_unwinds() {
        struct Fencing(Fence);

        impl Serialize for Fencing {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                self.0.check();
                to.serialize_unit()
            }
        }

        let fencing = Fencing(Fence::new());
        assert!(fencing.0.close());
        let mut saving = Saving::new(Epoch(1));
        let unwound = caught(|| saving.whole("process", &fencing));
        assert!(unwound.is_err_and(|panic| panic.is::<Fenced>()));
    }
}
