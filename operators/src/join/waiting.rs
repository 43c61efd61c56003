//! Items of all keys that wait for the watermark, by time.
//!
//! They lie in chunks of a table, each of some items of one slice of time, in the order in which they came: so an item
//! that comes costs a push, and neither has what came before it saved again nor looks for its key. When the time of a slice
//! comes, its items go to a [queue](super::due) that sorts them.
//! Invariants: (1) what the queue has belongs to slices whose time has come, and nothing in the table does; (2) of one
//! slice only the last chunk is not full.
//! Cost: the items of the slice whose time has come, a few dozen milliseconds, lie in memory and are saved in whole.

use std::collections::BTreeMap;

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use millstream_engine::flow::Fault;

use super::due::{DueQueue, is_before};
use crate::Savable;
use crate::table::{StateMemory, Table};

/// Items of a chunk.
const CHUNK: usize = if cfg!(test) { 3 } else { 64 };

/// Emptied chunks kept for what comes.
const SPARES: usize = 64;

/// Number of a slice, and of a chunk in it.
type ChunkOf = (i64, u32);

/// Items by time; equal times in the order of arrival.
pub(super) struct Waiting<L> {
    /// Of what comes now, sorted by slice.
    queue: DueQueue<L>,
    chunks: Table<ChunkOf, Vec<(i64, L)>>,
    /// Slices in the table, and how many full chunks each has; one more may be there that is not full.
    slices: BTreeMap<i64, u32>,
    /// The slice that the last item went to, and the place of its last chunk, unless that is full.
    last: Option<(i64, usize)>,
    spares: Vec<Vec<(i64, L)>>,
    len: usize,
    /// Slices up to this one are in the queue.
    opened: i64,
}

impl<L> Waiting<L> {
    /// For items that are mostly due within `span` of each other.
    pub(super) fn new(span: i64) -> Self {
        Self {
            queue: DueQueue::new(span),
            chunks: Table::default(),
            slices: BTreeMap::new(),
            last: None,
            spares: Vec::new(),
            len: 0,
            opened: i64::MIN,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, time: i64, item: L) {
        self.len += 1;
        let slice = self.queue.bucket_of(time);
        if slice <= self.opened {
            self.queue.push(time, item);
            return;
        }
        let place = match self.last {
            Some((last, place)) if last == slice => place,
            _ => self.last_chunk(slice),
        };
        let chunk = self.chunks.at_mut(place).1;
        chunk.push((time, item));
        let is_full = chunk.len() >= CHUNK;
        self.last = (!is_full).then_some((slice, place));
        if is_full {
            *self.slices.entry(slice).or_default() += 1;
        }
    }

    /// Place of the last chunk of a slice, made if there is none.
    fn last_chunk(&mut self, slice: i64) -> usize {
        let full = *self.slices.entry(slice).or_default();
        let spares = &mut self.spares;
        // Where there was one, there may be as many again.
        let room = if full > 0 { CHUNK } else { 0 };
        let create = || spares.pop().unwrap_or_else(|| Vec::with_capacity(room));
        self.chunks.find_or_insert_with((slice, full), create)
    }

    /// Takes the earliest item out if it is due before `before`; whenever it is, if that is the end of time.
    pub(super) fn pop(&mut self, before: i64) -> Option<(i64, L)> {
        loop {
            if let Some(found) = self.queue.pop(before) {
                self.len -= 1;
                return Some(found);
            }
            let (&slice, _) = self.slices.first_key_value()?;
            if self.queue.len() > 0 || !is_before(self.queue.begin_of(slice), before) {
                return None;
            }
            self.open(slice);
        }
    }

    /// Slices up to this one go to the queue; of what was saved when they had.
    pub(super) const fn open_until(&mut self, opened: i64) {
        self.opened = opened;
    }

    /// The time of a slice has come.
    fn open(&mut self, slice: i64) {
        let full = self.slices.remove(&slice).unwrap_or(0);
        let mut items = self.queue.spare();
        for number in 0..=full {
            let mut chunk = self.chunks.remove(&(slice, number)).unwrap_or_default();
            items.append(&mut chunk);
            if self.spares.len() < SPARES && chunk.capacity() >= CHUNK {
                self.spares.push(chunk);
            }
        }
        self.queue.take_bucket(slice, items);
        self.opened = slice;
        // Other chunks may have taken their places.
        self.last = None;
    }
}

impl<L: Savable> Waiting<L> {
    pub(super) fn share(&mut self, memory: &StateMemory) {
        self.chunks.share(&memory.for_tables());
    }

    #[inline]
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        self.chunks.settle()
    }

    /// What the queue has, and the last slice that went to it: to be saved beside the table.
    pub(super) fn opened(&self) -> (Vec<(i64, &L)>, i64) {
        (self.queue.in_order(), self.opened)
    }

    pub(super) fn save(
        &mut self,
        kind: &'static str,
        saving: &mut Saving,
    ) -> Result<(), CheckpointError> {
        self.chunks.save(kind, saving)
    }

    /// Takes items of the table back, and only those that `owns` says are this partition's.
    pub(super) fn restore(
        &mut self,
        kind: &'static str,
        restoring: &mut Restoring,
        owns: impl Fn(&Restoring, &L) -> bool,
    ) -> Result<(), CheckpointError> {
        if !restoring.is_spread_anew() {
            self.chunks.restore(kind, restoring)?;
            let Self { slices, len, .. } = self;
            self.chunks.for_each(|(slice, _), items| {
                *slices.entry(*slice).or_default() += u32::from(items.len() >= CHUNK);
                *len += items.len();
            });
            return Ok(());
        }
        let memory = self.chunks.shared();
        Table::<ChunkOf, Vec<(i64, L)>>::restore_each(
            &memory,
            kind,
            restoring,
            |mut table, restoring| {
                let mut chunks: Vec<ChunkOf> = Vec::with_capacity(table.len());
                table.for_each(|chunk, _| chunks.push(*chunk));
                chunks.sort_unstable();
                for chunk in chunks {
                    let items = table.remove(&chunk).unwrap_or_default();
                    for (time, item) in items {
                        if owns(restoring, &item) {
                            self.push(time, item);
                        }
                    }
                }
            },
        )
    }
}
