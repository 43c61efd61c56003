//! A table that is larger than its memory: entries in pages, of which the ones used last are in memory and the others in
//! a [store](millstream_engine::spill).
//!
//! Entries lie in the order of their places, as they do in memory alone, so that those that came at one time lie
//! together. What is known of every key is 8 bytes in an index (its place and a part of its hash), as in Chandramouli et
//! al., "FASTER: a concurrent key-value store with in-place updates", 2018; a page is only read to look at an entry whose
//! hash fits. Pages are given up by the clock algorithm (Corbató, "A paging experiment with the Multics system", 1968).
//! Failure: a page that cannot be read back is a panic, which begins the dataflow again from its last checkpoint; one that
//! cannot be written stays in memory, and the next [`settle`](super::Table::settle) says why.

use std::fmt;

use hashbrown::HashTable;
use millstream_engine::spill::{PageOwner, SpillError, SpillStore};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Entries of a page; few in tests of operators, so that a handful of keys lies in several.
pub(super) const PAGE: usize = if cfg!(test) { 2 } else { 32 };
/// Pages that are given up at a time: one transaction.
const GIVE_UP: usize = if cfg!(test) { 3 } else { 64 };
/// Pages that stay in memory whatever it costs.
const PAGES_MIN: usize = if cfg!(test) { 1 } else { 4 };

/// An entry; none only while a table is put together.
type Slot<K, A> = Option<(K, A)>;

/// How pages are written and read.
pub(super) struct Codec<K, A> {
    encode: fn(&[Slot<K, A>], &mut Vec<u8>) -> Result<(), String>,
    decode: fn(&[u8]) -> Result<Vec<Slot<K, A>>, String>,
    encode_one: fn(&K, &A) -> Option<usize>,
}

impl<K, A> Clone for Codec<K, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, A> Copy for Codec<K, A> {}

impl<K: Serialize + DeserializeOwned, A: Serialize + DeserializeOwned> Codec<K, A> {
    /// As checkpoints write them, so that whatever can be in those can be in pages.
    pub(super) fn new() -> Self {
        Self {
            encode: |slots, into| {
                rmp_serde::encode::write_named(into, slots).map_err(|error| error.to_string())
            },
            decode: |bytes| rmp_serde::from_slice(bytes).map_err(|error| error.to_string()),
            encode_one: |key, value| {
                let bytes = rmp_serde::to_vec_named(&(key, value));
                bytes.ok().map(|bytes| bytes.len())
            },
        }
    }
}

impl<K, A> Codec<K, A> {
    /// Bytes of an entry when it is written.
    pub(super) fn bytes_of(&self, key: &K, value: &A) -> usize {
        (self.encode_one)(key, value).unwrap_or(0)
    }
}

/// Where an entry is, and enough of its hash to tell most others from it.
#[derive(Clone, Copy)]
struct Known {
    hash: u32,
    place: u32,
}

impl Known {
    /// What the index goes by: all that is known of the hash, spread over all bits again.
    const fn spread(hash: u32) -> u64 {
        (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

struct Page<K, A> {
    /// None: they are stored.
    slots: Option<Vec<Slot<K, A>>>,
    /// Since the clock's hand passed.
    is_used: bool,
    /// What is stored is what it is.
    is_stored: bool,
}

pub(super) struct Paged<K, A> {
    index: HashTable<Known>,
    pages: Vec<Page<K, A>>,
    len: usize,
    owner: PageOwner,
    codec: Codec<K, A>,
    /// Pages in memory, and how many there may be.
    in_memory: usize,
    in_memory_max: usize,
    hand: usize,
    /// Bytes of an entry as it is written, on average.
    entry_bytes: usize,
    failed: Option<SpillError>,
    buffer: Vec<u8>,
}

/// The part of a hash that is kept.
const fn kept(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<K, A> Paged<K, A> {
    pub(super) fn new(
        store: &std::sync::Arc<SpillStore>,
        codec: Codec<K, A>,
        entry_bytes: usize,
    ) -> Self {
        let mut paged = Self {
            index: HashTable::new(),
            pages: Vec::new(),
            len: 0,
            owner: PageOwner::new(store),
            codec,
            in_memory: 0,
            in_memory_max: PAGES_MIN,
            hand: 0,
            entry_bytes,
            failed: None,
            buffer: Vec::new(),
        };
        paged.allow(store.budget().left() / 4);
        paged
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.in_memory * self.page_bytes()
            + self.pages.capacity() * size_of::<Page<K, A>>()
            + self.index.capacity() * (size_of::<Known>() + 1)
    }

    fn page_bytes(&self) -> usize {
        PAGE * (size_of::<Slot<K, A>>() + self.entry_bytes)
    }

    /// Lets so many bytes more be taken until it is asked again.
    pub(super) fn allow(&mut self, bytes: usize) {
        self.in_memory_max = (self.in_memory + bytes / self.page_bytes()).max(PAGES_MIN);
    }

    /// Gives up pages until it has so many bytes, and takes no more until it is asked again.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let above = self.bytes().saturating_sub(bytes);
        let pages = above.div_ceil(self.page_bytes());
        let wanted = self.in_memory.saturating_sub(pages).max(PAGES_MIN);
        self.in_memory_max = wanted;
        while self.in_memory > wanted && self.failed.is_none() {
            self.give_up(GIVE_UP.min(self.in_memory - wanted));
        }
    }

    /// Why pages could not be given up, if that was tried.
    pub(super) const fn failed(&self) -> Option<&SpillError> {
        self.failed.as_ref()
    }

    /// Puts `count` pages out of memory, those first that were not used for longest.
    fn give_up(&mut self, count: usize) {
        let mut chosen: Vec<usize> = Vec::with_capacity(count);
        // Twice round: the first time all may have been used.
        for _ in 0..self.pages.len() * 2 {
            if chosen.len() == count {
                break;
            }
            self.hand = (self.hand + 1) % self.pages.len();
            let page = &mut self.pages[self.hand];
            if page.slots.is_some() && !std::mem::take(&mut page.is_used) {
                if chosen.contains(&self.hand) {
                    break;
                }
                chosen.push(self.hand);
            }
        }
        match self.write(&chosen) {
            Ok(()) => {
                for &page in &chosen {
                    self.pages[page].slots = None;
                }
                self.in_memory -= chosen.len();
            }
            Err(error) => self.failed = Some(error),
        }
    }

    /// Stores those of the pages that are not stored as they are.
    fn write(&mut self, pages: &[usize]) -> Result<(), SpillError> {
        self.buffer.clear();
        let mut ends = Vec::with_capacity(pages.len());
        for &number in pages {
            let page = &self.pages[number];
            if let Some(slots) = page.slots.as_ref().filter(|_| !page.is_stored) {
                if let Err(cause) = (self.codec.encode)(slots, &mut self.buffer) {
                    panic!("state that checkpoints can write cannot be written: {cause}");
                }
                ends.push((number, self.buffer.len(), slots.len()));
            }
        }
        let (mut from, mut entries) = (0, 0);
        let mut rows = Vec::with_capacity(ends.len());
        for &(number, end, len) in &ends {
            rows.push((number as u32, &self.buffer[from..end]));
            (from, entries) = (end, entries + len);
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.owner.write(rows)?;
        // Half of what it was and half of what is seen.
        self.entry_bytes = (self.entry_bytes + self.buffer.len() / entries.max(1)).div_ceil(2);
        for (number, ..) in ends {
            self.pages[number].is_stored = true;
        }
        Ok(())
    }

    /// Reads a page that is stored.
    fn read(&self, number: usize) -> Vec<Slot<K, A>> {
        let read = self.owner.read(number as u32, self.codec.decode);
        match read {
            Ok(Ok(slots)) => slots,
            Ok(Err(cause)) => panic!("state on disk cannot be read back: {cause}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// How many slots a page has.
    fn len_of(&self, number: usize) -> usize {
        (self.len - number * PAGE).min(PAGE)
    }

    /// Makes room for one page more.
    #[inline]
    fn make_room(&mut self) {
        if self.in_memory >= self.in_memory_max && self.failed.is_none() {
            self.give_up(GIVE_UP.min(self.in_memory / PAGES_MIN));
        }
    }

    /// The slots of a page, which are in memory from now on.
    #[inline]
    fn slots(&mut self, number: usize) -> &mut Page<K, A> {
        if self.pages[number].slots.is_none() {
            self.bring(number);
        }
        let page = &mut self.pages[number];
        page.is_used = true;
        page
    }

    #[cold]
    fn bring(&mut self, number: usize) {
        self.make_room();
        let slots = if self.pages[number].is_stored {
            self.read(number)
        } else {
            // Of a table that is being put together: nothing was met of it yet.
            let len = self.len_of(number);
            std::iter::repeat_with(|| None).take(len).collect()
        };
        self.pages[number].slots = Some(slots);
        self.in_memory += 1;
    }

    /// The entry at a place.
    #[inline]
    pub(super) fn at(&mut self, place: usize) -> (&K, &A) {
        let (key, value) = entry(self.slots(place / PAGE), place);
        (key, value)
    }

    /// The entry at a place; [`changed`](Self::changed) must be said of it if it is.
    #[inline]
    pub(super) fn peek_mut(&mut self, place: usize) -> (&K, &mut A) {
        entry(self.slots(place / PAGE), place)
    }

    /// The entry at this place has changed; it was looked at last.
    #[inline]
    pub(super) fn changed(&mut self, place: usize) {
        self.pages[place / PAGE].is_stored = false;
    }

    /// The entry at a place, which counts as changed.
    #[inline]
    pub(super) fn at_mut(&mut self, place: usize) -> (&K, &mut A) {
        let page = self.slots(place / PAGE);
        page.is_stored = false;
        entry(page, place)
    }

    /// Place of a key.
    pub(super) fn find(&mut self, hash: u64, key: &K) -> Option<usize>
    where
        K: Eq,
    {
        let hash = kept(hash);
        let alike = self.index.iter_hash(Known::spread(hash));
        let alike = alike.filter(|known| known.hash == hash);
        // Nearly always one or none.
        let places: smallvec::SmallVec<[u32; 4]> = alike.map(|known| known.place).collect();
        let mut places = places.into_iter().map(|place| place as usize);
        places.find(|&place| self.at(place).0 == key)
    }

    /// Adds an entry whose key is not there; gives its place.
    pub(super) fn push(&mut self, hash: u64, key: K, value: A) -> usize {
        let place = self.len;
        if place.is_multiple_of(PAGE) {
            self.make_room();
            self.pages.push(Page {
                slots: Some(Vec::with_capacity(PAGE)),
                is_used: true,
                is_stored: false,
            });
            self.in_memory += 1;
        }
        let page = self.slots(place / PAGE);
        page.is_stored = false;
        page.slots
            .as_mut()
            .expect("it is in memory")
            .push(Some((key, value)));
        self.len += 1;
        self.know(hash, place);
        place
    }

    fn know(&mut self, hash: u64, place: usize) {
        let hash = kept(hash);
        let place = u32::try_from(place).expect("four billion keys fit no memory");
        let spread = |known: &Known| Known::spread(known.hash);
        self.index
            .insert_unique(Known::spread(hash), Known { hash, place }, spread);
    }

    /// Removes the entry at a place, which the last one takes; `hash_of` gives hashes of keys.
    pub(super) fn remove_at(&mut self, place: usize, hash_of: impl Fn(&K) -> u64) -> A {
        let last = self.len - 1;
        let (key, _) = self.at(last);
        let moved_hash = hash_of(key);
        let page = self.slots(last / PAGE);
        page.is_stored = false;
        let taken = page.slots.as_mut().and_then(Vec::pop);
        let taken = taken.flatten().expect("every place has an entry");
        self.len = last;
        if last.is_multiple_of(PAGE) {
            self.pages.pop();
            self.in_memory -= 1;
        }
        let (removed, hash) = if place == last {
            (taken, moved_hash)
        } else {
            let page = self.slots(place / PAGE);
            page.is_stored = false;
            let slots = page.slots.as_mut().expect("it is in memory");
            let removed = slots[place % PAGE].replace(taken);
            let removed = removed.expect("every place has an entry");
            let hash = hash_of(&removed.0);
            (removed, hash)
        };
        let is_at = |at: usize| move |known: &Known| known.place as usize == at;
        if let Ok(found) = self
            .index
            .find_entry(Known::spread(kept(hash)), is_at(place))
        {
            found.remove();
        }
        if place != last {
            let moved = Known::spread(kept(moved_hash));
            if let Some(known) = self.index.find_mut(moved, is_at(last)) {
                known.place = place as u32;
            }
        }
        removed.1
    }

    /// Shows entries in the order of their places; pages that are stored stay where they are.
    pub(super) fn show<E>(
        &self,
        places: impl Iterator<Item = usize>,
        mut show: impl FnMut(usize, &K, &A) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut read: Option<(usize, Vec<Slot<K, A>>)> = None;
        for place in places {
            let number = place / PAGE;
            let slots = match &self.pages[number].slots {
                Some(slots) => slots,
                None => {
                    if read.as_ref().is_none_or(|(of, _)| *of != number) {
                        read = Some((number, self.read(number)));
                    }
                    read.as_ref().map_or(&[][..], |(_, slots)| slots)
                }
            };
            let (key, value) = slots[place % PAGE].as_ref().expect("every place has one");
            show(place, key, value)?;
        }
        Ok(())
    }

    /// Takes all entries out, in their order, a page at a time.
    pub(super) fn into_entries(mut self) -> impl Iterator<Item = (K, A)> {
        let pages = 0..self.pages.len();
        pages
            .map(move |number| match self.pages[number].slots.take() {
                Some(slots) => slots,
                None => self.read(number),
            })
            .flat_map(|slots| slots.into_iter().flatten())
    }
}

/// Tables that are put together: entries come at any place, and then the index is made.
impl<K, A> Paged<K, A> {
    /// Makes it as long as it will be, with nothing at all places.
    pub(super) fn lay_out(&mut self, len: usize) {
        let page = || Page {
            slots: None,
            is_used: false,
            is_stored: false,
        };
        self.pages.resize_with(len.div_ceil(PAGE), page);
        self.len = len;
    }

    pub(super) fn put(&mut self, place: usize, key: K, value: A) {
        let page = self.slots(place / PAGE);
        page.is_stored = false;
        let slots = page.slots.as_mut().expect("it is in memory");
        slots[place % PAGE] = Some((key, value));
    }

    /// All places have their entries.
    pub(super) fn make_index(&mut self, hash_of: impl Fn(&K) -> u64) {
        self.index
            .reserve(self.len, |known| Known::spread(known.hash));
        let mut hashes = Vec::with_capacity(self.len);
        let shown = self.show(0..self.len, |_, key, _| {
            hashes.push(kept(hash_of(key)));
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = shown;
        for (place, hash) in hashes.into_iter().enumerate() {
            self.know(u64::from(hash) << 32, place);
        }
    }
}

/// The entry of a page that is in memory.
#[inline]
fn entry<K, A>(page: &mut Page<K, A>, place: usize) -> (&K, &mut A) {
    let slots = page.slots.as_mut().expect("it is in memory");
    let (key, value) = slots[place % PAGE]
        .as_mut()
        .expect("every place has an entry");
    (key, value)
}

impl<K, A> fmt::Debug for Paged<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paged")
            .field("len", &self.len)
            .field("in_memory", &self.in_memory)
            .finish_non_exhaustive()
    }
}
