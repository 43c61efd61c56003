//! How a source's watermark follows from its items.
//!
//! A watermark w says that no item before w is expected. Each split of a source has a policy of its own.

use std::time::Duration;

use crate::time::Timestamp;

/// The greatest watermark that an item can give: the one after it says that the input has ended.
const LAST: Timestamp = Timestamp(i64::MAX - 1);

/// Watches the items of one split.
pub trait WatermarkPolicy<T>: Clone + Send + 'static {
    /// Takes in an item.
    fn observe(&mut self, time: Timestamp, item: &T);

    /// The watermark after the items so far.
    fn watermark(&self) -> Timestamp;
}

/// Times come in order: an item is late as soon as a later one was seen.
#[derive(Debug, Clone, Copy)]
pub struct Ascending {
    latest: Timestamp,
}

impl Ascending {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self {
            latest: Timestamp::MIN,
        }
    }
}

impl Default for Ascending {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> WatermarkPolicy<T> for Ascending {
    #[inline(always)]
    fn observe(&mut self, time: Timestamp, _item: &T) {
        self.latest = self.latest.max(time.min(LAST));
    }

    #[inline(always)]
    fn watermark(&self) -> Timestamp {
        self.latest
    }
}

/// An item may come after ones that are later by up to a bound.
#[derive(Debug, Clone, Copy)]
pub struct BoundedOutOfOrderness {
    bound_micros: i64,
    watermark: Timestamp,
}

impl BoundedOutOfOrderness {
    /// With `bound` as the greatest disorder; an item exactly that much behind is not late.
    pub fn new(bound: Duration) -> Self {
        Self {
            bound_micros: i64::try_from(bound.as_micros()).unwrap_or(i64::MAX),
            watermark: Timestamp::MIN,
        }
    }
}

impl<T> WatermarkPolicy<T> for BoundedOutOfOrderness {
    #[inline(always)]
    fn observe(&mut self, time: Timestamp, _item: &T) {
        let watermark = Timestamp(time.0.saturating_sub(self.bound_micros));
        self.watermark = self.watermark.max(watermark.min(LAST));
    }

    #[inline(always)]
    fn watermark(&self) -> Timestamp {
        self.watermark
    }
}

/// Some items say what the watermark is: a marker in the data, for example.
#[derive(Debug, Clone, Copy)]
pub struct Punctuated<F> {
    mark: F,
    watermark: Timestamp,
}

impl<F> Punctuated<F> {
    /// `mark` gives the watermark that an item carries, if it carries one.
    pub const fn new(mark: F) -> Self {
        Self {
            mark,
            watermark: Timestamp::MIN,
        }
    }
}

impl<T, F> WatermarkPolicy<T> for Punctuated<F>
where
    F: Fn(Timestamp, &T) -> Option<Timestamp> + Clone + Send + 'static,
{
    #[inline]
    fn observe(&mut self, time: Timestamp, item: &T) {
        if let Some(watermark) = (self.mark)(time, item) {
            self.watermark = self.watermark.max(watermark.min(LAST));
        }
    }

    #[inline]
    fn watermark(&self) -> Timestamp {
        self.watermark
    }
}

/// No event time: nothing is late and only the end of the input closes event-time windows.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWatermarks;

impl<T> WatermarkPolicy<T> for NoWatermarks {
    #[inline(always)]
    fn observe(&mut self, _time: Timestamp, _item: &T) {}

    #[inline(always)]
    fn watermark(&self) -> Timestamp {
        Timestamp::MIN
    }
}
