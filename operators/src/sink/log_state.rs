//! What a checkpoint holds of a log sink: how far each stream has come, and what waits for the checkpoint.
//!
//! Streams that have not changed since the last checkpoint are not given again, until so much has gathered that all of them
//! are given anew.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use millstream_engine::checkpoint::{CheckpointError, Epoch, Restoring, Saving};
use millstream_engine::codec::Event;
use millstream_engine::event::StreamId;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Its kind of state in checkpoints.
const KIND: &str = "log sink";
/// Parts after which all streams are given again.
const PARTS_MAX: u32 = 32;

/// An event that waits for a checkpoint.
#[derive(Serialize, Deserialize)]
pub(super) struct Held<E> {
    pub(super) stream: StreamId,
    pub(super) number: u64,
    pub(super) time: Timestamp,
    pub(super) event: E,
}

/// What is saved at a barrier.
#[derive(Serialize, Deserialize)]
struct Part<H> {
    /// Numbers of the next items of streams that have changed.
    next: Vec<(StreamId, u64)>,
    held: H,
}

pub(super) struct LogState<E> {
    /// Streams of the checkpoint that were not met yet.
    resumed: HashMap<StreamId, u64, FixedState>,
    /// Since the last save.
    changed: HashSet<StreamId, FixedState>,
    /// First epoch whose part counts, and parts since then.
    base: Epoch,
    parts: u32,
    /// With the checkpoint that each is part of, once one has it.
    held: VecDeque<(Option<Epoch>, Held<Arc<E>>)>,
}

impl<E: Event> LogState<E> {
    pub(super) fn new() -> Self {
        Self {
            resumed: HashMap::default(),
            changed: HashSet::default(),
            base: Epoch::default(),
            parts: 0,
            held: VecDeque::new(),
        }
    }

    /// The number of the first item of a stream that is met.
    pub(super) fn resumed(&mut self, stream: &StreamId) -> u64 {
        self.resumed.remove(stream).unwrap_or(0)
    }

    /// An item of this stream has come.
    pub(super) fn change(&mut self, stream: &StreamId) {
        if !self.changed.contains(stream) {
            self.changed.insert(stream.clone());
        }
    }

    pub(super) fn hold(&mut self, stream: StreamId, number: u64, time: Timestamp, event: Arc<E>) {
        let held = Held {
            stream,
            number,
            time,
            event,
        };
        self.held.push_back((None, held));
    }

    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// What the checkpoint of this epoch has.
    pub(super) fn release(&mut self, epoch: Epoch) -> Vec<Held<Arc<E>>> {
        let waits = |(of, _): &(Option<Epoch>, _)| of.is_none_or(|of| of > epoch);
        let end = self.held.iter().position(waits).unwrap_or(self.held.len());
        self.held.drain(..end).map(|(_, held)| held).collect()
    }

    /// Gives what has changed, or all. `next` gives the number of a stream's next item.
    pub(super) fn save<'a>(
        &mut self,
        saving: &mut Saving,
        streams: impl Iterator<Item = &'a StreamId>,
        next: impl Fn(&StreamId) -> Option<u64>,
    ) -> Result<(), CheckpointError> {
        for (of, _) in &mut self.held {
            of.get_or_insert(saving.epoch());
        }
        let is_whole = self.base == Epoch::default() || self.parts >= PARTS_MAX;
        let numbered = |stream: &StreamId| next(stream).map(|next| (stream.clone(), next));
        let numbers: Vec<_> = if is_whole {
            let resumed = self.resumed.iter();
            let resumed = resumed.map(|(stream, &next)| (stream.clone(), next));
            streams.filter_map(numbered).chain(resumed).collect()
        } else {
            self.changed.iter().filter_map(numbered).collect()
        };
        if is_whole {
            (self.base, self.parts) = (saving.epoch(), 0);
        }
        self.parts += 1;
        self.changed.clear();
        let held = self.held.iter().map(|(_, held)| Held {
            stream: held.stream.clone(),
            number: held.number,
            time: held.time,
            event: &*held.event,
        });
        let held: Vec<_> = held.collect();
        let part = Part {
            next: numbers,
            held,
        };
        saving.changes(KIND, self.base, &part)
    }

    /// Takes back what is this partition's; gives what is to be appended.
    pub(super) fn restore(
        &mut self,
        restoring: &mut Restoring,
    ) -> Result<Vec<Held<E>>, CheckpointError> {
        let mut pending = Vec::new();
        for parts in restoring.parts(KIND)? {
            let last = parts.len().saturating_sub(1);
            for (at, part) in parts.into_iter().enumerate() {
                let part: Part<Vec<Held<E>>> = part.read()?;
                let own = part.next.into_iter();
                self.resumed
                    .extend(own.filter(|(stream, _)| restoring.owns(stream)));
                if at == last {
                    let own = part.held.into_iter();
                    pending.extend(own.filter(|held| restoring.owns(&held.stream)));
                }
            }
        }
        Ok(pending)
    }
}
