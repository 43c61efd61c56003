//! The keyed tumbling count: a synthetic load that is nearly all keyed state.
//!
//! Place: what Millstream, other engines and hand-written loops are compared by. [`SOURCES`] sources each
//! give events of a key and a time; wanted is how often each key came in each second of event time.
//! Invariants: (1) a source's events depend on its number alone; (2) its times never decrease, and those of
//! all sources run alike. Cost: a multiplication or two an event, so that the source is no part of what is
//! measured. Here too: the plain count that answers are checked against.

use std::collections::BTreeMap;

use millstream::catalog::nexmark::{Canonical, Checksum};
use millstream_engine::time::Timestamp;

/// How many sources there are.
pub const SOURCES: u32 = 2;
/// How many keys there are, from 0.
pub const KEYS: u64 = 200_000;
/// Events of one source in a millisecond of event time.
pub const EVENTS_PER_MILLI: u64 = 100;
/// Length of a window.
pub const WINDOW_MILLIS: i64 = 1_000;

/// An event: when, and for which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedEvent {
    /// Event time, whole milliseconds.
    pub time: Timestamp,
    /// A number below [`KEYS`].
    pub key: u64,
}

/// How often a key came in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyCount {
    /// Start of the window.
    pub window: Timestamp,
    /// The key.
    pub key: u64,
    /// How often.
    pub count: u64,
}

impl Canonical for KeyCount {
    fn encode(&self, out: &mut Vec<u8>) {
        self.window.encode(out);
        self.key.encode(out);
        self.count.encode(out);
    }
}

/// The events of one source.
#[derive(Clone, Debug)]
pub struct KeyedSource {
    state: u64,
    given: u64,
    events: u64,
    millis: i64,
    left_in_milli: u64,
}

impl KeyedSource {
    /// The first `events` events of source number `source`, from 0.
    #[must_use]
    pub fn new(source: u32, events: u64) -> Self {
        Self {
            state: u64::from(source) + 1,
            given: 0,
            events,
            millis: 0,
            left_in_milli: EVENTS_PER_MILLI,
        }
    }

    /// The share of source number `source` of `events` events over all sources; the first takes the rest.
    #[must_use]
    pub fn share(source: u32, events: u64) -> Self {
        let sources = u64::from(SOURCES);
        let rest = if source == 0 { events % sources } else { 0 };
        Self::new(source, events / sources + rest)
    }

    /// Nothing earlier follows; [`Timestamp::MAX`] when nothing follows.
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        if self.given == self.events {
            return Timestamp::MAX;
        }
        Timestamp::from_millis(self.millis)
    }
}

impl Iterator for KeyedSource {
    type Item = KeyedEvent;

    #[inline]
    fn next(&mut self) -> Option<KeyedEvent> {
        if self.given == self.events {
            return None;
        }
        self.given += 1;
        let time = Timestamp::from_millis(self.millis);
        self.left_in_milli -= 1;
        if self.left_in_milli == 0 {
            self.left_in_milli = EVENTS_PER_MILLI;
            self.millis += 1;
        }
        // Knuth's multiplier; the high half is random enough to be scaled to a key.
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let key = ((self.state >> 32) * KEYS) >> 32;
        Some(KeyedEvent { time, key })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.events - self.given);
        (left.unwrap_or(usize::MAX), left.ok())
    }
}

/// Start of the window that a time lies in.
#[inline]
#[must_use]
pub fn window_of(time: Timestamp) -> Timestamp {
    let micros = WINDOW_MILLIS * 1_000;
    Timestamp::from_micros(time.as_micros().div_euclid(micros) * micros)
}

/// All counts for `events` events over all sources, by the plainest code.
#[must_use]
pub fn direct(events: u64) -> Vec<KeyCount> {
    let mut counts: BTreeMap<(Timestamp, u64), u64> = BTreeMap::new();
    for source in 0..SOURCES {
        for event in KeyedSource::share(source, events) {
            *counts
                .entry((window_of(event.time), event.key))
                .or_default() += 1;
        }
    }
    counts
        .into_iter()
        .map(|((window, key), count)| KeyCount { window, key, count })
        .collect()
}

/// Rows and checksum of [`direct`].
#[must_use]
pub fn direct_checksum(events: u64) -> Checksum {
    Checksum::of(&direct(events))
}

#[cfg(test)]
mod tests {
    use super::{EVENTS_PER_MILLI, KEYS, KeyedSource, SOURCES, direct};
    use millstream_engine::time::Timestamp;

    #[test]
    fn sources_share_the_events_and_time_runs() {
        let shares = (0..SOURCES).map(|source| KeyedSource::share(source, 1_001).count());
        assert_eq!(shares.collect::<Vec<_>>(), [501, 500]);
        let source = KeyedSource::new(0, 10 * EVENTS_PER_MILLI);
        let last = source.clone().last().unwrap();
        assert_eq!(last.time, Timestamp::from_millis(9));
        assert_eq!(source.size_hint().0, source.count());
    }

    #[test]
    fn keys_are_spread() {
        let mut seen = vec![0u32; KEYS as usize];
        for event in KeyedSource::new(1, 20 * KEYS) {
            seen[event.key as usize] += 1;
        }
        assert!(seen.iter().all(|count| (1..60).contains(count)));
    }

    #[test]
    fn the_direct_count_counts_each_event_once() {
        let rows = direct(300_000);
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 300_000);
        // 1,500 milliseconds: two windows.
        assert_eq!(rows.last().unwrap().window, Timestamp::from_seconds(1));
    }
}
