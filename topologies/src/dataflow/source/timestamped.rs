//! Sources whose items say their own time.

use std::sync::Arc;

use millstream_engine::flow::{Emit, Fault, Pulled, SeekError, Source, Wiring};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::time::Timestamp;

use super::{SourceNotes, SourcePlan};

/// A source whose items say their own time.
#[derive(Debug, Clone)]
pub struct Timestamped<S, F> {
    pub(super) inner: S,
    pub(super) time: F,
}

struct Stamp<'a, F, E> {
    time: &'a F,
    out: &'a mut E,
}

impl<T, F: Fn(&T) -> Timestamp, E: Emit<T>> Emit<T> for Stamp<'_, F, E> {
    #[inline(always)]
    fn emit(&mut self, _time: Timestamp, item: T) {
        self.out.emit((self.time)(&item), item);
    }
}

impl<S: Source, F: Fn(&S::Item) -> Timestamp + Send + 'static> Source for Timestamped<S, F> {
    type Item = S::Item;

    fn open(&mut self, mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        self.inner.open(mailbox)
    }

    fn watermark(&self) -> Option<Timestamp> {
        self.inner.watermark()
    }

    #[inline]
    fn pull<E: Emit<S::Item>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        let time = &self.time;
        self.inner.pull(items_max, &mut Stamp { time, out })
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn may_go_on(&self) -> bool {
        self.inner.may_go_on()
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        self.inner.position()
    }

    fn reads(&self) -> Vec<String> {
        self.inner.reads()
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.inner.seek(position)
    }
}

impl<S, F> SourcePlan for Timestamped<S, F>
where
    S: SourcePlan,
    F: Fn(&<S::Source as Source>::Item) -> Timestamp + Clone + Send + 'static,
{
    type Source = Timestamped<S::Source, F>;

    fn split_count(&self, wiring: &Wiring) -> Result<usize, Fault> {
        self.inner.split_count(wiring)
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<Self::Source, Fault> {
        Ok(Timestamped {
            inner: self.inner.split(split, wiring)?,
            time: self.time.clone(),
        })
    }

    fn notes(&self) -> SourceNotes {
        self.inner.notes()
    }

    fn splits_depend_on_count(&self) -> bool {
        self.inner.splits_depend_on_count()
    }
}
