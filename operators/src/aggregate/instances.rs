//! The instances of one aggregate type that are resident in one partition.
//!
//! A slab with a table of numbers beside it: an instance costs its state, its id and about sixty bytes,
//! and growing moves no instance. Who is passivated is decided by a hand
//! that goes round (the CLOCK algorithm, Corbató 1968), so that touching an instance is one store, not
//! two list operations.

use std::collections::VecDeque;

use compact_str::CompactString;
use hashbrown::HashTable;
use millstream_engine::stage::{caught, panic_message};

use super::slab::Slab;

/// One resident instance.
#[derive(Debug)]
pub(super) struct Instance<A> {
    /// Id without the category; empty in a vacant place.
    pub(super) id: CompactString,
    /// From the hash of the whole stream id, see [`fold`]. Half of it is enough to grow the table by.
    pub(super) fold: u32,
    pub(super) state: A,
    /// Events of its stream, those in flight included.
    pub(super) events: u64,
    /// Submission that carries the last of them; pinned until that is durable.
    pub(super) frame: u64,
    /// Second of its last use.
    pub(super) used: u32,
    /// Events since its last snapshot.
    pub(super) unsaved: u16,
    /// Estimate of what its state holds on the heap, in bytes.
    pub(super) heap_bytes: u32,
    /// Its state cannot be trusted: to be activated anew once nothing of it is in flight.
    pub(super) broken: bool,
}

/// Half of a stream's hash.
pub(super) fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// The hash that the table sees: spread again, since it looks at the highest bits and the lowest.
fn spread(fold: u32) -> u64 {
    u64::from(fold).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// All resident instances.
#[derive(Debug)]
pub(super) struct Instances<A> {
    table: HashTable<u32>,
    slots: Slab<Instance<A>>,
    vacant: Vec<u32>,
    heap_bytes: u64,
    /// Submissions in flight, each with what the instances weigh whose last event it carries.
    pinned: VecDeque<(u64, u64)>,
    hand: usize,
}

impl<A: Default> Instances<A> {
    pub(super) fn new() -> Self {
        Self {
            table: HashTable::new(),
            slots: Slab::new(),
            vacant: Vec::new(),
            heap_bytes: 0,
            pinned: VecDeque::new(),
            hand: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Estimate of the memory that all instances take.
    pub(super) fn bytes(&self) -> u64 {
        self.table.len() as u64 * weight::<A>(0) + self.heap_bytes
    }

    /// What those of them take that must stay, since events of theirs are in flight.
    pub(super) fn pinned_bytes(&self) -> u64 {
        self.pinned.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Says that this submission carries the last event of an instance.
    pub(super) fn wrote(&mut self, slot: u32, frame: u64) {
        let instance = &mut self.slots[slot as usize];
        let before = std::mem::replace(&mut instance.frame, frame);
        if before == frame {
            return;
        }
        let bytes = weight::<A>(instance.heap_bytes);
        if let Some(pinned) = self.pinned_by(before) {
            *pinned -= bytes;
        }
        match self.pinned.back_mut() {
            Some((last, pinned)) if *last == frame => *pinned += bytes,
            _ => self.pinned.push_back((frame, bytes)),
        }
    }

    /// All submissions up to this one are durable.
    pub(super) fn settled(&mut self, frame: u64) {
        while self
            .pinned
            .front()
            .is_some_and(|(first, _)| *first <= frame)
        {
            self.pinned.pop_front();
        }
    }

    fn pinned_by(&mut self, frame: u64) -> Option<&mut u64> {
        let mut pinned = self.pinned.iter_mut().rev();
        let found = pinned.find(|(number, _)| *number == frame);
        found.map(|(_, bytes)| bytes)
    }

    pub(super) fn find(&self, hash: u64, id: &str) -> Option<u32> {
        self.table
            .find(spread(fold(hash)), |&slot| {
                self.slots[slot as usize].id == id
            })
            .copied()
    }

    /// The same, of one that was there a moment ago at `slot`, as far as is known.
    #[inline]
    pub(super) fn find_again(&self, seen: Option<u32>, hash: u64, id: &str) -> Option<u32> {
        match seen {
            // A place that was vacated has no id, and no stream has an empty one.
            Some(slot) if self.slots[slot as usize].id == id => seen,
            _ => self.find(hash, id),
        }
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Instance<A> {
        &mut self.slots[slot as usize]
    }

    /// Takes in an instance that is not there.
    pub(super) fn insert(&mut self, instance: Instance<A>) -> u32 {
        let hash = spread(instance.fold);
        self.heap_bytes += u64::from(instance.heap_bytes);
        let slot = match self.vacant.pop() {
            Some(slot) => {
                let vacant = std::mem::replace(&mut self.slots[slot as usize], instance);
                guarded(|| drop(vacant));
                slot
            }
            None => {
                self.slots.push(instance);
                u32::try_from(self.slots.len() - 1).expect("four billion instances fit no memory")
            }
        };
        let slots = &self.slots;
        self.table
            .insert_unique(hash, slot, |&slot| spread(slots[slot as usize].fold));
        slot
    }

    pub(super) fn set_heap_bytes(&mut self, slot: u32, bytes: u32) {
        let instance = &mut self.slots[slot as usize];
        let (before, frame) = (instance.heap_bytes, instance.frame);
        instance.heap_bytes = bytes;
        self.heap_bytes = self.heap_bytes - u64::from(before) + u64::from(bytes);
        if let Some(pinned) = self.pinned_by(frame) {
            *pinned = *pinned - u64::from(before) + u64::from(bytes);
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let instance = &mut self.slots[slot as usize];
        let hash = spread(instance.fold);
        if let Ok(entry) = self.table.find_entry(hash, |&found| found == slot) {
            entry.remove();
        }
        self.heap_bytes -= u64::from(instance.heap_bytes);
        let (frame, bytes) = (instance.frame, weight::<A>(instance.heap_bytes));
        instance.id = CompactString::default();
        instance.heap_bytes = 0;
        // The state's own memory goes now, not when the place is used again. Last, since it is the program's own code that may panic.
        let state = &mut instance.state;
        guarded(|| drop(std::mem::take(state)));
        self.vacant.push(slot);
        if let Some(pinned) = self.pinned_by(frame) {
            *pinned -= bytes;
        }
    }

    /// Moves the hand over up to `steps` places and does with each instance what `judge` says; gives how
    /// many were removed.
    pub(super) fn sweep(
        &mut self,
        steps: usize,
        mut judge: impl FnMut(&Instance<A>) -> Verdict,
    ) -> u64 {
        let mut removed = 0;
        let mut left = self.table.len();
        for _ in 0..steps.min(self.slots.len()) {
            if left == 0 {
                break; // Nothing but vacant places is left.
            }
            self.hand = if self.hand + 1 < self.slots.len() {
                self.hand + 1
            } else {
                0
            };
            let instance = &self.slots[self.hand];
            if instance.id.is_empty() {
                continue;
            }
            left -= 1;
            match judge(instance) {
                Verdict::Keep => {}
                Verdict::Remove => {
                    self.remove(self.hand as u32);
                    removed += 1;
                }
                Verdict::Stop => break,
            }
        }
        removed
    }
}

/// Estimate of the memory that an instance takes with so much on the heap.
pub(super) const fn weight<A>(heap_bytes: u32) -> u64 {
    (size_of::<Instance<A>>() + 8) as u64 + heap_bytes as u64
}

/// Runs `Default` or a destructor of a state: nobody's command, so that nobody is told of its panic.
fn guarded(run: impl FnOnce()) {
    if let Err(panic) = caught(run) {
        let message = panic_message(&*panic);
        tracing::error!(message, "letting an aggregate's state go panicked");
    }
}

/// What a sweep does with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
    /// It stays, and the sweep is over.
    Stop,
}

impl Verdict {
    pub(super) fn remove_if(goes: bool) -> Self {
        if goes { Self::Remove } else { Self::Keep }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Collisions on purpose.
    fn hash(id: &str) -> u64 {
        millstream_engine::event::stream_hash(id) % 7
    }

    fn instance(id: &str, state: u64) -> Instance<u64> {
        Instance {
            id: id.into(),
            fold: fold(hash(id)),
            state,
            events: state,
            frame: 0,
            used: 0,
            unsaved: 0,
            heap_bytes: state as u32,
            broken: false,
        }
    }

    proptest! {
        /// Against a map: what is inserted is found, what is removed is gone, the bytes add up.
        #[test]
        fn a_map_with_a_hand(steps in prop::collection::vec((0u8..4, "[a-e]{1,2}", 1u64..100), 0..200)) {
            let (mut instances, mut model) = (Instances::new(), BTreeMap::new());
            for (step, id, state) in steps {
                match (step, instances.find(hash(&id), &id)) {
                    (0 | 1, None) => {
                        instances.insert(instance(&id, state));
                        model.insert(id, state);
                    }
                    (2, Some(slot)) => {
                        instances.remove(slot);
                        model.remove(&id);
                    }
                    (3, _) => {
                        instances.sweep(usize::MAX, |instance| Verdict::remove_if(instance.state < 20));
                        model.retain(|_, state| *state >= 20);
                    }
                    _ => {}
                }
                prop_assert_eq!(instances.len(), model.len());
                for (id, state) in &model {
                    let slot = instances.find(hash(id), id).unwrap();
                    prop_assert_eq!(instances.get_mut(slot).state, *state);
                }
                let heap: u64 = model.values().sum();
                let each = (size_of::<Instance<u64>>() + 8) as u64;
                prop_assert_eq!(instances.bytes(), heap + each * model.len() as u64);
            }
        }
    }

    /// The promise to users: an instance at rest costs its state and at most a hundred bytes.
    #[test]
    fn an_instance_is_small() {
        // 5 bytes of table per place, at least half full.
        assert!(size_of::<Instance<[u64; 3]>>() - 24 + 10 <= 70);
    }
}
