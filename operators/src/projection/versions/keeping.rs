//! The write side: what each event changes, until it is handed to the store.

use millstream_engine::codec::EncodeError;
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::state::{ROW_KEY_BYTES_MAX, StateError, StateStore, StateWrite};
use millstream_engine::time::Timestamp;

use super::format::{Change, Stamp, Version, place_bytes, version_key};
use super::reading::{head_of, tail_of};
use super::{Head, Retention, VersionIds};
use crate::projection::error::RowError;

/// Keeps the versions of one table's rows, for one actor.
#[derive(Debug)]
pub(in crate::projection) struct VersionsMut {
    pub(super) ids: VersionIds,
    pub(super) store: StateStore,
    pub(super) actor: u16,
    pub(super) retention: Retention,
    /// The event that is being applied.
    stamp: Stamp,
    /// Where the projection had come, of an event that was freed late.
    late: Option<Offset>,
    /// What it has changed: keys, and rows as they would be stored.
    event: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Behind the last event that was kept; `None` before it was read from the store.
    pub(super) at: Option<Place>,
    /// Of events that are kept and were not handed to the store.
    pending: Vec<StateWrite>,
    pending_bytes: usize,
}

/// How far an actor has come with its changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) head: Head,
    /// When the last event was recorded that changed a row.
    pub(super) recorded_at: Timestamp,
    /// Number of the oldest change that may be stored.
    pub(super) tail: u64,
}

impl VersionsMut {
    pub(in crate::projection) fn new(
        ids: VersionIds,
        store: StateStore,
        actor: u16,
        retention: Retention,
    ) -> Self {
        let mut own = Self {
            ids,
            store,
            actor,
            retention,
            stamp: Stamp {
                position: Position {
                    partition: PartitionId(0),
                    offset: Offset(0),
                },
                recorded_at: Timestamp::MIN,
                event_time: Timestamp::MIN,
            },
            late: None,
            event: Vec::new(),
            at: None,
            pending: Vec::new(),
            pending_bytes: 0,
        };
        // Tried again with the first event, which then says why.
        let _ = own.place();
        own
    }

    /// Behind which change it is; `None` when that could not be read yet.
    pub(in crate::projection) fn head(&self) -> Option<Head> {
        self.at.map(|at| at.head)
    }

    fn place(&mut self) -> Result<&mut Place, StateError> {
        if self.at.is_none() {
            let (ids, actor) = (self.ids, self.actor);
            let seed = ids.seed(&self.store)?;
            let (head, tail) = self.store.view(|view| {
                let tail = tail_of(view, ids, actor)?;
                Ok((head_of(view, ids, actor)?, tail))
            })?;
            let nothing = Place {
                head: Head {
                    number: 0,
                    hash: seed,
                },
                recorded_at: Timestamp::MIN,
                tail: 1,
            };
            self.at = Some(head.map_or(nothing, |(number, change)| Place {
                head: Head {
                    number,
                    hash: change.hash(),
                },
                recorded_at: change.stamp.recorded_at,
                tail: tail.map_or(1, |(tail, _)| tail),
            }));
        }
        Ok(self.at.as_mut().expect("it was read just now"))
    }

    /// An event is about to be applied; late, once its partition had been read up to an offset.
    #[inline]
    pub(in crate::projection) fn begin(&mut self, stamp: &Stamp, late: Option<Offset>) {
        (self.stamp, self.late) = (*stamp, late);
    }

    /// The event leaves a row like this; `write` appends its bytes.
    pub(in crate::projection) fn change(
        &mut self,
        key: &[u8],
        write: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>>,
    ) -> Result<(), RowError> {
        let (number, actor) = (
            self.place().map_err(RowError::Store)?.head.number,
            self.actor,
        );
        let bytes = version_key(key, actor, number).len();
        if bytes > ROW_KEY_BYTES_MAX {
            return Err(RowError::VersionTooLong { bytes });
        }
        let mut row = None;
        if let Some(write) = write {
            write(row.insert(Vec::new())).map_err(RowError::Encode)?;
        }
        self.event.push((key.to_vec(), row));
        Ok(())
    }

    /// Ends an event: keeps its changes.
    pub(in crate::projection) fn keep(&mut self) {
        if self.event.is_empty() {
            return;
        }
        let at = self.at.as_mut().expect("it was read with the first change");
        let (ids, actor, stamp) = (self.ids, self.actor, self.stamp);
        // What comes late, freed behind others, counts from where they had come by then.
        let behind = stamp.position.offset.plus(1);
        let (seen, is_late) = (self.late.unwrap_or(behind).max(behind), self.late.is_some());
        at.recorded_at = at.recorded_at.max(stamp.recorded_at);
        for (key, row) in self.event.drain(..) {
            let is_there = row.is_some();
            let before = at.head.hash;
            at.head = Head {
                number: at.head.number + 1,
                hash: Change::hash_behind(before, &stamp, is_there, &key),
            };
            let version = StateWrite::PutRow {
                table: ids.versions,
                key: version_key(&key, actor, at.head.number),
                value: Version::encode(&stamp, row.as_deref()),
            };
            let change = Change {
                stamp,
                is_there,
                is_late,
                seen,
                before,
                key,
            };
            let change = StateWrite::PutRow {
                table: ids.changes,
                key: place_bytes(actor, at.head.number).to_vec(),
                value: change.encode(),
            };
            for write in [version, change] {
                if let StateWrite::PutRow { key, value, .. } = &write {
                    self.pending_bytes += size_of::<StateWrite>() + key.len() + value.len();
                }
                self.pending.push(write);
            }
        }
    }

    /// Ends an event: forgets its changes.
    pub(in crate::projection) fn undo(&mut self) {
        self.event.clear();
    }

    /// Bytes of what was kept and not handed to the store.
    pub(in crate::projection) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Adds the writes that store what was kept, and those that let go what is too old.
    pub(in crate::projection) fn store(&mut self, writes: &mut Vec<StateWrite>) {
        let changes = self.pending.len() / 2;
        writes.append(&mut self.pending);
        self.pending_bytes = 0;
        if changes == 0 {
            return;
        }
        // What cannot be read now is let go another time.
        if let Err(cause) = self.prune(changes, writes) {
            tracing::warn!(%cause, "versions that are too old cannot be let go");
        }
    }
}
