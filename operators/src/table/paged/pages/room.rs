//! Which pages are in memory: how many may be, those that are given up for others, and what is stored of them.

use millstream_engine::spill::SpillError;
use millstream_engine::stage::still_working;

use super::codec::Slot;
use super::{PAGE, PAGES_MIN, Page, Pages};

/// Pages that are given up at a time: one transaction.
const GIVE_UP: usize = if cfg!(test) { 3 } else { 64 };

impl<K, A> Pages<K, A> {
    /// Bytes in memory, about.
    pub(in crate::table) fn bytes(&self) -> usize {
        self.in_memory * self.page_bytes() + self.pages.capacity() * size_of::<Page<K, A>>()
    }

    fn page_bytes(&self) -> usize {
        PAGE * (size_of::<Slot<K, A>>() + self.entry_bytes)
    }

    /// Bytes that so many entries take in memory, about, one behind the other.
    pub(in crate::table) fn bytes_of(&self, entries: usize) -> usize {
        entries.div_ceil(PAGE) * self.page_bytes()
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
        // As with reading.
        still_working();
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
    pub(super) fn read(&self, number: usize) -> Vec<Slot<K, A>> {
        // One turn may read all of them, which takes long and is no hang.
        still_working();
        let read = self.owner.read(number as u32, self.codec.decode);
        match read {
            Ok(Ok(slots)) => slots,
            Ok(Err(cause)) => panic!("state on disk cannot be read back: {cause}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Makes room for one page more.
    #[inline]
    pub(super) fn make_room(&mut self) {
        if self.in_memory >= self.in_memory_max && self.failed.is_none() {
            self.give_up(GIVE_UP.min(self.in_memory / PAGES_MIN));
        }
    }
}
