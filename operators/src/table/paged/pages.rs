//! Entries in pages: which are in memory, and how the others get there and away.

use std::fmt;
use std::sync::Arc;

use millstream_engine::spill::{PageOwner, SpillError, SpillStore};
use millstream_engine::stage::still_working;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Entries of a page; few in tests of operators, so that a handful of keys lies in several.
pub(in crate::table) const PAGE: usize = if cfg!(test) { 2 } else { 32 };
/// Pages that are given up at a time: one transaction.
const GIVE_UP: usize = if cfg!(test) { 3 } else { 64 };
/// Pages that stay in memory whatever it costs.
const PAGES_MIN: usize = if cfg!(test) { 1 } else { 4 };

/// An entry; none only while a table is put together.
type Slot<K, A> = Option<(K, A)>;

/// Appends slots to bytes.
type Encode<K, A> = fn(&[Slot<K, A>], &mut Vec<u8>) -> Result<(), String>;
/// Reads them back.
type Decode<K, A> = fn(&[u8]) -> Result<Vec<Slot<K, A>>, String>;

/// How pages are written and read.
pub(in crate::table) struct Codec<K, A> {
    encode: Encode<K, A>,
    decode: Decode<K, A>,
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
    pub(in crate::table) fn new() -> Self {
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
    pub(in crate::table) fn bytes_of(&self, key: &K, value: &A) -> usize {
        (self.encode_one)(key, value).unwrap_or(0)
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

/// Entries in pages.
pub(in crate::table) struct Pages<K, A> {
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
}

impl<K, A> Pages<K, A> {
    pub(in crate::table) fn new(
        store: &Arc<SpillStore>,
        codec: Codec<K, A>,
        entry_bytes: usize,
    ) -> Self {
        let mut pages = Self {
            pages: Vec::new(),
            len: 0,
            owner: PageOwner::new(store),
            codec,
            in_memory: 0,
            in_memory_max: PAGES_MIN,
            hand: 0,
            entry_bytes,
            failed: None,
        };
        pages.allow(store.budget().left() / 4);
        pages
    }

    pub(in crate::table) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes in memory, about.
    pub(in crate::table) fn bytes(&self) -> usize {
        self.in_memory * self.page_bytes() + self.pages.capacity() * size_of::<Page<K, A>>()
    }

    fn page_bytes(&self) -> usize {
        PAGE * (size_of::<Slot<K, A>>() + self.entry_bytes)
    }

    /// Lets so many bytes more be taken until it is asked again.
    pub(in crate::table) fn allow(&mut self, bytes: usize) {
        self.in_memory_max = (self.in_memory + bytes / self.page_bytes()).max(PAGES_MIN);
    }

    /// Gives up pages until it has so many bytes, and takes no more until it is asked again.
    pub(in crate::table) fn shrink_to(&mut self, bytes: usize) {
        let above = self.bytes().saturating_sub(bytes);
        let pages = above.div_ceil(self.page_bytes());
        let wanted = self.in_memory.saturating_sub(pages).max(PAGES_MIN);
        self.in_memory_max = wanted;
        while self.in_memory > wanted && self.failed.is_none() {
            self.give_up(GIVE_UP.min(self.in_memory - wanted));
        }
    }

    /// Why pages could not be given up, if that was tried.
    pub(in crate::table) const fn failed(&self) -> Option<&SpillError> {
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
        let (mut buffer, mut ends) = (Vec::new(), Vec::with_capacity(pages.len()));
        for &number in pages {
            let page = &self.pages[number];
            if let Some(slots) = page.slots.as_ref().filter(|_| !page.is_stored) {
                if let Err(cause) = (self.codec.encode)(slots, &mut buffer) {
                    panic!("state that checkpoints can write cannot be written: {cause}");
                }
                ends.push((number, buffer.len()));
            }
        }
        let mut from = 0;
        let mut rows = Vec::with_capacity(ends.len());
        for &(number, end) in &ends {
            rows.push((number as u32, &buffer[from..end]));
            from = end;
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.owner.write(rows)?;
        for (number, _) in ends {
            self.pages[number].is_stored = true;
        }
        Ok(())
    }

    /// Measures entries of so many pages in memory: they may grow.
    pub(in crate::table) fn measure(&mut self, pages: usize) {
        let every = self.pages.len().div_ceil(pages).max(1);
        let some = self.pages.iter().step_by(every);
        let entries = some.filter_map(|page| page.slots.as_ref()?.first()?.as_ref());
        let bytes = entries.map(|(key, value)| self.codec.bytes_of(key, value));
        let (count, sum) = bytes.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        if count > 0 {
            self.entry_bytes = usize::div_ceil(sum, count);
        }
    }

    /// Reads a page that is stored.
    fn read(&self, number: usize) -> Vec<Slot<K, A>> {
        // One turn may read all of them, which takes long and is no hang.
        still_working();
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
    pub(in crate::table) fn at(&mut self, place: usize) -> (&K, &A) {
        let (key, value) = entry(self.slots(place / PAGE), place);
        (key, value)
    }

    /// The entry at a place; [`changed`](Self::changed) must be said of it if it is.
    #[inline]
    pub(in crate::table) fn peek_mut(&mut self, place: usize) -> (&K, &mut A) {
        entry(self.slots(place / PAGE), place)
    }

    /// The entry at this place has changed; it was looked at last.
    #[inline]
    pub(in crate::table) fn changed(&mut self, place: usize) {
        self.pages[place / PAGE].is_stored = false;
    }

    /// The entry at a place, which counts as changed.
    #[inline]
    pub(in crate::table) fn at_mut(&mut self, place: usize) -> (&K, &mut A) {
        let page = self.slots(place / PAGE);
        page.is_stored = false;
        entry(page, place)
    }

    /// Adds an entry behind the others.
    pub(in crate::table) fn push(&mut self, key: K, value: A) {
        if self.len.is_multiple_of(PAGE) {
            self.make_room();
            self.pages.push(Page {
                slots: Some(Vec::with_capacity(PAGE)),
                is_used: true,
                is_stored: false,
            });
            self.in_memory += 1;
        }
        let page = self.slots(self.len / PAGE);
        page.is_stored = false;
        let slots = page.slots.as_mut().expect("it is in memory");
        slots.push(Some((key, value)));
        self.len += 1;
    }

    /// Takes the last entry off.
    pub(in crate::table) fn pop(&mut self) -> (K, A) {
        let last = self.len - 1;
        let page = self.slots(last / PAGE);
        page.is_stored = false;
        let taken = page.slots.as_mut().and_then(Vec::pop);
        self.len = last;
        if last.is_multiple_of(PAGE) {
            self.pages.pop();
            self.in_memory -= 1;
        }
        taken.flatten().expect("every place has an entry")
    }

    /// Puts an entry in the place of another, which it gives.
    pub(in crate::table) fn replace(&mut self, place: usize, entry: (K, A)) -> (K, A) {
        let page = self.slots(place / PAGE);
        page.is_stored = false;
        let slots = page.slots.as_mut().expect("it is in memory");
        let replaced = slots[place % PAGE].replace(entry);
        replaced.expect("every place has an entry")
    }

    /// Shows entries in the order of their places; pages that are stored stay where they are.
    pub(in crate::table) fn show<E>(
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
    pub(in crate::table) fn into_entries(mut self) -> impl Iterator<Item = (K, A)> {
        let pages = 0..self.pages.len();
        pages
            .map(move |number| match self.pages[number].slots.take() {
                Some(slots) => slots,
                None => self.read(number),
            })
            .flat_map(|slots| slots.into_iter().flatten())
    }

    /// Makes it as long as it will be, with nothing at all places.
    pub(in crate::table) fn lay_out(&mut self, len: usize) {
        let page = || Page {
            slots: None,
            is_used: false,
            is_stored: false,
        };
        self.pages.resize_with(len.div_ceil(PAGE), page);
        self.len = len;
    }

    pub(in crate::table) fn put(&mut self, place: usize, key: K, value: A) {
        let page = self.slots(place / PAGE);
        page.is_stored = false;
        let slots = page.slots.as_mut().expect("it is in memory");
        slots[place % PAGE] = Some((key, value));
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

impl<K, A> fmt::Debug for Pages<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("len", &self.len)
            .field("in_memory", &self.in_memory)
            .finish_non_exhaustive()
    }
}
