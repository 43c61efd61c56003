//! What a ladder may take of the memory that all state of a dataflow shares.
//!
//! When all of it is used, the buckets that are due last give up chunks, in proportion to what the ladder has; a chunk comes
//! back when its bucket is divided or sorted, and may go again to be divided further. So of a ladder there need be in memory
//! what is sorted, and of each bucket less than a page.
//! Failure: as that of [tables](crate::table): a chunk that cannot be read back is a panic, and one that cannot be written
//! stays in memory and the next [`settle`](super::Ladder::settle) says why.

use std::sync::Arc;

use millstream_engine::flow::Fault;
use millstream_engine::spill::{MemoryShare, PageOwner, SpillError, SpillStore};
use millstream_engine::stage::still_working;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bucket::{CHUNK, Chunk};
use super::rung::Rung;
use super::{Ladder, Ranked};
use crate::table::StateMemory;

/// Chunks that are given up at a time: one transaction.
const GIVE_UP: usize = if cfg!(test) { 3 } else { 16 };
/// Entries that are measured at a time.
const MEASURED: usize = 16;
/// After so many looks entries are measured again: those of another kind may have come.
const LOOKS: usize = if cfg!(test) { 2 } else { 16 };

/// Appends entries to bytes.
type Encode<T> = fn(&[T], &mut Vec<u8>) -> Result<(), String>;
/// Reads them back.
type Decode<T> = fn(&[u8]) -> Result<Vec<T>, String>;

/// The part of a ladder that is on disk, and what the rest takes of memory.
pub(super) struct Spilling<T> {
    share: MemoryShare,
    owner: PageOwner,
    encode: Encode<T>,
    decode: Decode<T>,
    /// Bytes of an entry as it is written, on average.
    entry_bytes: usize,
    looks: usize,
    until_look: usize,
    /// Entries and pages on disk.
    entries: usize,
    pages: usize,
    /// Numbers of pages that have nothing, of those below `next`.
    free: Vec<u32>,
    next: u32,
    failed: Option<SpillError>,
}

impl<T> Spilling<T> {
    fn new(store: &Arc<SpillStore>) -> Self
    where
        T: Serialize + DeserializeOwned,
    {
        Self {
            share: MemoryShare::new(Arc::clone(store.budget())),
            owner: PageOwner::new(store),
            // As checkpoints write keys, so that whatever can be in those can be in pages.
            encode: |entries, into| {
                rmp_serde::encode::write_named(into, entries).map_err(|error| error.to_string())
            },
            decode: |bytes| rmp_serde::from_slice(bytes).map_err(|error| error.to_string()),
            entry_bytes: 0,
            looks: 0,
            until_look: CHUNK,
            entries: 0,
            pages: 0,
            free: Vec::new(),
            next: 0,
            failed: None,
        }
    }

    /// So many entries have come; whether it is time to look how much memory there is.
    #[inline]
    pub(super) const fn is_to_look(&mut self, entries: usize) -> bool {
        self.until_look = self.until_look.saturating_sub(entries);
        self.until_look == 0
    }

    /// Nothing that is stored is wanted any more.
    pub(super) fn clear(&mut self) {
        if self.next > 0 {
            self.owner = PageOwner::new(self.owner.store());
        }
        (self.entries, self.pages, self.next) = (0, 0, 0);
        self.free.clear();
    }

    /// Measures some entries: at first, and now and then.
    fn measure(&mut self, entries: &[T]) {
        self.looks = self.looks.saturating_sub(1);
        if self.looks > 0 || entries.is_empty() {
            return;
        }
        self.looks = LOOKS;
        let some = &entries[..entries.len().min(MEASURED)];
        let mut bytes = Vec::new();
        if (self.encode)(some, &mut bytes).is_ok() {
            self.entry_bytes = bytes.len().div_ceil(some.len());
        }
    }

    /// Bytes of an entry in memory, about.
    const fn bytes_each(&self) -> usize {
        size_of::<T>() + self.entry_bytes
    }

    /// A page with nothing in it.
    fn free_page(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn is_free(&mut self, page: u32) {
        self.free.push(page);
        self.pages -= 1;
    }

    /// Appends the entries to what is written.
    fn encode(&self, entries: &[T], into: &mut Vec<u8>) {
        if let Err(cause) = (self.encode)(entries, into) {
            panic!("state that checkpoints can write cannot be written: {cause}");
        }
    }

    /// Puts chunks on disk, which are in memory.
    fn write(&mut self, chunks: &mut [&mut Chunk<T>]) {
        // One turn may write many of them, which takes long and is no hang.
        still_working();
        let (mut buffer, mut ends) = (Vec::new(), Vec::with_capacity(chunks.len()));
        for chunk in &*chunks {
            if let Chunk::Memory(entries) = &**chunk {
                self.encode(entries, &mut buffer);
            }
            let page = self.free_page();
            ends.push((page, buffer.len()));
        }
        let mut from = 0;
        let rows = ends.iter().map(|&(page, end)| {
            let bytes = &buffer[from..end];
            from = end;
            (page, bytes)
        });
        if let Err(error) = self.owner.write(rows) {
            self.free.extend(ends.iter().map(|(page, _)| page));
            self.failed = Some(error);
            return;
        }
        for (chunk, (page, _)) in chunks.iter_mut().zip(ends) {
            if let Chunk::Memory(entries) = &**chunk {
                let len = entries.len() as u32;
                self.entries += entries.len();
                self.pages += 1;
                **chunk = Chunk::Disk { page, len };
            }
        }
    }

    fn read(&self, page: u32) -> Vec<T> {
        // One turn may read all of them, which takes long and is no hang.
        still_working();
        match self.owner.read(page, self.decode) {
            Ok(Ok(entries)) => entries,
            Ok(Err(cause)) => panic!("state on disk cannot be read back: {cause}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes a page with so many entries off the disk.
    #[cold]
    pub(super) fn take(&mut self, page: u32, len: u32) -> Vec<T> {
        let entries = self.read(page);
        self.entries -= len as usize;
        self.is_free(page);
        entries
    }

    /// Drops entries of chunks on disk but those that are to be kept; gives how many. The pages are written in one
    /// transaction: if that fails, they have what they had.
    pub(super) fn retain(
        &mut self,
        chunks: &mut [Chunk<T>],
        mut is_kept: impl FnMut(&T) -> bool,
    ) -> usize {
        let before = self.entries;
        let (mut buffer, mut changed) = (Vec::new(), Vec::new());
        for (number, chunk) in chunks.iter_mut().enumerate() {
            let Chunk::Disk { page, len } = *chunk else {
                continue;
            };
            let mut entries = self.read(page);
            entries.retain(&mut is_kept);
            let left = entries.len() as u32;
            if left == 0 {
                self.entries -= len as usize;
                self.is_free(page);
                *chunk = Chunk::Memory(Vec::new());
            } else if left < len {
                self.encode(&entries, &mut buffer);
                changed.push((number, Chunk::Disk { page, len: left }, buffer.len()));
            }
        }
        let mut from = 0;
        let rows = changed.iter().filter_map(|(_, chunk, end)| {
            let bytes = &buffer[std::mem::replace(&mut from, *end)..*end];
            let Chunk::Disk { page, .. } = chunk else {
                return None;
            };
            Some((*page, bytes))
        });
        if !buffer.is_empty()
            && let Err(error) = self.owner.write(rows)
        {
            self.failed = Some(error);
            return before - self.entries;
        }
        for (number, chunk, _) in changed {
            let old = std::mem::replace(&mut chunks[number], chunk);
            self.entries -= old.on_disk() - chunks[number].on_disk();
        }
        before - self.entries
    }
}

impl<T> Ladder<T> {
    /// It shares this memory from now on.
    pub(crate) fn share(&mut self, memory: &StateMemory)
    where
        T: Serialize + DeserializeOwned,
    {
        if self.spilling.is_none() {
            let store = memory.store();
            self.spilling = store.map(|store| Box::new(Spilling::new(store)));
        }
    }

    /// Bytes in memory, about.
    fn bytes(&self, spilling: &Spilling<T>) -> usize {
        (self.len - spilling.entries) * spilling.bytes_each()
            + self.rungs.len() * Rung::<T>::bytes()
            + spilling.pages * size_of::<Chunk<T>>()
    }
}

impl<T: Ranked> Ladder<T> {
    /// Says how large it is, and gives up what is too much: at the end of a turn.
    ///
    /// # Errors
    /// [`Fault`]: what is too much cannot be kept on disk.
    #[inline]
    pub(crate) fn settle(&mut self) -> Result<(), Fault> {
        if self.spilling.is_none() {
            return Ok(());
        }
        self.look();
        match self
            .spilling
            .as_ref()
            .and_then(|spilling| spilling.failed.as_ref())
        {
            Some(error) => Err(Fault(error.to_string())),
            None => Ok(()),
        }
    }

    /// The same within a turn; what cannot be given up is told at its end.
    pub(super) fn look(&mut self) {
        let Some(mut spilling) = self.spilling.take() else {
            return;
        };
        spilling.until_look = CHUNK;
        spilling.measure(match self.top.some() {
            [] => &self.sorted,
            some => some,
        });
        let bytes = self.bytes(&spilling);
        spilling.share.set(bytes);
        if let Some(wanted) = spilling.share.wanted()
            && spilling.failed.is_none()
        {
            let above = bytes.saturating_sub(wanted);
            let entries = above.div_ceil(spilling.bytes_each());
            self.give_up(&mut spilling, entries);
            spilling.share.set(self.bytes(&spilling));
        }
        self.spilling = Some(spilling);
    }

    /// Puts about so many entries on disk, those first that are due last.
    fn give_up(&mut self, spilling: &mut Spilling<T>, entries: usize) {
        let rungs = self.rungs.iter_mut();
        let below = rungs.flat_map(|rung| rung.buckets_mut().iter_mut().rev());
        let (mut chosen, mut left) = (Vec::new(), entries);
        for bucket in std::iter::once(&mut self.top).chain(below) {
            if left == 0 {
                break;
            }
            left = bucket.choose(left, &mut chosen);
        }
        for some in chosen.chunks_mut(GIVE_UP) {
            spilling.write(some);
            if spilling.failed.is_some() {
                return;
            }
        }
    }
}
