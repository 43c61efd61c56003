//! What was handed to the store, until it has it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::state::RowsSize;

use crate::projection::fresh::{HandedOver, Settle};
use crate::projection::outbox::format::Span;
use crate::projection::outbox::outlets::Outlets;
use crate::projection::outbox::waiting::PartitionState;

/// Effects that were handed to the store, and whom to tell once it has them.
pub(super) struct Handed {
    outlets: Arc<Outlets>,
    at: usize,
    batches: Mutex<Batches>,
}

#[derive(Default)]
struct Batches {
    number: u64,
    /// The oldest first.
    on_their_way: VecDeque<(u64, Batch)>,
}

/// What a batch has of each partition.
pub(super) type Batch = Vec<Option<PartOfBatch>>;

/// What a batch has of one partition, and where.
#[derive(Clone, Copy)]
pub(super) struct PartOfBatch {
    pub(super) size: RowsSize,
    pub(super) span: Span,
    /// Some of it may lie before what was handed over earlier.
    pub(super) is_late: bool,
}

impl Handed {
    /// Of the outbox at a place.
    pub(super) fn of(outlets: &Arc<Outlets>, at: usize) -> Arc<Self> {
        Arc::new(Self {
            outlets: Arc::clone(outlets),
            at,
            batches: Mutex::default(),
        })
    }

    pub(super) fn add(self: &Arc<Self>, batch: Batch) -> HandedOver {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.number += 1;
        let number = batches.number;
        batches.on_their_way.push_back((number, batch));
        let of = Arc::clone(self) as Arc<dyn Settle>;
        HandedOver::new(of, number)
    }
}

impl Settle for Handed {
    fn settle(&self, number: u64) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stored = Vec::new();
        while batches
            .on_their_way
            .front()
            .is_some_and(|(oldest, _)| *oldest <= number)
        {
            stored.extend(batches.on_their_way.pop_front());
        }
        drop(batches);
        for (_, batch) in &stored {
            for (partition, own) in self.parts(batch) {
                partition.add(own.size, own.span, own.is_late);
            }
        }
    }
}

impl Handed {
    fn parts<'b>(
        &'b self,
        batch: &'b Batch,
    ) -> impl Iterator<Item = (&'b PartitionState, &'b PartOfBatch)> {
        let partitions = &self.outlets.boxes[self.at].partitions;
        let parts = partitions.iter().zip(batch);
        parts.filter_map(|(partition, own)| Some((partition, own.as_ref()?)))
    }
}

impl Drop for Handed {
    /// What is still on its way was never stored: nobody has to wait for it.
    fn drop(&mut self) {
        let batches = self.batches.get_mut();
        let left =
            std::mem::take(&mut batches.unwrap_or_else(PoisonError::into_inner).on_their_way);
        for (_, batch) in &left {
            for (partition, own) in self.parts(batch) {
                partition.give_up(own.is_late);
            }
        }
    }
}
