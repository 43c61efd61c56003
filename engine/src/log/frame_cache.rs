//! Frames read lately, for reads of single streams: a stream's events lie in frames that its neighbours
//! share, and unpacking one costs as much as a hundred events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::frame::Frame;
use crate::event::{Offset, PartitionId};

/// Frames passed over at a time because they were used since they were looked at last. It bounds how long one
/// that makes room holds the lock; that many in a row are used in a cache of which most is.
const SPARED_MAX: usize = 64;

/// A bounded cache by partition and offset. Cost: a short lock per look.
///
/// The frame that came first goes first, unless it was used: then it is put behind all others, once. So neither a
/// hit nor room for a frame takes a walk over those that are here, which may be 60,000 of one event each.
#[derive(Debug)]
pub(super) struct FrameCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

type Place = (PartitionId, Offset);

#[derive(Debug, Default)]
struct Inner {
    frames: BTreeMap<Place, Cached>,
    /// All places in `frames`, each once, the one to be looked at next in front.
    turns: VecDeque<Place>,
    bytes: usize,
}

#[derive(Debug)]
struct Cached {
    frame: Arc<Frame>,
    was_used: bool,
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
        cached.was_used = true;
        Some(Arc::clone(&cached.frame))
    }

    /// Keeps a frame; about those not used for longest go. One larger than the whole cache is not kept. Gives how many
    /// frames were looked at to make room.
    pub(super) fn put(&self, partition: PartitionId, frame: Arc<Frame>) -> usize {
        let bytes = frame.memory_bytes();
        if bytes > self.bytes_max {
            return 0;
        }
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let looked_at = inner.make_room(self.bytes_max - bytes);
        let place = (partition, frame.header().first);
        let was_used = false;
        inner.bytes += bytes;
        match inner.frames.insert(place, Cached { frame, was_used }) {
            Some(same) => inner.bytes -= same.frame.memory_bytes(),
            None => inner.turns.push_back(place),
        }
        looked_at
    }
}

impl Inner {
    /// Lets frames go until at most `bytes_left` are held.
    fn make_room(&mut self, bytes_left: usize) -> usize {
        let (mut looked_at, mut spared) = (0, 0);
        while self.bytes > bytes_left {
            let Some(place) = self.turns.pop_front() else {
                break;
            };
            looked_at += 1;
            if let Some(cached) = self.frames.get_mut(&place)
                && cached.was_used
                && spared < SPARED_MAX
            {
                cached.was_used = false;
                spared += 1;
                self.turns.push_back(place);
            } else if let Some(gone) = self.frames.remove(&place) {
                self.bytes -= gone.frame.memory_bytes();
            }
        }
        looked_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::frame::fixtures::{deposit, deposited};
    use crate::log::frame::{FrameBuilder, FrameHash};
    use crate::time::Timestamp;

    const P0: PartitionId = PartitionId(0);
    const FRAMES: u64 = 60_000;
    /// Offsets from here on take the same bytes all.
    const FROM: u64 = 1_000_000;

    /// Frames of one event each, as single callers leave them.
    fn frames(offsets: impl Iterator<Item = u64>) -> impl Iterator<Item = Arc<Frame>> {
        let mut builder = FrameBuilder::new();
        offsets.map(move |offset| {
            let kind = builder.kind(&deposited());
            let draft = deposit(kind, offset, b"abc");
            builder.push(Timestamp(1), &draft).unwrap();
            let (id, before) = (uuid::Uuid::nil(), FrameHash::default());
            let sealed = builder.seal(P0, Offset(offset), id, before, &[]).unwrap();
            Arc::new(Frame::parse(&sealed.bytes).unwrap())
        })
    }

    /// Story: once the cache was full each miss walked all its frames, under the lock that all partitions share.
    #[test]
    fn room_for_a_frame_takes_no_walk_over_all() {
        let one = frames(FROM..FROM + 1).next().unwrap().memory_bytes();
        let cache = FrameCache::new(one * FRAMES as usize);
        let mut all = frames(FROM..FROM + 2 * FRAMES);
        let filling = all.by_ref().take(FRAMES as usize);
        let looked_at: usize = filling.map(|frame| cache.put(P0, frame)).sum();
        assert_eq!(looked_at, 0);
        for offset in FROM..FROM + FRAMES / 2 {
            assert!(cache.get(P0, Offset(offset)).is_some());
        }
        let mut looked_at = 0;
        for frame in all {
            let by_this = cache.put(P0, frame);
            assert!(by_this <= SPARED_MAX + 1, "{by_this} frames for one");
            looked_at += by_this as u64;
        }
        // One for each that went, and one for each that was used.
        assert!(looked_at <= FRAMES + FRAMES / 2, "{looked_at}");
        let inner = cache.inner.lock().unwrap();
        assert_eq!(inner.turns.len(), inner.frames.len());
        let bytes = inner.frames.values().map(|it| it.frame.memory_bytes());
        assert_eq!(inner.bytes, bytes.sum::<usize>());
    }

    #[test]
    fn what_is_used_stays() {
        let one = frames(FROM..FROM + 1).next().unwrap().memory_bytes();
        let cache = FrameCache::new(one * 10);
        for frame in frames(FROM..FROM + 100) {
            cache.put(P0, frame);
            let _ = cache.get(P0, Offset(FROM));
        }
        assert!(cache.get(P0, Offset(FROM)).is_some());
        assert!(cache.get(P0, Offset(FROM + 1)).is_none());
        assert!(cache.get(P0, Offset(FROM + 99)).is_some());
        // The same frame again takes no room of its own.
        let again = frames(FROM + 99..FROM + 100).next().unwrap();
        cache.put(P0, again);
        let inner = cache.inner.lock().unwrap();
        assert_eq!(inner.turns.len(), inner.frames.len());
    }
}
