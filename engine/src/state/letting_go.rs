//! Letters that nothing waits for, and that are let go of as somebody has seen them.
//!
//! Place: who decides about such letters -> **this** -> the writer's thread. Invariants: (1) one that has become another since is
//! left: ids of letters that no checkpoint knew are given again after a restart, to others as a rule; they are compared where they are
//! written, so nothing comes in between; (2) what is answered is safe from a power failure. Cost: one fdatasync per call.

use xxhash_rust::xxh3::Xxh3;

use super::{
    DeadLetter, DeadLetterId, StateBatch, StateError, StateWrite, StateWriter, StateWriterHandle,
};

/// A letter as somebody has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenLetter {
    /// Its id.
    pub id: DeadLetterId,
    /// Its [`content`](DeadLetter::content) then.
    pub content: u64,
}

impl From<&DeadLetter> for SeenLetter {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            id: letter.id(),
            content: letter.content(),
        }
    }
}

impl DeadLetter {
    /// A hash of what failed and why, which tells letters apart that had one id after another. Times of tries are no part of
    /// it: one that comes again as it was is the same.
    #[must_use]
    pub fn content(&self) -> u64 {
        let mut hash = Xxh3::new();
        let mut add = |part: &[u8]| {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        let kind = &self.kind;
        add(kind.category.as_bytes());
        add(kind.event_type.as_bytes());
        add(&kind.schema_version.to_be_bytes());
        add(&[kind.encoding as u8]);
        add(&self.dictionary);
        add(&self.payload);
        self.cause.iter().for_each(|cause| add(cause.as_bytes()));
        hash.digest()
    }
}

impl StateWriter {
    /// Deletes those of these letters that are as they were seen, and is safe from a power failure then; gives how many.
    ///
    /// # Errors
    /// [`StateError`]: one cannot be read, or what is stored is not safe; as [`step`](Self::step).
    pub fn let_go(&mut self, letters: &[SeenLetter]) -> Result<usize, StateError> {
        let mut writes = Vec::with_capacity(letters.len());
        for seen in letters {
            let letter = self.store().dead_letter(seen.id)?;
            if letter.is_some_and(|letter| letter.content() == seen.content) {
                writes.push(StateWrite::DeleteDeadLetter(seen.id));
            }
        }
        let gone = writes.len();
        self.step(vec![StateBatch::new(writes)])?;
        // Also where there are none any more: they may be gone since a moment ago.
        self.sync()?;
        Ok(gone)
    }
}

impl StateWriterHandle {
    /// As [`StateWriter::let_go`], on the writer's thread, behind all that was queued before. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn let_go(&self, letters: Vec<SeenLetter>) -> Result<usize, StateError> {
        self.ask(move |writer| writer.let_go(&letters))
    }
}
