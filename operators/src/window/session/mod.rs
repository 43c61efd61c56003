//! Session windows: a key's items belong together while less than a gap lies between them.
//!
//! An item of time `t` covers `t` to `t + gap` (exclusive); items whose spans overlap are one session, so an item at
//! the very end of a session begins another. An item is late if its own span ended, and the allowed lateness after
//! it, before the watermark of its source: `t + gap + lateness <= limit`, whatever sessions there are. All items that
//! are not late are in the end in the sessions that one would find with all of them at hand.
//! That needs sessions to be kept after they were given out, for the allowed lateness and one gap more: an item that
//! is not late may reach that far back. Where it changes the bounds of a session that was given out, or joins
//! several, those are taken back ([`Revision::Retraction`](super::Revision)) before the session that replaces them is
//! given; that comes at its own end, if the watermark is not there yet. Without items behind their source's
//! watermark nothing is ever taken back.
//!
//! State: one accumulator per key and session whose end + gap + allowed lateness the watermark has not passed.
//! Cost: an item of the newest session of its key costs one lookup; one that begins, joins or changes another also a
//! search of the key's sessions, which are few. A watermark looks at the keys that are due, each once per
//! gap at most, not at all keys.

mod list;
mod operator;
mod queues;
mod rules;

use std::time::Duration;

use super::TimeDomain;
use super::aligned::micros;

pub use operator::SessionWindows;

/// Windows that end when a key is silent for a while.
///
/// ```
/// use std::time::Duration;
/// use millstream_operators::window::Session;
///
/// let window = Session::gap(Duration::from_secs(600)).allowed_lateness(Duration::from_secs(60));
/// # let _ = window;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    gap: i64,
    pub(super) lateness: i64,
    pub(super) domain: TimeDomain,
    retracting: bool,
}

impl Session {
    /// A session ends `gap` (whole microseconds, at least one) after its last item.
    pub fn gap(gap: Duration) -> Self {
        Self {
            gap: micros(gap),
            lateness: 0,
            domain: TimeDomain::Event,
            retracting: false,
        }
    }

    /// Takes items for this long (in event time) after they would have ended a session of their own. Default: none.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness = i64::try_from(lateness.as_micros()).unwrap_or(i64::MAX);
        self
    }

    /// Goes by the engine's clock instead of the items' times.
    #[must_use]
    pub fn in_processing_time(mut self) -> Self {
        self.domain = TimeDomain::Processing;
        self
    }

    /// Takes back each result before one that replaces it, also where the bounds stay the same.
    #[must_use]
    pub const fn retracting(mut self) -> Self {
        self.retracting = true;
        self
    }
}
