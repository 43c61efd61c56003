//! What a table may take of the memory that all state of a dataflow shares.
//!
//! A table in memory alone says how large it is at the end of each turn. When more than half of the memory is used, tables
//! begin to lie in pages, and when all of it is used, each gives up pages in proportion to what it has.

use std::hash::Hash;
use std::sync::Arc;

use millstream_engine::flow::{Fault, Wiring};
use millstream_engine::spill::{MemoryShare, SpillStore};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::paged::{Codec, PAGE, Paged};
use super::{Table, hash_of};

/// Entries that are measured at a time.
const MEASURED: usize = 16;
/// After so many turns entries are measured again.
const LOOKS: usize = if cfg!(test) { 2 } else { 16 };
/// Smaller tables stay in memory.
const ENTRIES_MIN: usize = if cfg!(test) { 1 } else { 2 * PAGE };

/// Where state goes that does not fit into memory; nowhere, if memory is all there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateMemory(Option<Arc<SpillStore>>);

impl StateMemory {
    /// What the engine of a stage gives.
    pub(crate) fn of(wiring: &Wiring) -> Self {
        Self(wiring.resources.get::<SpillStore>())
    }
}

impl StateMemory {
    /// That place.
    pub(crate) const fn store(&self) -> Option<&Arc<SpillStore>> {
        self.0.as_ref()
    }

    /// The same for tables of such keys and values.
    pub(crate) fn for_tables<K, A>(&self) -> TableMemory<K, A>
    where
        K: Serialize + DeserializeOwned,
        A: Serialize + DeserializeOwned,
    {
        let store = self.0.as_ref();
        TableMemory(store.map(|store| (Arc::clone(store), Codec::new())))
    }
}

/// Where entries of such keys and values go that do not fit into memory.
pub(crate) struct TableMemory<K, A>(Option<(Arc<SpillStore>, Codec<K, A>)>);

impl<K, A> Default for TableMemory<K, A> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K, A> Clone for TableMemory<K, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, A> TableMemory<K, A> {
    /// What one more table takes of it.
    pub(super) fn take_part(&self) -> Option<Memory<K, A>> {
        self.0.as_ref().map(|(store, codec)| Memory {
            share: MemoryShare::new(Arc::clone(store.budget())),
            store: Arc::clone(store),
            codec: *codec,
            entry_bytes: 0,
            measured_at: 0,
            looks: 0,
        })
    }
}

/// What one table takes of it.
pub(super) struct Memory<K, A> {
    store: Arc<SpillStore>,
    share: MemoryShare,
    codec: Codec<K, A>,
    /// Bytes of an entry as it is written, on average.
    entry_bytes: usize,
    /// How many entries there were when that was measured, and how often it was looked since.
    measured_at: usize,
    looks: usize,
}

impl<K, A> Memory<K, A> {
    /// Says how large entries are that lie in memory, and an index of them.
    pub(super) fn tell(&mut self, entries: &Vec<(K, A)>, index_bytes: usize) {
        self.measure(entries);
        let inline = entries.capacity() * size_of::<(K, A)>();
        self.share
            .set(inline + entries.len() * self.entry_bytes + index_bytes);
    }

    /// Bytes of an entry as it is written, on average.
    pub(super) const fn entry_bytes(&self) -> usize {
        self.entry_bytes
    }

    /// Measures some entries, when there are a quarter more or fewer than when that was done last, and now and then, since
    /// they may grow.
    fn measure(&mut self, entries: &[(K, A)]) {
        let (len, last) = (entries.len(), self.measured_at);
        self.looks += 1;
        let is_due = len.abs_diff(last) > last / 4 || self.looks >= LOOKS;
        if len == 0 || !is_due {
            return;
        }
        (self.measured_at, self.looks) = (len, 0);
        let some = entries.iter().step_by(len.div_ceil(MEASURED));
        let count = some.len();
        let bytes = some.map(|(key, value)| self.codec.bytes_of(key, value));
        self.entry_bytes = bytes.sum::<usize>().div_ceil(count);
    }

    /// Whether more than half of the memory is used.
    pub(super) fn is_little(&self) -> bool {
        let budget = self.share.budget();
        budget.used() > budget.limit() / 2
    }

    /// Pages with nothing in them yet, and with room for so many entries that lie in memory, as far as there is any: what fits
    /// into memory is not written.
    pub(super) fn begin_pages(&mut self, entries: usize) -> Box<Paged<K, A>> {
        let mut paged = Paged::new(&self.store, self.codec, self.entry_bytes);
        let wanted = paged.bytes_of(entries);
        // What entries point to moves with them. Where they lie themselves is given back once all have moved, so that the pages
        // come beside it until then: for others, too, there is so much less meanwhile.
        let moves = entries * self.entry_bytes;
        let beside = wanted.saturating_sub(moves).min(self.share.budget().left());
        self.share.set(self.share.bytes() + beside);
        paged.allow(moves + beside);
        Box::new(paged)
    }

    /// Has pages give up what is too much.
    pub(super) fn settle(&mut self, paged: &mut Paged<K, A>) {
        self.looks += 1;
        if self.looks >= LOOKS {
            self.looks = 0;
            paged.measure(MEASURED);
        }
        self.share.set(paged.bytes());
        match self.share.wanted() {
            Some(bytes) => {
                paged.shrink_to(bytes);
                self.share.set(paged.bytes());
            }
            // A part of what is left, since others take some of it too.
            None => paged.allow(self.share.budget().left() / 8),
        }
    }
}

impl<K, A> Table<K, A> {
    /// It shares this memory from now on.
    pub(crate) fn share(&mut self, memory: &TableMemory<K, A>) {
        if self.memory.is_none() {
            self.memory = memory.take_part();
        }
    }

    /// The memory that it shares.
    pub(crate) fn shared(&self) -> TableMemory<K, A> {
        let memory = self.memory.as_ref();
        TableMemory(memory.map(|memory| (Arc::clone(&memory.store), memory.codec)))
    }
}

impl<K: Hash + Eq, A> Table<K, A> {
    /// Says how large it is, and gives up what is too much: at the end of a turn.
    ///
    /// # Errors
    /// [`Fault`]: what is too much cannot be kept on disk.
    #[inline]
    pub(crate) fn settle(&mut self) -> Result<(), Fault> {
        if self.memory.is_none() {
            return Ok(());
        }
        self.settle_memory()
    }

    fn settle_memory(&mut self) -> Result<(), Fault> {
        let Some(memory) = &mut self.memory else {
            return Ok(());
        };
        if self.paged.is_none() {
            let index = self.places.capacity() * (size_of::<u32>() + 1);
            memory.tell(&self.entries, index);
            if !memory.is_little() {
                return Ok(());
            }
            if self.entries.is_empty() {
                // What it held once takes memory that others need.
                (self.entries, self.places) = (Vec::new(), hashbrown::HashTable::new());
                memory.tell(&self.entries, 0);
            }
            if self.entries.len() < ENTRIES_MIN {
                return Ok(());
            }
            let mut paged = memory.begin_pages(self.entries.len());
            self.places = hashbrown::HashTable::new();
            for (key, value) in std::mem::take(&mut self.entries) {
                paged.push(hash_of(&key), key, value);
            }
            self.paged = Some(paged);
        }
        let Some(paged) = &mut self.paged else {
            return Ok(());
        };
        memory.settle(paged);
        match paged.failed() {
            Some(error) => Err(Fault(error.to_string())),
            None => Ok(()),
        }
    }
}

/// Inside of an `impl Operator`: the table in this field shares the dataflow's memory.
macro_rules! in_memory {
    ($table:ident) => {
        fn open(
            &mut self,
            wiring: &millstream_engine::flow::Wiring,
        ) -> Result<(), millstream_engine::flow::Fault> {
            let memory = $crate::table::StateMemory::of(wiring);
            self.$table.share(&memory.for_tables());
            Ok(())
        }

        fn flush(&mut self, _idle: bool) -> Result<(), millstream_engine::flow::Fault> {
            self.$table.settle()
        }
    };
}

pub(crate) use in_memory;

#[cfg(test)]
impl StateMemory {
    /// So many bytes, with a store in `folder`.
    pub(crate) fn new(folder: &std::path::Path, bytes: usize) -> Self {
        use millstream_engine::spill::MemoryBudget;
        let budget = Arc::new(MemoryBudget::new(bytes));
        let store = SpillStore::create(folder, budget).unwrap();
        Self(Some(Arc::new(store)))
    }

    /// Bytes that are used.
    pub(crate) fn used(&self) -> usize {
        self.0.as_ref().map_or(0, |store| store.budget().used())
    }

    /// Pages that were written and read.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        self.0
            .as_ref()
            .map_or((0, 0), |store| store.budget().traffic())
    }
}
