//! What a run of the generator is made of.

use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How many events, by how many generators, how fast in event time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NexmarkConfig {
    /// Events of all generators together. Default 100,000.
    pub events: u64,
    /// Generators, 1 to 65,536, default 100. Each has a contiguous range of event ids, and all begin at
    /// [`base_time`](Self::base_time): more of them lie more closely in event time, none is ahead.
    pub generators: u32,
    /// Events a second of event time, of all generators together, 1 to 2,000,000, default 10,000. More
    /// squeezes the same events into fewer windows; it says nothing about how fast they are made.
    pub event_rate: u64,
    /// Within groups of this many events of a generator, ids and times are shuffled: 1 to 1,000,000 and no
    /// multiple of 953; 1, the default, keeps order. If a generator's events are no multiple of it, ids of
    /// the last group go beyond the generator's range, as they do in the reference.
    pub out_of_order_group: u64,
    /// Event time of each generator's first event, whole milliseconds. Default 2015-07-15T00:00:00Z.
    pub base_time: Timestamp,
    /// Whether events carry the random padding that brings people, auctions and bids to about 200, 500 and
    /// 100 bytes. Default no: no query reads it, and it would cost more than all the rest. Everything else
    /// is the same with and without it.
    pub padding: bool,
}

/// Why a configuration cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NexmarkConfigError {
    /// No generator, or too many.
    #[error("`generators` is {0}, not 1 to 65,536")]
    Generators(u32),
    /// No rate, or one whose events would all have the same time.
    #[error("`event_rate` is {0}, not 1 to 2,000,000")]
    EventRate(u64),
    /// A group that is empty, too large or does not shuffle.
    #[error("`out_of_order_group` is {0}, not 1 to 1,000,000 and no multiple of 953")]
    OutOfOrderGroup(u64),
    /// A time between two milliseconds, or one so late that event times would not fit.
    #[error("`base_time` {0} is no whole millisecond between the years 1970 and 9999")]
    BaseTime(Timestamp),
    /// More events than have a number or a time.
    #[error("`events` is {0}, more than 10^12")]
    Events(u64),
}

/// 9999-12-31T00:00:00Z
const LAST_BASE: Timestamp = Timestamp::from_seconds(253_402_214_400);

impl Default for NexmarkConfig {
    fn default() -> Self {
        Self {
            events: 100_000,
            generators: 100,
            event_rate: 10_000,
            out_of_order_group: 1,
            base_time: Timestamp::from_seconds(1_436_918_400),
            padding: false,
        }
    }
}

impl NexmarkConfig {
    /// The default with this many events.
    #[must_use]
    pub fn of(events: u64) -> Self {
        Self {
            events,
            ..Self::default()
        }
    }

    /// The same with this many generators.
    #[must_use]
    pub fn generators(self, generators: u32) -> Self {
        Self { generators, ..self }
    }

    /// Looks for values that cannot be.
    ///
    /// # Errors
    /// The first of [`NexmarkConfigError`] that applies.
    pub fn validate(&self) -> Result<(), NexmarkConfigError> {
        if !(1..=65_536).contains(&self.generators) {
            return Err(NexmarkConfigError::Generators(self.generators));
        }
        if !(1..=2_000_000).contains(&self.event_rate) {
            return Err(NexmarkConfigError::EventRate(self.event_rate));
        }
        let group = self.out_of_order_group;
        if !(1..=1_000_000).contains(&group) || group.is_multiple_of(953) {
            return Err(NexmarkConfigError::OutOfOrderGroup(group));
        }
        let base = self.base_time;
        if base.as_micros() % 1_000 != 0 || !(Timestamp::EPOCH..=LAST_BASE).contains(&base) {
            return Err(NexmarkConfigError::BaseTime(base));
        }
        if self.events > 1_000_000_000_000 {
            return Err(NexmarkConfigError::Events(self.events));
        }
        Ok(())
    }

    /// Microseconds of event time between two events of one generator.
    pub(super) fn delay_micros(&self) -> u64 {
        (1_000_000 + self.event_rate / 2) / self.event_rate * u64::from(self.generators)
    }

    /// First event id and number of events of a generator, from 0: equal shares, the last takes the rest.
    pub(super) fn range_of(&self, generator: u32) -> (u64, u64) {
        let generators = u64::from(self.generators);
        let share = self.events / generators;
        let first = share * u64::from(generator);
        if generator + 1 == self.generators {
            (first, self.events - first)
        } else {
            (first, share)
        }
    }
}
