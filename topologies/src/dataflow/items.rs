//! A list as a source.

use std::fmt;

use millstream_engine::flow::{Fault, Wiring};
use millstream_engine::time::Timestamp;

use super::flow::Flow;
use super::source::{IteratorSource, Naming, SourceBuilder, SourceNotes, SourcePlan};

/// A list with times as a source: one split, the same at each start.
#[derive(Clone)]
pub struct Items<T> {
    items: Vec<(Timestamp, T)>,
}

impl Flow {
    /// Reads a list, in its order, to its end: for tests, examples and small tables. All items have the epoch as their
    /// time unless they say [their own](SourceBuilder::timestamps).
    ///
    /// ```
    /// use millstream::dataflow::{Dataflow, Driver};
    ///
    /// let (flow, doubled) = Dataflow::declare("doubled", |flow| {
    ///     flow.items([1, 2, 3]).stream().map(|number| number * 2).collect()
    /// })?;
    /// Driver::new(flow)?.run()?;
    /// assert_eq!(doubled.take_items(), [2, 4, 6]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn items<T, I>(&self, items: I) -> SourceBuilder<Items<T>>
    where
        T: Clone + Send + 'static,
        I: IntoIterator<Item = T>,
    {
        let items = items.into_iter();
        self.timed_items(items.map(|item| (Timestamp::EPOCH, item)))
    }

    /// The same with each item's time.
    pub fn timed_items<T, I>(&self, items: I) -> SourceBuilder<Items<T>>
    where
        T: Clone + Send + 'static,
        I: IntoIterator<Item = (Timestamp, T)>,
    {
        let items = items.into_iter().collect();
        let mut source = self.source("items", Items { items });
        source.naming = Naming::OfKind;
        source
    }
}

impl<T: Clone + Send + 'static> SourcePlan for Items<T> {
    type Source = IteratorSource<std::vec::IntoIter<(Timestamp, T)>>;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(1)
    }

    fn split(&self, _split: usize, _wiring: &Wiring) -> Result<Self::Source, Fault> {
        Ok(IteratorSource::new(self.items.clone().into_iter()))
    }

    fn notes(&self) -> SourceNotes {
        SourceNotes {
            is_repeatable: true,
            ..SourceNotes::default()
        }
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items")
            .field("items", &self.items.len())
            .finish()
    }
}
