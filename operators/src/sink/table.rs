//! Rows of a dataflow in a table that queries read.
//!
//! Place: a dataflow -> **table sink** -> hot rows for readers, and `state/`. Input: a key with its new row, or with
//! none to remove it; the last one that comes to the sink wins. Each key must come to one partition of the sink.
//! Invariants: (1) readers see a row as some item left it; (2) the stage does not end before its rows are stored.
//! With checkpoints rows are stored as part of them: what the store holds is what the last complete one has, whatever
//! was shown since, once all parts of its rows are stored, which are transactions of their own. A run that ends between two of
//! them leaves rows of two checkpoints. The next one stores all of the last one's before it takes anything; until then readers see
//! these rows of two, and for good if there is no next one. A savepoint has all rows: a start from it makes the stored ones the same. Without, the table is
//! emptied when the dataflow starts and made anew from its sources: what is read meanwhile is part of the whole.
//! Bounds: `hot_rows_max` rows and places in memory per partition. With more of them, half or more are let go: with
//! checkpoints of those that are stored, so what has changed since the last complete one stays, whatever that is; without,
//! once all are stored, and nothing is taken until then. One batch of rows on its way, of a bounded size. Threads: one owner;
//! outcomes come from the state's thread. Failure: a row that cannot be written, or a failed store, fails the stage.
//! Cost: per item a hash and a copy of the row that it replaces; per changed row a copy at each publication and an
//! encoding at each store.

mod changed;
mod open;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::checkpoint::{Epoch, Restoring, SavedPart, Saving};
use millstream_engine::flow::{Emit, Fault, Operator, Turn, Wiring};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;

use self::changed::Released;
use self::open::Open;
use super::storing::Storing;
use super::table_part::{self, TABLE_STATE};
use super::table_place::TableAccess;
use crate::projection::{HotRows, Place, Row, Table, TableKey, TableMut};

/// Limits of a table sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSinkOptions {
    /// Longest that a busy sink keeps changed rows from readers; an idle one keeps nothing. Default 250 ms.
    pub publish_every: Duration,
    /// Time between two stores. Default 500 ms. More: a row that changes often is stored less often.
    pub store_every: Duration,
    /// Changed rows that are stored at once, whatever the time. Default 262,144.
    pub unstored_rows_max: usize,
    /// Rows, and places of rows that are gone, in memory per partition of the sink. Default 4,000,000. With checkpoints those
    /// that have changed since the last complete one stay, also if they are more.
    pub hot_rows_max: usize,
}

impl Default for TableSinkOptions {
    fn default() -> Self {
        Self {
            publish_every: Duration::from_millis(250),
            store_every: Duration::from_millis(500),
            unstored_rows_max: 262_144,
            hot_rows_max: 4_000_000,
        }
    }
}

/// Takes keys with their rows into a table.
pub struct TableSink<K: TableKey, R: 'static> {
    table: Table<K, R>,
    options: TableSinkOptions,
    open: Option<Open<K, R>>,
    ending: bool,
}

impl<K: TableKey, R: Row> TableSink<K, R> {
    /// A sink into `table`, whose place it takes from the [`TableAccess`] when it opens.
    #[must_use]
    pub const fn new(table: Table<K, R>, options: TableSinkOptions) -> Self {
        Self {
            table,
            options,
            open: None,
            ending: false,
        }
    }
}

#[cfg(test)]
impl<K: TableKey, R: Row> TableSink<K, R> {
    /// As if the batch on its way had ended so.
    pub(super) fn end_batch(&self, outcome: Result<(), millstream_engine::state::StateError>) {
        if let Some(open) = &self.open {
            open.storing.finish(outcome);
        }
    }

    /// As if its dataflow had checkpoints, or not.
    pub(super) fn have_checkpoints(&mut self, has_checkpoints: bool) {
        if let Some(open) = &mut self.open {
            open.has_checkpoints = has_checkpoints;
        }
    }
}

impl<K: TableKey, R> Clone for TableSink<K, R> {
    fn clone(&self) -> Self {
        Self {
            table: self.table,
            options: self.options.clone(),
            open: None,
            ending: false,
        }
    }
}

impl<K: TableKey, R: Row> Operator<(K, Option<R>)> for TableSink<K, R> {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(
        &mut self,
        _time: Timestamp,
        (key, row): (K, Option<R>),
        _out: &mut E,
    ) {
        let Some(open) = &mut self.open else { return };
        match row {
            Some(row) => open.rows.put(&key, row),
            None => open.rows.remove(&key),
        }
        if let Err(error) = open.rows.check() {
            let place = self.table.name();
            open.fault
                .get_or_insert_with(|| Fault(format!("table {place:?}: {error}")));
        }
        open.rows.keep();
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let name = self.table.name();
        let missing = || {
            Fault(format!(
                "table {name:?}: the dataflow runs without an engine"
            ))
        };
        let access = wiring.resources.get::<TableAccess>().ok_or_else(missing)?;
        let place = access.places.get(name).ok_or_else(missing)?;
        let hot = Arc::clone(&place.hot).downcast::<HotRows<K, R>>();
        let hot = hot.map_err(|_| Fault(format!("table {name:?} has other keys or rows")))?;
        // Of an earlier beginning in this process: readers see what is stored until there is something newer.
        hot.forget_all();
        let now = Turn {
            now: wiring.clock.now(),
            monotonic: wiring.clock.monotonic(),
        };
        self.open = Some(Open {
            fence: wiring.fence(),
            // Emptied at start, nothing is stored that is not here; what is kept is said when it is restored.
            board: Arc::clone(&place.board),
            rows: TableMut::new(Place {
                table: &self.table,
                id: place.id,
                beside: &[],
                store: Some(access.store.clone()),
                hot,
                is_complete: true,
                actor: u16::try_from(wiring.partition).unwrap_or(u16::MAX),
            }),
            store: access.store.clone(),
            partition: (wiring.partition, wiring.partitions),
            has_checkpoints: wiring.checkpoints.is_some(),
            unfinished: VecDeque::new(),
            released: VecDeque::new(),
            must_settle: false,
            state: access.writer.clone(),
            storing: Storing::waking(&wiring.mailbox),
            in_flight: false,
            is_last_part: false,
            has_stored: false,
            refused: None,
            fault: None,
            now,
            published_at: now.monotonic,
            stored_at: now.monotonic,
            look_at: None,
        });
        Ok(())
    }

    fn begin(&mut self, turn: &Turn) {
        if let Some(open) = &mut self.open {
            open.now = *turn;
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.open.as_ref().and_then(|open| open.look_at)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if let Some(fault) = open.fault.take() {
            return Err(fault);
        }
        open.must_settle &= !open.is_settled();
        let is_full = open.rows.rows() > self.options.hot_rows_max;
        // With checkpoints it goes on meanwhile.
        let must_store = self.ending || (is_full && !open.has_checkpoints);
        let shown = open.now.monotonic.saturating_sub(open.published_at);
        if idle || must_store || shown >= self.options.publish_every {
            open.publish();
        }
        open.store(&self.options, must_store)?;
        if is_full {
            open.make_room();
        }
        open.look_at = open.next_look(&self.options);
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            if open.has_checkpoints {
                return (self.ending || open.must_settle) && !open.is_settled();
            }
            let is_full = open.rows.rows() > self.options.hot_rows_max;
            (self.ending || is_full) && !open.is_all_stored()
        })
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        let Some(open) = &self.open else { return };
        if open.refused.is_some() {
            waits.push(Box::pin(Arc::clone(&open.storing).until_room()));
        } else {
            waits.push(Box::pin(Arc::clone(&open.storing).until_done()));
        }
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.ending = true;
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        if let Some(open) = &self.open {
            into.push(("rows in memory", open.rows.rows()));
        }
    }

    /// What the checkpoint before has released is stored first.
    fn before_barrier<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        if let Some(open) = &mut self.open {
            open.must_settle = true;
        }
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        if let Some(open) = &mut self.open {
            let changed = open.take_rows()?;
            if !changed.writes.is_empty() {
                open.unfinished.push_back((saving.epoch(), changed));
            }
            if saving.is_savepoint() {
                open.write_all(&mut bytes)?;
            } else {
                for (_, changed) in &open.unfinished {
                    table_part::write(&changed.writes, &mut bytes);
                }
            }
        }
        saving.part(TABLE_STATE, saving.epoch(), bytes);
        Ok(())
    }

    /// Rows of the checkpoint may not have been stored before the end: they are once more, by the partition that has their
    /// keys now, whose savepoints are to have them. From a savepoint the stored rows are made what they were.
    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let is_spread_anew = restoring.is_spread_anew();
        let saved = restoring.parts(TABLE_STATE)?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.rows.has_more_stored();
        let table = open.rows.id();
        let last = saved.into_iter().filter_map(|mut parts| parts.pop());
        let parts: Result<Vec<_>, _> = last.map(SavedPart::bytes).collect();
        let parts = parts?;
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let is_whole = |part: &&[u8]| table_part::has_all_rows(part.first().copied());
        for bytes in parts.iter().filter(|part| !is_whole(part)) {
            let mut writes = table_part::read(table, bytes).ok_or_else(table_part::damaged)?;
            if is_spread_anew {
                writes.retain(|write| table_part::key_of(write).is_some_and(|key| open.owns(key)));
            }
            open.store_at_once(writes);
        }
        if parts.iter().any(is_whole) {
            open.make_same(&parts)?;
        }
        Ok(())
    }

    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        while let Some((of, _)) = open.unfinished.front() {
            if *of > epoch {
                break;
            }
            let changed = open.unfinished.pop_front().map(|(_, changed)| changed);
            open.released.extend(changed.map(Released::from));
        }
        Ok(())
    }

    fn awaits_checkpoint(&self) -> bool {
        let open = self.open.as_ref().filter(|open| open.has_checkpoints);
        open.is_some_and(|open| open.rows.unstored() > 0 || !open.unfinished.is_empty())
    }
}

impl<K: TableKey, R> fmt::Debug for TableSink<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableSink")
            .field("table", &self.table)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
