//! The write side: groups of batches, one transaction each, stopped for good by the first failure.
//!
//! A plain core that knows no thread: [`start`](super::start) brings one, a simulation calls
//! [`step`](StateWriter::step) itself.

use std::collections::VecDeque;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::batch::Pending;
use super::drops::{self, Dropped};
use super::progress::progress_key;
use super::stopped::Stopped;
use super::store::{Databases, SetAside};
use super::view::row_key;
use super::{
    Snapshot, StateBatch, StateError, StateOptions, StateStore, StateWrite, chain, earlier, seal,
};
use crate::event::StreamId;
use crate::fail_point;
#[cfg(feature = "failpoints")]
use crate::fail_points;
use crate::store::{FolderLock, StoreError, WriteTxn, Writer};

/// The single write side of the state. Holds the folder's lock.
#[derive(Debug)]
pub struct StateWriter {
    store: StateStore,
    writer: Writer,
    options: StateOptions,
    drops: VecDeque<Dropped>,
    stopped: Option<Arc<StateError>>,
    /// The same, for its handles.
    told: Arc<Stopped>,
    set_aside: SetAside,
    _lock: Option<FolderLock>,
}

impl StateWriter {
    pub(super) fn new(
        store: StateStore,
        writer: Writer,
        options: StateOptions,
        lock: Option<FolderLock>,
        set_aside: SetAside,
    ) -> Result<Self, StateError> {
        let drops = store.view(drops::unfinished)?.into();
        Ok(Self {
            store,
            writer,
            options,
            drops,
            stopped: None,
            told: Stopped::new(),
            set_aside,
            _lock: lock,
        })
    }

    /// The read side.
    pub fn store(&self) -> &StateStore {
        &self.store
    }

    pub(super) fn options(&self) -> &StateOptions {
        &self.options
    }

    /// Where a damaged state was put when this one was opened; then everything is to be rebuilt.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// The failure that stopped this writer, if any.
    pub fn stopped(&self) -> Option<&StateError> {
        self.stopped.as_deref()
    }

    /// Commits the batches in one transaction and answers whoever waits for them. No batch costs nothing.
    ///
    /// # Errors
    /// [`StateError::RowKey`], [`StateError::TooLarge`]: a batch cannot be stored, so none of them was; all were
    /// told, and the writer goes on. [`StateError::Stopped`]: the commit failed, now or earlier.
    pub fn step(&mut self, batches: Vec<StateBatch>) -> Result<(), StateError> {
        let checked = batches.iter().try_for_each(StateBatch::check);
        let group: Vec<Pending> = batches
            .into_iter()
            .map(|batch| Pending::new(batch, None))
            .collect();
        match checked {
            Ok(()) => self.step_checked(group),
            Err(error) => {
                group
                    .into_iter()
                    .for_each(|item| item.answer(Err(error.clone())));
                Err(error)
            }
        }
    }

    /// As [`step`](Self::step), for batches that were checked before they were queued.
    pub(super) fn step_checked(&mut self, group: Vec<Pending>) -> Result<(), StateError> {
        let outcome = if group.is_empty() {
            self.check()
        } else {
            let options = self.options.clone();
            self.transact(|databases, txn| {
                let mut apply = Apply {
                    databases,
                    txn,
                    delta_bytes_min: options.snapshot_delta_bytes_min,
                    links_max: options.snapshot_links_max,
                    earlier_max: usize::from(options.snapshot_earlier_max),
                };
                apply.rows(group.iter().flat_map(Pending::writes))?;
                let mut writes = group.iter().flat_map(Pending::writes);
                writes.try_for_each(|write| apply.write(write))
            })
        };
        for item in group {
            item.answer(outcome.clone());
            fail_point!(STATE_REPLIED);
        }
        outcome
    }

    /// Deletes one slice of what belongs to dropped projections; `false` when nothing is left to delete.
    ///
    /// # Errors
    /// [`StateError::Stopped`]: the commit failed, now or earlier.
    pub fn step_drops(&mut self) -> Result<bool, StateError> {
        let Some(dropped) = self.drops.front().cloned() else {
            return Ok(false);
        };
        if self.transact(|databases, txn| dropped.step(databases, txn))? {
            self.drops.pop_front();
        }
        Ok(self.has_drops())
    }

    pub(super) fn has_drops(&self) -> bool {
        !self.drops.is_empty()
    }

    pub(super) fn add_drop(&mut self, dropped: Dropped) {
        self.drops.push_back(dropped);
    }

    /// Makes everything before it safe from a power failure. Cost: one fdatasync.
    ///
    /// # Errors
    /// [`StateError::Stopped`]: it failed, now or earlier.
    pub fn sync(&mut self) -> Result<(), StateError> {
        self.check()?;
        let mut sync = || {
            fail_point!(STATE_BEFORE_SYNC, fail_points::store_error);
            self.writer.sync()?;
            fail_point!(STATE_SYNCED, fail_points::store_error);
            Ok(())
        };
        let synced: Result<(), StoreError> = sync();
        synced.map_err(|error| self.stop(error.into()))
    }

    fn check(&self) -> Result<(), StateError> {
        match &self.stopped {
            Some(cause) => Err(StateError::Stopped {
                cause: Arc::clone(cause),
            }),
            None => Ok(()),
        }
    }

    /// What its handles are told by.
    pub(super) fn told(&self) -> &Arc<Stopped> {
        &self.told
    }

    /// Writes nothing from now on. Told before anybody is answered: who heard of the failure finds it said.
    pub(super) fn stop(&mut self, cause: StateError) -> StateError {
        let cause = Arc::clone(self.stopped.get_or_insert_with(|| Arc::new(cause)));
        self.told.tell(Arc::clone(&cause));
        // Once it has stopped: what writes log lines may panic itself where the disk is full.
        tracing::error!(%cause, "the state writer stops: nothing more is written by this process");
        StateError::Stopped { cause }
    }

    /// Runs `with` in one transaction. Whatever goes wrong once it has begun stops the writer: what could be
    /// refused was refused before.
    pub(super) fn transact<T>(
        &mut self,
        with: impl FnOnce(&Databases, &mut WriteTxn<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        self.check()?;
        let databases = self.store.databases();
        let run = || {
            fail_point!(STATE_BEFORE_TRANSACTION, |cause| fail_points::store_error(
                cause
            )
            .into());
            let mut txn = self.writer.begin()?;
            let made = with(&databases, &mut txn)?;
            fail_point!(STATE_BEFORE_COMMIT, |cause| fail_points::store_error(cause)
                .into());
            txn.commit()?;
            fail_point!(STATE_AFTER_COMMIT, |cause| fail_points::store_error(cause)
                .into());
            Ok(made)
        };
        run().map_err(|cause| self.stop(cause))
    }
}

/// Applies writes to a transaction.
struct Apply<'a, 'w> {
    databases: &'a Databases,
    txn: &'a mut WriteTxn<'w>,
    delta_bytes_min: usize,
    links_max: u8,
    earlier_max: usize,
}

impl Apply<'_, '_> {
    /// Applies the row writes of a group in the order of their keys, the last one of each key alone.
    ///
    /// Rows depend on nothing else in the group. Sorted, neighbours are changed while their page is at hand, and
    /// a row that every batch changes, such as a running total, is written once per commit.
    fn rows<'g>(&mut self, writes: impl Iterator<Item = &'g StateWrite>) -> Result<(), StateError> {
        let mut rows: Vec<_> = writes
            .filter_map(|write| match write {
                StateWrite::PutRow { table, key, value } => Some((*table, key, Some(value))),
                StateWrite::DeleteRow { table, key } => Some((*table, key, None)),
                _ => None,
            })
            .collect();
        // Stable: writes of one key stay in their order.
        rows.sort_by(|left, right| (left.0, left.1).cmp(&(right.0, right.1)));
        for (at, (table, key, value)) in rows.iter().enumerate() {
            if rows
                .get(at + 1)
                .is_some_and(|next| (next.0, next.1) == (*table, *key))
            {
                continue;
            }
            let key = row_key(*table, key);
            match value {
                Some(value) => {
                    seal::put(self.txn, self.databases.rows, &key, value)?;
                }
                None => {
                    self.txn.delete(self.databases.rows, &key)?;
                }
            }
        }
        Ok(())
    }

    /// Applies any write but one of a row.
    fn write(&mut self, write: &StateWrite) -> Result<(), StateError> {
        let databases = self.databases;
        match write {
            StateWrite::PutRow { .. } | StateWrite::DeleteRow { .. } => {}
            StateWrite::Progress {
                projection,
                partition,
                progress,
            } => {
                let key = progress_key(*projection, *partition);
                seal::put(self.txn, databases.progress, &key, &progress.encode())?;
            }
            StateWrite::DeleteProgress {
                projection,
                partition,
            } => {
                let key = progress_key(*projection, *partition);
                self.txn.delete(databases.progress, &key)?;
            }
            StateWrite::Snapshot { stream, snapshot } => self.snapshot(stream, snapshot)?,
            StateWrite::DeleteSnapshot { stream } => {
                self.delete_links(stream, 0)?;
                earlier::forget(self.txn, databases.snapshots, stream)?;
            }
            StateWrite::DeadLetter(letter) => {
                let key = letter.id().to_key();
                seal::put(self.txn, databases.dead_letters, &key, &letter.encode())?;
            }
            StateWrite::DeleteDeadLetter(id) => {
                self.txn.delete(databases.dead_letters, &id.to_key())?;
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, stream: &StreamId, snapshot: &Snapshot) -> Result<(), StateError> {
        let may_follow = self.links_max > 1 && chain::is_large(snapshot, self.delta_bytes_min);
        let mut is_passed_over = false;
        let before = if may_follow || self.earlier_max > 0 {
            let (from, to) = chain::link_bounds(stream);
            let bounds = (Bound::Included(&from[..]), Bound::Included(&to[..]));
            let entries = self
                .txn
                .range(self.databases.snapshots, bounds.0, bounds.1)?;
            let links = entries
                .map(|entry| entry.map(|(key, value)| (key.last().copied().unwrap_or(0), value)))
                .collect::<Result<Vec<_>, _>>()?;
            let first = links.first();
            is_passed_over = first.is_some_and(|(_, part)| chain::is_passed_over(part));
            chain::chain_or_warn(stream, &links)
        } else {
            None
        };
        let link = chain::next_link(
            stream,
            snapshot,
            before.as_ref().filter(|_| may_follow),
            self.delta_bytes_min,
            self.links_max,
        );
        if link.number == 0 {
            self.delete_links(stream, 1)?;
            let table = self.databases.snapshots;
            if self.earlier_max == 0 || is_passed_over {
                // There were places before; or they are passed over as well, and would take the places of others.
                earlier::forget(self.txn, table, stream)?;
            } else if let Some(before) = &before {
                let two = (&before.snapshot, snapshot);
                earlier::keep(self.txn, table, stream, two, self.earlier_max)?;
            }
        }
        let key = chain::link_key(stream, link.number);
        Ok(self.txn.put(self.databases.snapshots, &key, &link.value)?)
    }

    /// Deletes the parts of a stream's snapshot from number `from` on.
    fn delete_links(&mut self, stream: &StreamId, from: u8) -> Result<(), StateError> {
        let (low, (_, high)) = (chain::link_key(stream, from), chain::link_bounds(stream));
        let bounds = (Bound::Included(&low[..]), Bound::Included(&high[..]));
        let entries = self
            .txn
            .range(self.databases.snapshots, bounds.0, bounds.1)?;
        let keys = entries
            .map(|entry| entry.map(|(key, _)| key.to_vec()))
            .collect::<Result<Vec<_>, _>>()?;
        for key in keys {
            self.txn.delete(self.databases.snapshots, &key)?;
        }
        Ok(())
    }
}
