//! Frames read lately, for reads of single streams: a stream's events lie in frames that its neighbours
//! share, and unpacking one costs as much as a hundred events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::frame::Frame;
use crate::event::{Offset, PartitionId};

/// A bounded cache by partition and offset. Cost: a short lock per look.
#[derive(Debug)]
pub(super) struct FrameCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    frames: BTreeMap<(PartitionId, Offset), Cached>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Cached {
    frame: Arc<Frame>,
    used: u64,
}

impl FrameCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            inner: Mutex::default(),
        }
    }

    /// The frame that holds `offset`, if it is here.
    pub(super) fn get(&self, partition: PartitionId, offset: Offset) -> Option<Arc<Frame>> {
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let upto = (partition, Offset(0))..=(partition, offset);
        let (_, cached) = inner.frames.range_mut(upto).next_back()?;
        if cached.frame.header().end() <= offset {
            return None;
        }
        inner.clock += 1;
        cached.used = inner.clock;
        Some(Arc::clone(&cached.frame))
    }

    /// Keeps a frame; those not used for longest go. One larger than the whole cache is not kept.
    pub(super) fn put(&self, partition: PartitionId, frame: Arc<Frame>) {
        let bytes = frame.memory_bytes();
        if bytes > self.bytes_max {
            return;
        }
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while inner.bytes + bytes > self.bytes_max {
            // Some hundreds of frames at most, and only when one was just read and unpacked.
            let oldest = inner.frames.iter().min_by_key(|(_, cached)| cached.used);
            let Some((&place, _)) = oldest else { break };
            if let Some(gone) = inner.frames.remove(&place) {
                inner.bytes -= gone.frame.memory_bytes();
            }
        }
        inner.clock += 1;
        let (used, place) = (inner.clock, (partition, frame.header().first));
        inner.bytes += bytes;
        if let Some(same) = inner.frames.insert(place, Cached { frame, used }) {
            inner.bytes -= same.frame.memory_bytes();
        }
    }
}
