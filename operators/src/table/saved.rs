//! A table in checkpoints: parts with the entries that have changed, by their places.

use std::hash::Hash;

use millstream_engine::checkpoint::{CheckpointError, Epoch, Restoring, Saving};
use serde::de::DeserializeOwned;
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};

use super::Table;
use super::marks::ToWrite;

/// What has changed of a table.
pub(crate) struct Written<'a, K, A> {
    entries: &'a [(K, A)],
    write: ToWrite,
}

impl<K, A> Written<'_, K, A> {
    /// Parts from before this epoch are needed no longer.
    pub(crate) const fn base(&self) -> Epoch {
        self.write.base
    }
}

/// The same as it is read.
#[derive(Deserialize)]
pub(crate) struct Read<K, A> {
    len: u32,
    entries: Vec<(u32, K, A)>,
}

/// The entries of a part, written one by one.
struct Entries<'a, K, A>(&'a Written<'a, K, A>);

impl<K: Serialize, A: Serialize> Serialize for Entries<'_, K, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Written { entries, write } = self.0;
        let mut written = serializer.serialize_seq(Some(write.places.len()))?;
        for &place in &write.places {
            let (key, sum) = &entries[place as usize];
            written.serialize_element(&(place, key, sum))?;
        }
        written.end()
    }
}

impl<K: Serialize, A: Serialize> Serialize for Written<'_, K, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut written = serializer.serialize_struct("Read", 2)?;
        written.serialize_field("len", &self.entries.len())?;
        written.serialize_field("entries", &Entries(self))?;
        written.end()
    }
}

/// A table that is put together from its parts, the oldest first.
pub(crate) struct Parts<K, A>(Vec<Option<(K, A)>>);

impl<K, A> Default for Parts<K, A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, A> Parts<K, A> {
    pub(crate) fn add(&mut self, part: Read<K, A>) {
        let len = part.len as usize;
        self.0.truncate(len);
        self.0.resize_with(len, || None);
        for (place, key, sum) in part.entries {
            if let Some(entry) = self.0.get_mut(place as usize) {
                *entry = Some((key, sum));
            }
        }
    }

    /// All entries in their order.
    ///
    /// # Errors
    /// [`CheckpointError::Decode`]: there is a gap.
    pub(crate) fn entries(self, kind: &str) -> Result<Vec<(K, A)>, CheckpointError> {
        let entries: Option<Vec<_>> = self.0.into_iter().collect();
        entries.ok_or_else(|| CheckpointError::Decode {
            kind: kind.to_owned(),
            cause: "entries are missing between its parts".to_owned(),
        })
    }
}

impl<K, A> Table<K, A> {
    /// How many entries have changed; `None` if neither an entry nor their number has.
    pub(crate) fn changed(&mut self) -> Option<usize> {
        self.marks.changed(self.entries.len())
    }

    /// From which epoch on parts are needed.
    pub(crate) const fn base(&self) -> Epoch {
        self.marks.base()
    }

    /// What has changed since this was last asked, and about `others` entries that have not; both count as written.
    pub(crate) fn changes(&mut self, others: usize, epoch: Epoch) -> Written<'_, K, A> {
        let write = self.marks.take(self.entries.len(), others, epoch);
        Written {
            entries: &self.entries,
            write,
        }
    }

    /// It is saved in another place from now on, where nothing of it is stored.
    pub(crate) fn is_elsewhere(&mut self) {
        self.marks.clear();
    }

    /// It holds what was read back from parts that go back to `base`.
    pub(crate) fn resume(&mut self, base: Epoch) {
        self.marks.resume(self.entries.len(), base);
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

impl<K: Hash + Eq, A> Table<K, A> {
    /// Adds entries that were saved, as far as they are this partition's.
    pub(super) fn take_back(&mut self, entries: Vec<(K, A)>, restoring: &Restoring) {
        if restoring.is_spread_anew() {
            let own = entries.into_iter();
            self.take_in(own.filter(|(key, _)| restoring.owns(key)));
        } else {
            self.take_in(entries);
        }
    }

    /// Takes back what was [saved](Self::save), as far as it is this partition's. The table must be empty.
    ///
    /// # Errors
    /// [`CheckpointError::Decode`].
    pub(crate) fn restore(
        &mut self,
        kind: &'static str,
        restoring: &mut Restoring,
    ) -> Result<(), CheckpointError>
    where
        K: DeserializeOwned,
        A: DeserializeOwned,
    {
        let base = restoring.base();
        for changes in restoring.changes::<Read<K, A>>(kind)? {
            let mut parts = Parts::default();
            for part in changes {
                parts.add(part?);
            }
            self.take_back(parts.entries(kind)?, restoring);
        }
        if let Some(base) = base {
            self.resume(base);
        }
        Ok(())
    }
}
