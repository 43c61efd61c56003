//! A table sink at work: shows rows, and hands them to the state's writer, one batch at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::checkpoint::Epoch;
use millstream_engine::flow::{Fault, Fence, Turn, exchange_hash, target_of};
use millstream_engine::state::{StateBatch, StateError, StateStore, StateWrite, StateWriterHandle};
use millstream_engine::time::Timestamp;

use super::TableSinkOptions;
use super::changed::{Changed, Part, Released};
use crate::projection::{HandedOver, ProgressBoard, Row, TableKey, TableMut};
use crate::sink::storing::{LOOK_EVERY, Storing};
use crate::sink::table_part;

/// Rows that are due and could not be handed over are looked at after this time at the earliest.
const STORE_EVERY_MIN: Duration = Duration::from_millis(2);

/// The sink at work.
pub(super) struct Open<K: TableKey, R: 'static> {
    pub(super) fence: Arc<Fence>,
    pub(super) board: Arc<ProgressBoard>,
    pub(super) rows: TableMut<K, R>,
    pub(super) store: StateStore,
    /// This one, and how many there are.
    pub(super) partition: (usize, usize),
    pub(super) state: StateWriterHandle,
    pub(super) storing: Arc<Storing>,
    /// Whether a batch was on its way when a failure was last looked for: one that ends later may have failed unseen.
    pub(super) in_flight: bool,
    /// Whether it is the last of those that were taken at one time.
    pub(super) is_last_part: bool,
    /// Whether all that were taken at some time were stored since some were last let go.
    pub(super) has_stored: bool,
    /// What the state's writer had no room for: to be handed over before anything else.
    pub(super) refused: Option<StateBatch>,
    pub(super) fault: Option<Fault>,
    pub(super) now: Turn,
    pub(super) published_at: Duration,
    pub(super) stored_at: Duration,
    /// Rows are stored with checkpoints only, so that a restart finds those of the one that it begins from.
    pub(super) has_checkpoints: bool,
    /// Rows that belong to a checkpoint which is not complete, by its epoch.
    pub(super) unfinished: VecDeque<(Epoch, Changed)>,
    /// Rows to be stored: with checkpoints those of complete ones.
    pub(super) released: VecDeque<Released>,
    /// A barrier has come, or the stored rows are others than those that the run begins with: what is released is to be
    /// stored before anything else.
    pub(super) must_settle: bool,
    /// When to look again although no item comes.
    pub(super) look_at: Option<Timestamp>,
}

impl<K: TableKey, R: Row> Open<K, R> {
    pub(super) fn publish(&mut self) {
        let _pass = self.fence.pass();
        let _shown = self.board.show_together();
        self.rows.publish();
        self.published_at = self.now.monotonic;
    }

    /// Lets rows go, if some can: there are too many.
    pub(super) fn make_room(&mut self) {
        if !self.has_checkpoints {
            if self.is_all_stored() {
                self.rows.halve();
            }
        } else if std::mem::take(&mut self.has_stored) {
            // Once for each checkpoint: what else has changed since must stay, and looking at all of them is dear.
            self.rows.let_stored_go();
        }
    }

    /// Whether everything that came is stored.
    pub(super) fn is_all_stored(&self) -> bool {
        self.rows.unstored() == 0 && self.unfinished.is_empty() && self.is_settled()
    }

    /// Whether everything that may be stored is.
    pub(super) fn is_settled(&self) -> bool {
        self.released.is_empty() && self.refused.is_none() && !self.in_flight
    }

    /// The next rows to be stored, if it is their time.
    fn next_part(&mut self, options: &TableSinkOptions, must: bool) -> Result<Option<Part>, Fault> {
        let unstored = self.rows.unstored();
        if self.released.is_empty() && !self.has_checkpoints && unstored > 0 {
            let since = self.now.monotonic.saturating_sub(self.stored_at);
            let due = since >= options.store_every || unstored >= options.unstored_rows_max;
            if due || must {
                let changed = self.take_rows()?;
                self.released.push_back(changed.into());
            }
        }
        let part = self.released.front_mut().map(Released::part);
        if part.as_ref().is_some_and(|part| part.is_last) {
            self.released.pop_front();
        }
        Ok(part)
    }

    /// What has changed since it was last asked.
    pub(super) fn take_rows(&mut self) -> Result<Changed, Fault> {
        // Nothing is stored that readers have not seen: whoever reads the store would see a part of a batch.
        self.publish();
        let mut writes = Vec::new();
        let taken = self.rows.store(&mut writes);
        let handed_over =
            taken.map_err(|error| Fault(format!("a row cannot be stored: {error}")))?;
        Ok(Changed {
            writes,
            handed_over,
        })
    }

    /// Hands what is due to the state's writer, one batch at a time.
    pub(super) fn store(&mut self, options: &TableSinkOptions, must: bool) -> Result<(), Fault> {
        // Before the failure, which is there once its batch is done.
        let was_in_flight = std::mem::replace(&mut self.in_flight, self.storing.is_in_flight());
        self.has_stored |= was_in_flight && !self.in_flight && self.is_last_part;
        if let Some(cause) = self.storing.failure() {
            return Err(Fault(format!("rows could not be stored: {cause}")));
        }
        if let Some(batch) = self.refused.take() {
            return self.submit(batch);
        }
        if self.in_flight {
            return Ok(());
        }
        let Some(part) = self.next_part(options, must)? else {
            return Ok(());
        };
        self.is_last_part = part.is_last;
        let (storing, handed_over) = (Arc::clone(&self.storing), part.handed_over);
        let batch = StateBatch::new(part.writes).on_done(move |outcome| {
            if outcome.is_ok() {
                handed_over.iter().for_each(HandedOver::settle);
            }
            storing.finish(outcome);
        });
        self.stored_at = self.now.monotonic;
        self.submit(batch)
    }

    /// Whether a stored row is this partition's. One that has no key of the table's is the first one's.
    pub(super) fn owns(&self, key: &[u8]) -> bool {
        let (own, partitions) = self.partition;
        K::read(key).map_or(0, |key| target_of(exchange_hash(&key), partitions)) == own
    }

    /// Appends all rows of this partition. Everything that is released is stored.
    pub(super) fn write_all(&self, into: &mut Vec<u8>) -> Result<(), Fault> {
        let place = (&self.store, self.rows.id());
        let writes = self.unfinished.iter();
        let writes = writes.flat_map(|(_, changed)| &changed.writes);
        table_part::write_all(place, |key| self.owns(key), writes, into)
    }

    /// Has the stored rows made those of `parts`, one for each partition that was saved, or this partition's alone.
    pub(super) fn make_same(&mut self, parts: &[&[u8]]) -> Result<(), Fault> {
        // What an earlier beginning in this process has left on its way.
        let flushed = self.state.flush();
        flushed.map_err(|error| Fault(format!("the table's rows cannot be read: {error}")))?;
        let is_whole = |part: &&[u8]| table_part::has_all_rows(part.first().copied());
        let covers = |key: &[u8]| {
            let from = |key| target_of(exchange_hash(&key), parts.len());
            let from = K::read(key).map_or(0, from);
            parts.get(from).is_some_and(is_whole)
        };
        let whole: Vec<&[u8]> = parts.iter().copied().filter(is_whole).collect();
        let place = (&self.store, self.rows.id());
        let owns = |key: &[u8]| self.owns(key);
        let writes = table_part::differences(place, owns, covers, &whole)?;
        self.store_at_once(writes);
        Ok(())
    }

    /// Has rows stored before anything else: until then readers see others, and so does a savepoint.
    pub(super) fn store_at_once(&mut self, writes: Vec<StateWrite>) {
        if !writes.is_empty() {
            self.must_settle = true;
            self.released.push_back(writes.into());
        }
    }

    pub(super) fn submit(&mut self, batch: StateBatch) -> Result<(), Fault> {
        let _pass = self.fence.pass();
        self.storing.begin();
        self.in_flight = true;
        let room = self.storing.waker();
        let Err(refused) = self.state.try_submit_or_wake(batch, &room) else {
            return Ok(());
        };
        // Nobody is told of a batch that was not taken.
        self.storing.give_up();
        self.in_flight = false;
        if !matches!(refused.reason, StateError::Full { .. }) {
            return Err(Fault(format!("the state's writer refused rows: {refused}")));
        }
        self.refused = Some(*refused.batch);
        Ok(())
    }

    /// When the rows that are left should be stored; not while others are, whose end wakes the stage, as room does for those
    /// that were refused.
    pub(super) fn next_look(&self, options: &TableSinkOptions) -> Option<Timestamp> {
        if self.in_flight {
            return None;
        }
        let is_due = !self.has_checkpoints && self.rows.unstored() > 0;
        let waits = is_due || !self.released.is_empty();
        if self.refused.is_some() {
            return Some(self.now.now.saturating_add(LOOK_EVERY));
        }
        if !waits {
            return None;
        }
        let since = self.now.monotonic.saturating_sub(self.stored_at);
        let wait = options.store_every.saturating_sub(since);
        Some(self.now.now.saturating_add(wait.max(STORE_EVERY_MIN)))
    }
}
