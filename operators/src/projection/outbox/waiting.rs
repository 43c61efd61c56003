//! What waits in the outboxes of a projection, partition by partition: how much and since when, where some has come, and who is
//! told of that.

use std::any::TypeId;
use std::ops::Bound;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::{OutboxMetrics, OutboxNow};
use millstream_engine::state::{RowsSize, StateError};
use millstream_engine::time::Timestamp;

use super::format::{self, Span, keys_of};
use super::outlets::Outlets;

/// Rows that are looked at for one that can be read, where the oldest cannot.
const LOOKED_AT_MAX: usize = 256;

/// One outbox of a projection.
#[derive(Debug)]
pub(super) struct OutboxState {
    pub(super) name: &'static str,
    /// Type of its effects.
    pub(super) effect: TypeId,
    /// Where its effects begin, by partition.
    pub(super) begin: Vec<Offset>,
    pub(super) partitions: Vec<PartitionState>,
    /// Effects above which the projection waits.
    pub(super) rows_max: AtomicU64,
    pub(super) metrics: OutboxMetrics,
}

impl OutboxState {
    /// Effects that are stored and not deleted.
    pub(super) fn depth(&self) -> u64 {
        self.partitions.iter().map(|own| own.size().rows).sum()
    }

    /// Whether that is as many as there may be.
    pub(super) fn is_full(&self) -> bool {
        let max = self.rows_max.load(Ordering::Acquire);
        max < u64::MAX && self.depth() >= max
    }
}

/// One partition of an outbox.
#[derive(Debug, Default)]
pub(super) struct PartitionState {
    /// Where effects were stored since the delivery has looked.
    stored: Mutex<Option<Span>>,
    /// Effects that are stored and not deleted, and their bytes. Less than none for a moment where some are deleted before it
    /// was told that they are stored.
    depth: AtomicI64,
    bytes: AtomicI64,
    /// Since when nothing that was looked at can be read.
    unreadable_since: Mutex<Option<Timestamp>>,
    /// Who is told of what is stored.
    delivery: Mutex<Weak<Mailbox>>,
}

impl PartitionState {
    fn delivery(&self) -> MutexGuard<'_, Weak<Mailbox>> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable_since(&self) -> MutexGuard<'_, Option<Timestamp>> {
        let since = self.unreadable_since.lock();
        since.unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever delivers look.
    pub(super) fn wake(&self) {
        let mailbox = self.delivery().upgrade();
        if let Some(mailbox) = mailbox {
            mailbox.wake();
        }
    }

    /// One that has so much to begin with.
    pub(super) fn of(size: RowsSize) -> Self {
        Self {
            depth: AtomicI64::new(size.rows.cast_signed()),
            bytes: AtomicI64::new(size.bytes.cast_signed()),
            ..Self::default()
        }
    }

    /// What is stored and not deleted.
    pub(super) fn size(&self) -> RowsSize {
        let now = |own: &AtomicI64| own.load(Ordering::Acquire).max(0).cast_unsigned();
        RowsSize {
            rows: now(&self.depth),
            bytes: now(&self.bytes),
        }
    }

    /// Effects were stored, all of them in this span.
    pub(super) fn add(&self, size: RowsSize, span: Span) {
        let (rows, bytes) = (size.rows.cast_signed(), size.bytes.cast_signed());
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.depth.fetch_add(rows, Ordering::AcqRel);
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        *stored = Some(span.with(*stored));
        drop(stored);
        self.wake();
    }

    /// Where effects were stored since this was asked last.
    pub(super) fn take_stored(&self) -> Option<Span> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.take()
    }

    /// Effects were deleted.
    pub(super) fn remove(&self, size: RowsSize) {
        let (rows, bytes) = (size.rows.cast_signed(), size.bytes.cast_signed());
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.depth.fetch_sub(rows, Ordering::AcqRel);
    }

    pub(super) fn deliver_to(&self, mailbox: &Arc<Mailbox>) {
        *self.delivery() = Arc::downgrade(mailbox);
    }
}

impl Outlets {
    /// Shows what waits in all outboxes at this time. Cost: a read of the store for each partition of one that has something.
    ///
    /// # Errors
    /// [`StateError`]: figures behind the first one that cannot be looked at stay as they were.
    #[doc(hidden)]
    pub fn observe(&self, now: Timestamp) -> Result<(), StateError> {
        for own in &self.boxes {
            own.metrics.observe_full(own.is_full());
            for (partition, waits) in (0..).map(PartitionId).zip(&own.partitions) {
                let RowsSize { rows, bytes } = waits.size();
                let since = match rows {
                    0 => None,
                    _ => self.waiting_since(own.name, (partition, waits), now)?,
                };
                own.metrics.observe(
                    partition,
                    OutboxNow {
                        effects: rows,
                        bytes,
                        oldest: since.map_or(Duration::ZERO, |since| now.since(since)),
                    },
                );
            }
        }
        Ok(())
    }

    /// When the event of the oldest effect of a partition was recorded that can be read. Where none of the first can, since when
    /// that is seen: they have waited at least so long. `None`: there are none.
    fn waiting_since(
        &self,
        outbox: &str,
        (partition, waits): (PartitionId, &PartitionState),
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StateError> {
        let (first, last) = keys_of(outbox, partition);
        let (first, last) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let mut unreadable_since = waits.unreadable_since();
        // Nearly always the first can be read.
        for limit in [1, LOOKED_AT_MAX] {
            let rows = self
                .store
                .scan_range(self.ids.effects, first, last, limit)?;
            let read = rows.iter().find_map(|(_, row)| format::read(row));
            if rows.is_empty() || read.is_some() {
                *unreadable_since = None;
                return Ok(read.map(|read| read.recorded_at));
            }
        }
        Ok(Some(*unreadable_since.get_or_insert(now)))
    }
}
