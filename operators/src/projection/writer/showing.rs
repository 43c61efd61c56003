//! What changed goes to readers, per batch, and to the store, about once a second.

use millstream_engine::codec::EncodeError;
use millstream_engine::state::StateWrite;

use super::TableMut;
use crate::projection::fresh::HandedOver;
use crate::projection::hot::KeptNow;
use crate::projection::{QueryError, Row, TableKey};

impl<K: TableKey, R: Row> TableMut<K, R> {
    /// Shows readers what changed since the last call; gives how many rows.
    pub(crate) fn publish(&mut self) -> usize {
        let count = self.unpublished.len();
        if count == 0 {
            return 0;
        }
        let kept = self.hot.kept();
        if !kept.is_empty() {
            self.keep_as_they_were(&kept);
        }
        let publication = self.hot.changes().begin();
        let mut fresh = self.fresh.lock();
        for slot in self.unpublished.drain(..) {
            let place = &mut self.slots[slot as usize];
            place.unpublished = false;
            if !place.is_fresh {
                place.is_fresh = true;
                fresh.add(place.key.clone());
            }
            self.hot
                .set(place.key.clone(), place.row.clone(), publication);
        }
        for index in &mut self.indexes {
            index.publish(&mut fresh);
        }
        drop(fresh);
        self.show_head();
        count
    }

    /// Gives open snapshots the rows that are about to change, as readers see them now.
    #[cold]
    fn keep_as_they_were(&mut self, kept: &KeptNow<K, R>) {
        for slot in &self.unpublished {
            let key = &self.slots[*slot as usize].key;
            for snapshot in kept {
                snapshot.keep(key, || {
                    if let Some(row) = self.hot.find(key) {
                        return Ok(row);
                    }
                    self.key_bytes.clear();
                    key.write(&mut self.key_bytes);
                    let Some(store) = &self.store else {
                        return Ok(None);
                    };
                    let stored = store.get(self.id, &self.key_bytes)?;
                    let row = stored.map(|bytes| self.reader.decode(&bytes));
                    row.transpose().map_err(QueryError::from)
                });
            }
        }
    }

    /// Rows that changed since they were last stored.
    pub(crate) fn unstored(&self) -> usize {
        self.unstored.len()
    }

    /// Adds the writes that store what changed, and counts it as stored. Readers must have seen it. Gives what is to be
    /// told once it is stored, if anything changed.
    pub(crate) fn store(
        &mut self,
        writes: &mut Vec<StateWrite>,
    ) -> Result<Option<HandedOver>, EncodeError> {
        debug_assert!(self.unpublished.is_empty());
        if self.unstored.is_empty() {
            return Ok(None);
        }
        writes.reserve(self.unstored.len());
        for at in 0..self.unstored.len() {
            let place = &self.slots[self.unstored[at] as usize];
            let mut key = Vec::new();
            place.key.write(&mut key);
            writes.push(match &place.row {
                Some(row) => {
                    let mut value = Vec::new();
                    self.writer.append(row, &mut value)?;
                    StateWrite::PutRow {
                        table: self.id,
                        key,
                        value,
                    }
                }
                None => StateWrite::DeleteRow {
                    table: self.id,
                    key,
                },
            });
        }
        for slot in self.unstored.drain(..) {
            let place = &mut self.slots[slot as usize];
            (place.unstored, place.is_fresh) = (false, false);
        }
        let (handed_over, entries) = self.fresh.hand_over();
        for (index, entries) in self.indexes.iter().zip(entries) {
            writes.extend(entries.into_iter().map(|entry| index.write_of(entry)));
        }
        if let Some(versions) = &mut self.versions {
            versions.store(writes);
        }
        Ok(Some(handed_over))
    }

    /// Shows readers behind which change the rows are that they see.
    pub(super) fn show_head(&self) {
        let versions = self.versions.as_ref();
        if let Some(head) = versions.and_then(|versions| versions.head()) {
            self.hot.show_head(self.actor, head);
        }
    }
}
