//! What a process that may fail is called for, as it is kept where it waits.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::context::Timer;
use super::timers::Due;
use crate::failing::{Arrived, Work};
use crate::window::TimeDomain;

/// A call that failed, or waits behind one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Call<T> {
    Item(Arrived<T>),
    /// A timer that was reached, and is not set any more.
    Timer(Timer),
    /// An entry of the queue that was reached: what it is for, if anything still, is known when it is its turn.
    Due(Reached),
}

/// An entry of the queue without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Reached {
    is_processing: bool,
    time: i64,
    number: u64,
}

impl Reached {
    pub(super) fn of<K>(domain: TimeDomain, due: &Due<K>) -> Self {
        Self {
            is_processing: domain == TimeDomain::Processing,
            time: due.time,
            number: due.number,
        }
    }

    pub(super) const fn domain(self) -> TimeDomain {
        if self.is_processing {
            TimeDomain::Processing
        } else {
            TimeDomain::Event
        }
    }

    pub(super) fn due<K: Clone>(self, key: &K) -> Due<K> {
        Due {
            time: self.time,
            number: self.number,
            key: key.clone(),
        }
    }
}

impl<T> Call<T> {
    /// The item, if it is for one.
    pub(super) const fn item(&self) -> Option<&T> {
        match self {
            Self::Item(arrived) => Some(&arrived.item),
            Self::Timer(_) | Self::Due(_) => None,
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Work for Call<T> {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Item(arrived) => arrived.type_name(),
            Self::Timer(_) | Self::Due(_) => "timer",
        }
    }

    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Item(arrived) => arrived.to_json(),
            Self::Timer(timer) => serde_json::to_vec(timer),
            Self::Due(reached) => serde_json::to_vec(&Timer::of(reached.domain(), reached.time)),
        }
    }

    fn edited(&self, json: &str) -> Result<Self, String> {
        match self {
            Self::Item(arrived) => arrived.edited(json).map(Self::Item),
            Self::Timer(_) | Self::Due(_) => Err("a timer has nothing to edit".to_owned()),
        }
    }

    /// There are no more timers than a process has set.
    fn is_bounded(&self) -> bool {
        matches!(self, Self::Item(_))
    }
}
