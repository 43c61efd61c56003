//! Whole hundredths of the bank's currency: as exact as [`Money`](crate::money::Money), half its size, and
//! stored as one whole number. Nothing here overflows: sums are checked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount in whole hundredths, negative or not.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Cents(i64);

/// A text that is not an amount with at most two decimals, or one too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an amount in whole hundredths")]
pub struct CentsError;

impl Cents {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many hundredths.
    #[must_use]
    pub const fn new(hundredths: i64) -> Self {
        Self(hundredths)
    }

    /// The amount in hundredths.
    #[must_use]
    pub const fn hundredths(self) -> i64 {
        self.0
    }

    /// Whether the amount is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The sum; `None` beyond 64 bits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` beyond 64 bits.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl fmt::Display for Cents {
    /// `-12.05`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(out, "{sign}{}.{:02}", size / 100, size % 100)
    }
}

impl FromStr for Cents {
    type Err = CentsError;

    /// Reads `-12.05`, `12.5` or `12`: no separators, no exponent, nothing rounded.
    fn from_str(text: &str) -> Result<Self, CentsError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(part) || part.len() > 2 {
            return Err(CentsError);
        }
        let whole: i128 = whole.parse().map_err(|_| CentsError)?;
        let part: i128 = format!("{part:0<2}").parse().map_err(|_| CentsError)?;
        let size = whole
            .checked_mul(100)
            .and_then(|size| size.checked_add(part))
            .ok_or(CentsError)?;
        i64::try_from(if negative { -size } else { size })
            .map(Self)
            .map_err(|_| CentsError)
    }
}
