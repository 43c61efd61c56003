//! Items that a program makes, as a source.

use millstream_engine::flow::{
    Emit, Fault, Pulled, SeekError, Source, Wiring, number_position, position_number,
};
use millstream_engine::time::Timestamp;

use super::{SourceNotes, SourcePlan};

/// Items that a program makes: one iterator per split. Not replayable unless the iterators give the same again.
#[derive(Debug, Clone)]
pub struct Generate<F> {
    splits: Option<usize>,
    is_repeatable: bool,
    make: F,
}

impl<F, I> Generate<F>
where
    F: Fn(usize, usize) -> I + Clone + Send + 'static,
    I: Iterator,
{
    /// One split per partition; `make(split, splits)` gives its items with their times.
    pub const fn timed(make: F) -> Self {
        Self {
            splits: None,
            is_repeatable: false,
            make,
        }
    }

    /// Promises that every call gives the same items in the same order: what sinks need that tell repetitions by
    /// their number. Say [`splits`](Self::splits) then as well, since the number of partitions may change.
    #[must_use]
    pub const fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }

    /// A fixed number of splits, whatever the number of partitions.
    #[must_use]
    pub const fn splits(mut self, splits: usize) -> Self {
        self.splits = Some(splits);
        self
    }
}

impl Generate<()> {
    /// One split per partition; `make(split, splits)` gives its items, all with the epoch as their time.
    pub fn each<T, I, F>(
        make: F,
    ) -> Generate<impl Fn(usize, usize) -> WithoutTime<I::IntoIter> + Clone + Send + 'static>
    where
        I: IntoIterator<Item = T>,
        F: Fn(usize, usize) -> I + Clone + Send + 'static,
    {
        Generate {
            splits: None,
            is_repeatable: false,
            make: move |split, splits| WithoutTime(make(split, splits).into_iter()),
        }
    }
}

/// Gives each item the epoch as its time.
#[derive(Debug, Clone)]
pub struct WithoutTime<I>(I);

impl<I: Iterator> Iterator for WithoutTime<I> {
    type Item = (Timestamp, I::Item);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|item| (Timestamp::EPOCH, item))
    }
}

/// An iterator as a source.
#[derive(Debug, Clone)]
pub struct IteratorSource<I> {
    items: I,
    /// Items that were given.
    given: u64,
}

impl<I> IteratorSource<I> {
    pub(in crate::dataflow) const fn new(items: I) -> Self {
        Self { items, given: 0 }
    }
}

impl<T: 'static, I: Iterator<Item = (Timestamp, T)> + Send + 'static> Source for IteratorSource<I> {
    type Item = T;

    #[inline]
    fn pull<E: Emit<T>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        for given in 0..items_max {
            let Some((time, item)) = self.items.next() else {
                self.given += given as u64;
                return Ok(Pulled::End);
            };
            out.emit(time, item);
        }
        self.given += items_max as u64;
        Ok(Pulled::More)
    }

    /// Counts what was given: an iterator that does not give the same again goes on with something else.
    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Some(number_position(self.given)))
    }

    /// Cost: makes what comes before once more.
    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.given = position_number(position)?;
        for _ in 0..self.given {
            if self.items.next().is_none() {
                let reason = "the iterator gives fewer items than it had given before";
                return Err(Fault(reason.to_owned()).into());
            }
        }
        Ok(())
    }
}

impl<T, I, F> SourcePlan for Generate<F>
where
    T: 'static,
    I: Iterator<Item = (Timestamp, T)> + Send + 'static,
    F: Fn(usize, usize) -> I + Clone + Send + 'static,
{
    type Source = IteratorSource<I>;

    fn split_count(&self, wiring: &Wiring) -> Result<usize, Fault> {
        Ok(self.splits.unwrap_or(wiring.partitions))
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<Self::Source, Fault> {
        let splits = self.split_count(wiring)?;
        Ok(IteratorSource::new((self.make)(split, splits)))
    }

    fn notes(&self) -> SourceNotes {
        SourceNotes {
            is_repeatable: self.is_repeatable,
            ..SourceNotes::default()
        }
    }

    fn splits_depend_on_count(&self) -> bool {
        self.splits.is_none()
    }
}
