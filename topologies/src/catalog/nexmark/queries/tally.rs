//! Where the rows of a query end: counted, and their checksum taken if it is wanted.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::flow::{Emit, Fault, Operator, stateless};
use millstream_engine::time::Timestamp;

use super::super::checksum::{Canonical, Checksum};

/// Rows of all partitions together.
#[derive(Debug)]
pub struct Tally {
    with_checksum: bool,
    total: Mutex<(u64, Checksum)>,
}

impl Tally {
    /// Nothing yet. Without a checksum rows are only counted.
    #[must_use]
    pub fn new(with_checksum: bool) -> Arc<Self> {
        Arc::new(Self {
            with_checksum,
            total: Mutex::default(),
        })
    }

    /// Number of rows so far.
    pub fn rows(&self) -> u64 {
        self.lock().0
    }

    /// Their checksum; `None` if it was not wanted.
    pub fn checksum(&self) -> Option<Checksum> {
        self.with_checksum.then(|| self.lock().1.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, Checksum)> {
        self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sink.
    pub(super) fn sink(self: &Arc<Self>) -> TallySink {
        TallySink {
            tally: Arc::clone(self),
            with_checksum: self.with_checksum,
            rows: 0,
            checksum: Checksum::new(),
        }
    }
}

/// Counts the rows of one partition; adds them to the others' at the end of each turn.
#[derive(Clone, Debug)]
pub(super) struct TallySink {
    tally: Arc<Tally>,
    with_checksum: bool,
    rows: u64,
    checksum: Checksum,
}

impl<R: Canonical + Send + 'static> Operator<R> for TallySink {
    type Out = Infallible;

    #[inline(always)]
    fn item<E: Emit<Infallible>>(&mut self, _time: Timestamp, row: R, _out: &mut E) {
        self.rows += 1;
        if self.with_checksum {
            self.checksum.add(&row);
        } else {
            // The compiler must take it for used, or it would leave out what makes it.
            black_box(&row);
        }
    }

    fn flush(&mut self, _idle: bool) -> Result<(), Fault> {
        if self.rows > 0 {
            let mut total = self.tally.lock();
            total.0 += std::mem::take(&mut self.rows);
            total.1.merge(&std::mem::take(&mut self.checksum));
        }
        Ok(())
    }

    stateless!();
}
