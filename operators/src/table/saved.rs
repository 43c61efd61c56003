//! A table in checkpoints: parts with the entries that have changed, by their places.

use std::hash::Hash;

use millstream_engine::checkpoint::{CheckpointError, Epoch, Restoring, SavedPart, Saving};
use serde::de::DeserializeOwned;
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use super::Table;
use super::filling::{Filling, Owns};
use super::marks::ToWrite;
use super::memory::TableMemory;
use super::paged::Paged;
use super::reading::PartOf;

/// What has changed of a table.
pub(crate) struct Written<'a, K, A> {
    entries: &'a [(K, A)],
    paged: Option<&'a Paged<K, A>>,
    write: ToWrite,
}

impl<K, A> Written<'_, K, A> {
    /// Parts from before this epoch are needed no longer.
    pub(crate) const fn base(&self) -> Epoch {
        self.write.base
    }
}

/// The entries of a part, written one by one.
struct Entries<'a, K, A>(&'a Written<'a, K, A>);

impl<K: Serialize, A: Serialize> Serialize for Entries<'_, K, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Written {
            entries,
            paged,
            write,
        } = self.0;
        let mut written = serializer.serialize_seq(Some(write.places.len()))?;
        if let Some(paged) = paged {
            let places = write.places.iter().map(|&place| place as usize);
            paged.show(places, |place, key, sum| {
                written.serialize_element(&(place as u32, key, sum))
            })?;
            return written.end();
        }
        for &place in &write.places {
            let (key, sum) = &entries[place as usize];
            written.serialize_element(&(place, key, sum))?;
        }
        written.end()
    }
}

impl<K: Serialize, A: Serialize> Serialize for Written<'_, K, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut written = serializer.serialize_struct("Part", 2)?;
        let len = self.paged.map_or(self.entries.len(), |paged| paged.len());
        written.serialize_field("len", &len)?;
        written.serialize_field("entries", &Entries(self))?;
        written.end()
    }
}

impl<K, A> Table<K, A> {
    /// How many entries have changed; `None` if neither an entry nor their number has.
    pub(crate) fn changed(&mut self) -> Option<usize> {
        self.marks.changed(self.len())
    }

    /// From which epoch on parts are needed.
    pub(crate) const fn base(&self) -> Epoch {
        self.marks.base()
    }

    /// What has changed since this was last asked, and about `others` entries that have not; both count as written.
    pub(crate) fn changes(&mut self, others: usize, epoch: Epoch) -> Written<'_, K, A> {
        let write = self.marks.take(self.len(), others, epoch);
        Written {
            entries: &self.entries,
            paged: self.paged.as_deref(),
            write,
        }
    }

    /// It is saved in another place from now on, where nothing of it is stored.
    pub(crate) fn is_elsewhere(&mut self) {
        self.marks.clear();
    }

    /// It holds what was read back from parts that go back to `base`.
    pub(crate) fn resume(&mut self, base: Epoch) {
        self.marks.resume(self.len(), base);
    }

    /// Gives what has changed.
    ///
    /// # Errors
    /// [`CheckpointError::Encode`].
    pub(crate) fn save(
        &mut self,
        kind: &'static str,
        saving: &mut Saving,
    ) -> Result<(), CheckpointError>
    where
        K: Serialize,
        A: Serialize,
    {
        let Some(changed) = self.changed() else {
            saving.unchanged(kind, self.base());
            return Ok(());
        };
        let written = self.changes(changed, saving.epoch());
        let base = written.base();
        saving.changes(kind, base, &written)
    }
}

impl<K: Hash + Eq + DeserializeOwned, A: DeserializeOwned> Table<K, A> {
    /// Takes back what was [saved](Self::save), as far as it is this partition's. The table must be empty.
    ///
    /// # Errors
    /// [`CheckpointError::Decode`].
    pub(crate) fn restore(
        &mut self,
        kind: &'static str,
        restoring: &mut Restoring,
    ) -> Result<(), CheckpointError> {
        self.restore_owned(kind, restoring, Restoring::owns)
            .map(drop)
    }

    /// The same where `owns` says which entries are this partition's. Gives how many there are after those of each
    /// partition that was saved: each adds its own behind those of the others.
    ///
    /// # Errors
    /// [`CheckpointError::Decode`].
    pub(crate) fn restore_owned(
        &mut self,
        kind: &'static str,
        restoring: &mut Restoring,
        owns: Owns<K>,
    ) -> Result<Vec<usize>, CheckpointError> {
        let base = restoring.base();
        let mut ends = Vec::new();
        for parts in restoring.parts(kind)? {
            self.read(kind, parts, restoring, owns)?;
            ends.push(self.len());
        }
        if let Some(base) = base {
            self.resume(base);
        }
        Ok(ends)
    }

    /// Shows the table of each partition that was saved to `show`, with all of its entries, whosever they are: where keys
    /// say nothing of partitions.
    ///
    /// # Errors
    /// [`CheckpointError::Decode`].
    pub(crate) fn restore_each(
        memory: &TableMemory<K, A>,
        kind: &'static str,
        restoring: &mut Restoring,
        mut show: impl FnMut(Self, &Restoring),
    ) -> Result<(), CheckpointError> {
        for parts in restoring.parts(kind)? {
            let mut table = Self::default();
            table.share(memory);
            table.read(kind, parts, restoring, |_, _| true)?;
            show(table, restoring);
        }
        Ok(())
    }

    /// Takes what one partition gave.
    fn read(
        &mut self,
        kind: &'static str,
        parts: Vec<SavedPart>,
        restoring: &Restoring,
        owns: Owns<K>,
    ) -> Result<(), CheckpointError> {
        let mut filling = Filling::new(restoring, self.shared(), owns);
        for part in parts.into_iter().rev() {
            part.read_with(PartOf(&mut filling))?;
        }
        self.take_filled(filling.filled(kind)?);
        settled(self, restoring)
    }
}

/// Has a table that was read back give up what is too much, before the next one is read.
///
/// # Errors
/// [`CheckpointError::Storage`]: it cannot be kept on disk.
pub(super) fn settled<K: Hash + Eq, A>(
    table: &mut Table<K, A>,
    restoring: &Restoring,
) -> Result<(), CheckpointError> {
    let settled = table.settle();
    settled.map_err(|fault| restoring.fail(CheckpointError::Storage(fault.0)))
}
