//! What waits, in checkpoints.

use std::collections::BTreeMap;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::Fault;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Work};
use super::parked::Failing;
use crate::Key;

/// Its kind of state in checkpoints.
const KIND: &str = "failed items";

#[derive(Serialize)]
struct Written<'a, K, W> {
    counts: BTreeMap<u16, u64>,
    read: &'a BTreeMap<u16, u64>,
    entries: Vec<&'a Entry<K, W>>,
}

#[derive(Deserialize)]
#[serde(bound = "K: serde::de::DeserializeOwned, W: serde::de::DeserializeOwned")]
struct Saved<K, W> {
    counts: BTreeMap<u16, u64>,
    read: BTreeMap<u16, u64>,
    entries: Vec<Entry<K, W>>,
}

impl<K: Key, W: Work> Failing<K, W> {
    /// Gives all of it, if anything has changed.
    pub(crate) fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        match self.base {
            Some(base) if !self.is_changed => saving.unchanged(KIND, base),
            _ => {
                let mut entries: Vec<_> = self.entries.values().collect();
                entries.sort_unstable_by_key(|entry| entry.place);
                let written = Written {
                    counts: self.numbers.counts(),
                    read: &self.read.next,
                    entries,
                };
                saving.whole(KIND, &written)?;
                self.base = Some(saving.epoch());
                self.is_changed = false;
            }
        }
        if let Some(outside) = &mut self.outside {
            outside.saving(saving.epoch());
        }
        Ok(())
    }

    /// Takes back what is this partition's: items of its keys, and some of those that have none. `key_of` gives the key that
    /// work has, if there are keys and it is an item.
    pub(crate) fn restore(
        &mut self,
        restoring: &mut Restoring,
        key_of: impl Fn(&W) -> Option<K>,
    ) -> Result<(), Fault> {
        let base = restoring.base();
        let saved = restoring.whole::<Saved<K, W>>(KIND)?;
        let mut counts = Vec::new();
        for saved in saved {
            counts.extend(saved.counts);
            if !saved.entries.is_empty() {
                // Of several partitions the one that was behind: what the others have read is about nothing that waits.
                for (partition, next) in saved.read {
                    let known = self.read.next.entry(partition).or_insert(next);
                    *known = next.min(*known);
                }
            }
            for mut entry in saved.entries {
                entry.find_key(&key_of);
                let is_ours = match &entry.key {
                    Some(key) => restoring.owns(key),
                    None => restoring.owns(&entry.place),
                };
                if is_ours {
                    // Perhaps.
                    entry.is_stored = true;
                    if entry.due.is_none() && !self.policy.keeps_letters() {
                        // It was dead by another policy: this one has no place for it.
                        entry.due = Some(self.now);
                    }
                    self.insert(entry, false);
                }
            }
        }
        self.numbers.restore(counts.into_iter(), restoring);
        if let Some(outside) = &mut self.outside {
            for entry in self.entries.values() {
                outside.restored(entry);
            }
            if let Some(letters) = &mut outside.letters {
                letters.restore(&self.numbers, restoring.is_first())?;
            }
        }
        self.base = base;
        self.is_changed = base.is_none();
        Ok(())
    }

    /// All that waits, with its key.
    pub(crate) fn works(&self) -> impl Iterator<Item = (Option<&K>, &W)> {
        self.entries.values().flat_map(|entry| {
            let followers = entry.followers.iter().map(|(_, work)| work);
            let all = std::iter::once(&entry.work).chain(followers);
            all.map(|work| (entry.key.as_ref(), work))
        })
    }
}
