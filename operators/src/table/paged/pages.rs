//! Entries in pages, by their places. `room` says which are in memory, and how the others get there and away; `codec` how they are
//! written.

mod codec;
mod room;

use std::fmt;
use std::sync::Arc;

use millstream_engine::spill::{PageOwner, SpillError, SpillStore};

pub(in crate::table) use codec::Codec;
use codec::Slot;

/// Entries of a page; few in tests of operators, so that a handful of keys lies in several.
pub(in crate::table) const PAGE: usize = if cfg!(test) { 2 } else { 32 };
/// Pages that stay in memory whatever it costs.
const PAGES_MIN: usize = if cfg!(test) { 1 } else { 4 };

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
    /// With room for the fewest, until it is [allowed](Self::allow) more.
    pub(in crate::table) fn new(
        store: &Arc<SpillStore>,
        codec: Codec<K, A>,
        entry_bytes: usize,
    ) -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
            owner: PageOwner::new(store),
            codec,
            in_memory: 0,
            in_memory_max: PAGES_MIN,
            hand: 0,
            entry_bytes,
            failed: None,
        }
    }

    pub(in crate::table) const fn len(&self) -> usize {
        self.len
    }

    /// How many slots a page has.
    fn len_of(&self, number: usize) -> usize {
        (self.len - number * PAGE).min(PAGE)
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
