//! A source that is fed by hand.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::flow::{
    Emit, Fault, Pulled, SeekError, Source, Wiring, number_position, position_number,
};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::time::Timestamp;

use super::source::SourcePlan;

#[derive(Clone)]
enum Fed<T> {
    Item(Timestamp, T),
    Watermark(Timestamp),
}

struct FeedSplit<T> {
    /// All of it, so that it can be read again after a restart.
    fed: Vec<Fed<T>>,
    ended: bool,
    mailbox: Option<Arc<Mailbox>>,
}

/// A source that a test or a program feeds by hand, split by split.
pub struct Feed<T> {
    splits: Arc<Vec<Mutex<FeedSplit<T>>>>,
}

impl<T> Feed<T> {
    /// A feed of `splits` splits, with nothing in it. It knows no bound: whoever feeds it keeps the measure.
    pub fn new(splits: usize) -> Self {
        let split = |_| {
            Mutex::new(FeedSplit {
                fed: Vec::new(),
                ended: false,
                mailbox: None,
            })
        };
        Self {
            splits: Arc::new((0..splits).map(split).collect()),
        }
    }

    fn change(&self, split: usize, change: impl FnOnce(&mut FeedSplit<T>)) {
        let mut split = self.splits[split]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut split);
        if let Some(mailbox) = &split.mailbox {
            mailbox.wake();
        }
    }

    /// Adds an item.
    ///
    /// # Panics
    /// There is no such split; so for the others.
    pub fn push(&self, split: usize, time: Timestamp, item: T) {
        self.change(split, |split| split.fed.push(Fed::Item(time, item)));
    }

    /// Says that no item before `watermark` is to come.
    pub fn watermark(&self, split: usize, watermark: Timestamp) {
        self.change(split, |split| split.fed.push(Fed::Watermark(watermark)));
    }

    /// Says that nothing more comes in this split.
    pub fn end(&self, split: usize) {
        self.change(split, |split| split.ended = true);
    }

    /// The same for all splits.
    pub fn end_all(&self) {
        (0..self.splits.len()).for_each(|split| self.end(split));
    }
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self {
            splits: Arc::clone(&self.splits),
        }
    }
}

/// One split of a feed, as the dataflow reads it.
pub struct FeedSource<T> {
    splits: Arc<Vec<Mutex<FeedSplit<T>>>>,
    number: usize,
    watermark: Option<Timestamp>,
    /// What of it comes next.
    next: usize,
}

impl<T: Clone + Send + 'static> Source for FeedSource<T> {
    type Item = T;

    fn open(&mut self, mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        let mut split = self.splits[self.number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        split.mailbox = Some(Arc::clone(mailbox));
        Ok(())
    }

    fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    fn pull<E: Emit<T>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        for _ in 0..items_max {
            let fed = {
                let split = self.splits[self.number]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                match split.fed.get(self.next) {
                    None if split.ended => return Ok(Pulled::End),
                    None => return Ok(Pulled::Pending),
                    Some(fed) => fed.clone(),
                }
            };
            self.next += 1;
            match fed {
                Fed::Item(time, item) => out.emit(time, item),
                Fed::Watermark(watermark) => {
                    self.watermark = self.watermark.max(Some(watermark));
                    // The items that follow are seen with it.
                    return Ok(Pulled::More);
                }
            }
        }
        Ok(Pulled::More)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Some(number_position(self.next as u64)))
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.next = position_number(position)? as usize;
        Ok(())
    }
}

impl<T: Clone + Send + 'static> SourcePlan for Feed<T> {
    type Source = FeedSource<T>;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(self.splits.len())
    }

    fn split(&self, split: usize, _wiring: &Wiring) -> Result<FeedSource<T>, Fault> {
        Ok(FeedSource {
            splits: Arc::clone(&self.splits),
            number: split,
            watermark: None,
            next: 0,
        })
    }
}

impl<T> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("splits", &self.splits.len())
            .finish()
    }
}

impl<T> fmt::Debug for FeedSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedSource")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
