//! A moment, as microseconds since 1970-01-01T00:00:00Z.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch, negative before it. Every `i64` is a valid timestamp; those
/// outside the years -9999 to 9999 are shown as a plain number of microseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `duration` later; the last one there is when that is past the end.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// The moment `duration` earlier; the first one there is when that is before the start.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(moment: jiff::Timestamp) -> Self {
        Self(moment.as_microsecond())
    }
}

/// RFC 3339 in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment}"),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse::<jiff::Timestamp>()?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trips(micros in -60_000_000_000_000_000i64..250_000_000_000_000_000) {
            let moment = Timestamp(micros);
            prop_assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        }

        #[test]
        fn arithmetic_saturates(micros: i64, seconds: u64) {
            let (moment, step) = (Timestamp(micros), Duration::from_secs(seconds));
            let exact = i128::from(seconds) * 1_000_000;
            let clamp = |n: i128| n.clamp(i64::MIN.into(), i64::MAX.into());
            // A step that does not fit 64 bits is as good as the longest that does.
            let step_known = exact.min(i64::MAX.into());
            prop_assert_eq!(i128::from(moment.saturating_add(step).0), clamp(i128::from(micros) + step_known));
            prop_assert_eq!(i128::from(moment.saturating_sub(step).0), clamp(i128::from(micros) - step_known));
        }
    }
}
