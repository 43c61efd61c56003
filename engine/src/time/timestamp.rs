//! A point in time as events carry it: microseconds since the Unix epoch in one machine word.
//!
//! jiff's own timestamp has twice the size and nanoseconds that no source of ours delivers; it is
//! used where a person reads or writes a time. Cost: arithmetic and comparison of one `i64`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch, UTC; negative before 1970.
///
/// Serialized as the bare number. Displayed and parsed as RFC 3339. Arithmetic saturates at
/// [`MIN`](Self::MIN) and [`MAX`](Self::MAX), which are also the natural "before" and "after
/// everything" of watermarks.
///
/// ```
/// use millstream_engine::time::Timestamp;
/// let noon: Timestamp = "2024-02-29T12:00:00Z".parse()?;
/// assert_eq!(noon.to_string(), "2024-02-29T12:00:00Z");
/// assert_eq!(noon.as_micros(), 1_709_208_000_000_000);
/// # Ok::<(), millstream_engine::time::ParseTimestampError>(())
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A text that is no RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an RFC 3339 time: {reason}")]
pub struct ParseTimestampError {
    /// What was to be parsed.
    pub text: String,
    /// What the parser did not like.
    pub reason: String,
}

impl Timestamp {
    /// Before every other time.
    pub const MIN: Self = Self(i64::MIN);
    /// After every other time.
    pub const MAX: Self = Self(i64::MAX);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The time `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The time `millis` milliseconds after the Unix epoch, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// The time `seconds` seconds after the Unix epoch, saturating.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This time plus `by` (whole microseconds), at most [`MAX`](Self::MAX).
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(micros(by)))
    }

    /// This time minus `by` (whole microseconds), at least [`MIN`](Self::MIN).
    pub fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(micros(by)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        if self <= earlier {
            return Duration::ZERO;
        }
        Duration::from_micros(self.0.abs_diff(earlier.0))
    }

    /// The same point for jiff, clamped to jiff's years (-9999 to 9999).
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl From<jiff::Timestamp> for Timestamp {
    /// Nanoseconds below a microsecond are dropped (towards the past).
    fn from(time: jiff::Timestamp) -> Self {
        // jiff's range in microseconds fits an i64 several times over.
        Self(i64::try_from(time.as_nanosecond().div_euclid(1_000)).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for jiff::Timestamp {
    fn from(time: Timestamp) -> Self {
        time.to_jiff()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_jiff().fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(time.into()),
            Err(error) => Err(ParseTimestampError {
                text: text.to_owned(),
                reason: error.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_round_trip() {
        for micros in [0, -1, 1, 1_709_208_000_123_456, -62_000_000_000_000_000] {
            let time = Timestamp(micros);
            assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
            assert_eq!(serde_json::to_string(&time).unwrap(), micros.to_string());
        }
        assert!(
            "yesterday"
                .parse::<Timestamp>()
                .unwrap_err()
                .to_string()
                .contains("yesterday")
        );
    }

    #[test]
    fn arithmetic_saturates() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(Timestamp::MAX.saturating_add(hour), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.saturating_sub(Duration::MAX), Timestamp::MIN);
        assert_eq!(
            Timestamp::EPOCH
                .saturating_add(hour)
                .since(Timestamp::EPOCH),
            hour
        );
        assert_eq!(Timestamp::EPOCH.since(Timestamp(1)), Duration::ZERO);
        assert_eq!(
            Timestamp::MAX.since(Timestamp::MIN),
            Duration::from_micros(u64::MAX)
        );
        assert_eq!(Timestamp(-1).as_millis(), -1);
    }

    #[test]
    fn what_jiff_cannot_name_is_clamped_for_display_only() {
        assert_eq!(Timestamp::MAX.to_jiff(), jiff::Timestamp::MAX);
        assert_eq!(Timestamp::MIN.to_jiff(), jiff::Timestamp::MIN);
        let below = jiff::Timestamp::from_nanosecond(-1).unwrap();
        assert_eq!(Timestamp::from(below), Timestamp(-1));
    }
}
