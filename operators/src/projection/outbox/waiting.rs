//! What waits in the outboxes of a projection, partition by partition: how much, where some has come, and who is told of that.

use std::any::TypeId;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use millstream_engine::event::Offset;
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::OutboxMetrics;
use millstream_engine::state::RowsSize;

use super::EffectPlace;
use super::figures::Watched;
use super::format::Span;

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
    /// For figures.
    pub(super) watched: Mutex<Option<Watched>>,
    /// Who is told of what is stored.
    delivery: Mutex<Weak<Mailbox>>,
    late: Mutex<Late>,
}

/// Batches with effects that may lie before others that were handed over earlier, such as those of a key that was freed. From
/// when the store has such a batch until that is told, whoever reads may find the second of two effects and not look for the first.
#[derive(Debug, Default)]
struct Late {
    /// The last place that was handed to the store.
    last: Option<EffectPlace>,
    /// Such batches so far.
    begun: u64,
    /// Those of which nothing was told yet.
    under_way: usize,
}

impl PartitionState {
    fn delivery(&self) -> MutexGuard<'_, Weak<Mailbox>> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn late(&self) -> MutexGuard<'_, Late> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Effects go to the store, all of them in this span; gives whether some may lie before others that went there earlier.
    /// [`add`](Self::add) or [`give_up`](Self::give_up) follows.
    pub(super) fn hand_over(&self, span: Span) -> bool {
        let late = &mut *self.late();
        // What this process did not hand over it knows nothing of.
        let is_late = late.last.is_none_or(|last| span.first <= last);
        late.last = late.last.max(Some(span.last));
        if is_late {
            late.begun += 1;
            late.under_way += 1;
        }
        is_late
    }

    /// A batch that was handed over will not be stored.
    pub(super) fn give_up(&self, is_late: bool) {
        if is_late {
            self.late().under_way -= 1;
            self.wake();
        }
    }

    /// Whether all late batches were told of that the store may have: how many there were. Asked before
    /// [`take_stored`](Self::take_stored) and again after a page was read, it says whether that page can be relied on.
    pub(super) fn late_batches(&self) -> Option<u64> {
        let late = self.late();
        (late.under_way == 0).then_some(late.begun)
    }

    /// Effects were stored, all of them in this span, and handed over as that said.
    pub(super) fn add(&self, size: RowsSize, span: Span, is_late: bool) {
        let (rows, bytes) = (size.rows.cast_signed(), size.bytes.cast_signed());
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.depth.fetch_add(rows, Ordering::AcqRel);
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        *stored = Some(span.with(*stored));
        drop(stored);
        // Told before it is over, and over before anybody is woken for it.
        if is_late {
            self.late().under_way -= 1;
        }
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

#[cfg(test)]
mod tests {
    use millstream_engine::event::{PartitionId, Position};

    use super::*;

    fn place(offset: u64) -> EffectPlace {
        EffectPlace {
            position: Position {
                partition: PartitionId(0),
                offset: Offset(offset),
            },
            index: 0,
        }
    }

    fn span(first: u64, last: u64) -> Span {
        Span::of(place(first)).and(Span::of(place(last)))
    }

    /// While what came late is on its way nothing is read; a page that was read meanwhile is not relied on.
    #[test]
    fn what_comes_late_is_waited_for() {
        let own = PartitionState::default();
        let first = own.late_batches();
        let add = |span, is_late| own.add(RowsSize::default(), span, is_late);
        // What a process before this one has stored is not known.
        assert!(own.hand_over(span(5, 7)));
        assert_eq!(own.late_batches(), None);
        add(span(5, 7), true);
        let second = own.late_batches();
        assert!(second.is_some() && second != first);
        assert!(!own.hand_over(span(8, 9)), "behind all others");
        assert_eq!(own.late_batches(), second);
        add(span(8, 9), false);
        assert!(own.hand_over(span(6, 12)), "one of a key that was freed");
        assert_eq!(own.late_batches(), None);
        own.give_up(true);
        let third = own.late_batches();
        assert!(third.is_some() && third != second);
        assert!(!own.hand_over(span(13, 13)));
        assert_eq!(own.late_batches(), third);
    }
}
