//! What the lines of a file say of event time: how far the log may be out of its order, and how far it comes.

use std::time::Duration;

use millstream_engine::event::StreamId;
use millstream_engine::time::Timestamp;
use millstream_operators::aggregate::Aggregate;

use super::reader::BATCH_LINES;
use crate::catalog::shop::{Customer, InvoiceLine, InvoiceLines};
use crate::catalog::table::TableError;

/// How far the log may be out of the order of event time.
///
/// Batches of one kind of aggregate follow each other, but within a batch partitions, aggregates that are not in memory
/// and records of refunds go their own ways. So an event is behind by at most the time from the earliest line of its
/// batch to the latest line of this batch or one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disorder {
    /// Microseconds.
    most: i64,
    latest: i64,
    earliest_of_batch: i64,
}

impl Disorder {
    pub(super) const NONE: Self = Self {
        most: 0,
        latest: i64::MIN,
        earliest_of_batch: i64::MAX,
    };

    pub(super) fn see(&mut self, line: &InvoiceLine) {
        self.latest = self.latest.max(line.at_us);
        self.earliest_of_batch = self.earliest_of_batch.min(line.at_us);
    }

    pub(super) fn end_batch(&mut self) {
        if self.earliest_of_batch < i64::MAX {
            let most = self.latest.saturating_sub(self.earliest_of_batch);
            self.most = self.most.max(most);
        }
        self.earliest_of_batch = i64::MAX;
    }

    /// That of a whole file, before it is sent: lines that cannot be read are passed over, and where the file breaks off it
    /// is over.
    pub(super) fn of(lines: InvoiceLines) -> Self {
        let (mut disorder, mut count) = (Self::NONE, 0);
        for line in lines {
            match line {
                Ok(line) => disorder.see(&line),
                Err(TableError::Bad(_)) => continue,
                Err(_) => break,
            }
            count += 1;
            if count == BATCH_LINES {
                disorder.end_batch();
                count = 0;
            }
        }
        disorder.end_batch();
        disorder
    }

    /// The greatest distance.
    pub(super) fn most(&self) -> Duration {
        Duration::from_micros(self.most.unsigned_abs())
    }
}

/// The latest line of a customer, by partition of the log. Microseconds.
#[derive(Debug)]
pub(super) struct Latest(Vec<Option<i64>>);

impl Latest {
    pub(super) fn new(partitions: u16) -> Self {
        Self(vec![None; usize::from(partitions)])
    }

    pub(super) fn see(&mut self, customer: &str, at_us: i64) {
        // An id that names no stream makes no event.
        let Ok(stream) = StreamId::new(Customer::CATEGORY, customer) else {
            return;
        };
        let partitions = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        let latest = &mut self.0[usize::from(stream.partition(partitions).0)];
        *latest = (*latest).max(Some(at_us));
    }

    /// The watermark behind all lines, where it is so far behind each partition; `None` if one has no line.
    pub(super) fn watermark(&self, behind: Duration) -> Option<Timestamp> {
        let earliest = self.0.iter().copied().min().flatten();
        earliest.map(|at_us| Timestamp::from_micros(at_us).saturating_sub(behind))
    }
}
