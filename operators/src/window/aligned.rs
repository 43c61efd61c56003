//! Windows whose boundaries are the same for all keys.

use std::fmt;
use std::time::Duration;

use millstream_engine::checkpoint::{CheckpointError, Restoring};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Window;

/// Which time windows go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeDomain {
    /// The items' own times and the watermark.
    #[default]
    Event,
    /// The engine's clock.
    Processing,
}

impl TimeDomain {
    /// What is added to what stored windows go by.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Event => "",
            Self::Processing => ", by the engine's clock",
        }
    }
}

/// Windows of one size that follow each other without overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    pub(crate) span: Span,
}

/// Windows of one size that begin every `slide`, so that each time lies in several (or, if `slide` is larger than
/// the size, in one or none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    pub(crate) span: Span,
}

/// Sizes in microseconds; all windows start at `offset + n * slide`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) size: i64,
    pub(crate) slide: i64,
    pub(crate) offset: i64,
    pub(crate) lateness: i64,
    pub(crate) domain: TimeDomain,
    pub(crate) retracting: bool,
}

/// What stored windows go by: their size, how often one begins, where the first does, and which time it is. That is not
/// known of windows that earlier versions stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape(i64, i64, i64, #[serde(default)] Option<TimeDomain>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(size, slide, offset, domain) = self;
        let suffix = domain.map_or("", TimeDomain::suffix);
        write!(f, "{size} µs every {slide} µs from {offset} µs{suffix}")
    }
}

impl Shape {
    /// Of windows that have no end.
    pub(crate) const ENDLESS: Self = Self(i64::MAX, i64::MAX, 0, None);

    /// # Errors
    /// [`CheckpointError::Parameters`]: windows of this shape were stored, and now they are to have another.
    pub(crate) fn check(
        self,
        kind: &str,
        now: Self,
        restoring: &Restoring,
    ) -> Result<(), CheckpointError> {
        let Self(size, slide, offset, domain) = self;
        if Self(size, slide, offset, domain.or(now.3)) == now {
            return Ok(());
        }
        Err(restoring.fail(CheckpointError::Parameters {
            kind: kind.to_owned(),
            stored: self.to_string(),
            now: now.to_string(),
        }))
    }
}

/// Whole microseconds, at least one.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros())
        .unwrap_or(i64::MAX)
        .max(1)
}

impl Span {
    pub(crate) const fn shape(&self) -> Shape {
        Shape(self.size, self.slide, self.offset, Some(self.domain))
    }

    /// Length of a slice: all window boundaries are slice boundaries.
    pub(crate) fn slice(&self) -> i64 {
        gcd(self.size, self.slide)
    }

    /// The slice that `time` is in.
    #[inline]
    pub(crate) fn slice_of(&self, slice: i64, time: Timestamp) -> i64 {
        (time.0.saturating_sub(self.offset)).div_euclid(slice)
    }

    /// End of the last window that has `time` in it, if one has.
    pub(crate) fn last_end(&self, time: Timestamp) -> Option<i64> {
        let start = (time.0.saturating_sub(self.offset))
            .div_euclid(self.slide)
            .saturating_mul(self.slide)
            .saturating_add(self.offset);
        let end = start.saturating_add(self.size);
        (time.0 < end).then_some(end)
    }

    /// Whether a time that is in no window lies between two of them: else it is too close to the end of time.
    pub(crate) fn has_gaps(&self) -> bool {
        self.slide > self.size
    }

    /// The last end of a window by `until`, where there is a next one.
    pub(crate) fn last_end_by(&self, until: i64) -> Option<i64> {
        let next = self.next_end(until);
        (next < i64::MAX).then(|| next.saturating_sub(self.slide))
    }

    /// The first end of a window that is later than `time`.
    pub(crate) fn next_end(&self, time: i64) -> i64 {
        let after = time.saturating_sub(self.offset).saturating_sub(self.size);
        (after.div_euclid(self.slide) + 1)
            .saturating_mul(self.slide)
            .saturating_add(self.offset)
            .saturating_add(self.size)
    }

    pub(crate) fn window_ending(&self, end: i64) -> Window {
        Window {
            start: Timestamp(end.saturating_sub(self.size)),
            end: Timestamp(end),
        }
    }
}

/// Inside of an `impl Operator` of windows or joins with the fields `span`, `late`, `watermark`, `late_before` and `now`:
/// what they do with time, which is the items' or the clock's as the span says.
macro_rules! by_span {
    () => {
        fn watermark<E: millstream_engine::flow::Emit<Self::Out>>(
            &mut self,
            watermark: millstream_engine::time::Timestamp,
            out: &mut E,
        ) {
            use millstream_engine::{flow::Discard, time::Timestamp};
            self.late.watermark(watermark, &mut Discard);
            // In processing time only the end of the input closes what is open.
            if self.span.domain == $crate::window::TimeDomain::Event || watermark == Timestamp::MAX
            {
                // It goes back where partitions were put together that were not equally far: at the furthest, items
                // of the others would be late that are not.
                self.watermark = watermark.0;
                self.fire(watermark.0, out);
            }
        }

        fn late_before(&mut self, limit: millstream_engine::time::Timestamp) {
            if self.span.domain == $crate::window::TimeDomain::Event {
                self.late_before = limit.0;
            }
            self.late.late_before(limit);
        }

        fn begin(&mut self, turn: &millstream_engine::flow::Turn) {
            // A clock that goes back must not open a window anew.
            self.now = self.now.max(turn.now);
            self.late.begin(turn);
        }

        fn processing_time<E: millstream_engine::flow::Emit<Self::Out>>(
            &mut self,
            now: millstream_engine::time::Timestamp,
            out: &mut E,
        ) {
            if self.span.domain == $crate::window::TimeDomain::Processing {
                self.watermark = self.watermark.max(now.0);
                self.fire(self.watermark, out);
            }
        }
    };
}
pub(crate) use by_span;

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

macro_rules! options {
    ($window:ident) => {
        impl $window {
            /// Shifts all windows: they start at `offset` after the epoch's multiples. For days of another time
            /// zone, for example. Default: none.
            #[must_use]
            pub fn offset(mut self, offset: Duration) -> Self {
                self.span.offset = i64::try_from(offset.as_micros()).unwrap_or(0);
                self
            }

            /// Keeps a window's state for this long (in event time) after its end, and gives the result out anew
            /// for each item that comes meanwhile. Default: none; such items are late.
            #[must_use]
            pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
                self.span.lateness = i64::try_from(lateness.as_micros()).unwrap_or(i64::MAX);
                self
            }

            /// Takes back each result before one that replaces it.
            #[must_use]
            pub const fn retracting(mut self) -> Self {
                self.span.retracting = true;
                self
            }

            /// Goes by the engine's clock instead of the items' times.
            #[must_use]
            pub fn in_processing_time(mut self) -> Self {
                self.span.domain = TimeDomain::Processing;
                self
            }
        }
    };
}

options!(Tumbling);
options!(Sliding);

impl Tumbling {
    /// Start of the window that `time` is in.
    #[inline]
    #[must_use]
    pub fn start_of(&self, time: Timestamp) -> Timestamp {
        let Span { size, offset, .. } = self.span;
        let number = time.0.saturating_sub(offset).div_euclid(size);
        Timestamp(number.saturating_mul(size).saturating_add(offset))
    }

    /// Windows of `size` (whole microseconds, at least one).
    pub fn of(size: Duration) -> Self {
        let size = micros(size);
        Self {
            span: Span {
                size,
                slide: size,
                offset: 0,
                lateness: 0,
                domain: TimeDomain::Event,
                retracting: false,
            },
        }
    }
}

impl Sliding {
    /// Windows of `size`, one after the other until [`every`](Self::every) says how often one begins.
    pub fn of(size: Duration) -> Self {
        Self {
            span: Tumbling::of(size).span,
        }
    }

    /// One begins every `slide` (whole microseconds, at least one).
    #[must_use]
    pub fn every(mut self, slide: Duration) -> Self {
        self.span.slide = micros(slide);
        self
    }
}
