//! Exact decimal money.
//!
//! Place: amounts and prices of the ready-made topologies. Invariant: an operation either gives the
//! exact decimal result or says that it cannot; nothing is ever rounded. Equality and order look at the
//! value, so 2.1 equals 2.10. Failure: the `checked_` methods answer `None`, the operators panic.
//! Cost: a decimal of 16 bytes, copied. Not here: currencies, and whole cents, see
//! [`Cents`](crate::catalog::bank::Cents).

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use millstream_operators::function::Summable;
use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

/// An exact amount of money, negative or not, with at most 28 digits after the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(Decimal);

/// A text that is not an exact decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an exact decimal amount")]
pub struct MoneyError;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// The amount `mantissa / 10^scale`; `None` outside 96 bits or beyond 28 digits after the point.
    #[must_use]
    pub fn new(mantissa: i128, scale: u32) -> Option<Self> {
        Decimal::try_from_i128_with_scale(mantissa, scale)
            .ok()
            .map(Self)
    }

    /// All digits as one whole number: 2.55 gives 255.
    #[must_use]
    pub fn mantissa(self) -> i128 {
        self.0.mantissa()
    }

    /// Digits after the point, trailing zeros included: 2.50 gives 2.
    #[must_use]
    pub fn scale(self) -> u32 {
        self.0.scale()
    }

    /// Whether the amount is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Whether the amount is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self < Self::ZERO
    }

    /// The amount without its sign.
    #[must_use]
    pub fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// The exact sum, with as many digits after the point as the finer of the two, so that a sum over
    /// many has the same digits in any order; `None` when these are more digits than there are.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        // Not the decimal's own sum: it drops digits when they do not fit.
        let scale = self.scale().max(other.scale());
        let widened = |side: Self| {
            side.mantissa()
                .checked_mul(10i128.pow(scale - side.scale()))
        };
        Self::new(widened(self)?.checked_add(widened(other)?)?, scale)
    }

    /// The exact difference; `None` when it needs more digits than there are.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(-other)
    }

    /// The exact product with a whole number; `None` when it needs more digits than there are.
    #[must_use]
    pub fn checked_mul(self, units: i64) -> Option<Self> {
        Self::new(
            self.mantissa().checked_mul(i128::from(units))?,
            self.scale(),
        )
    }
}

/// A zero never carries a sign, which the binary form could not keep.
fn unsigned_zero(mut value: Decimal) -> Decimal {
    if value.is_zero() {
        value.set_sign_positive(true);
    }
    value
}

impl Add for Money {
    type Output = Self;

    /// # Panics
    /// When the sum needs more digits than there are, see [`Money::checked_add`].
    fn add(self, other: Self) -> Self {
        self.checked_add(other)
            .expect("a sum of money fits 96 bits")
    }
}

impl Sub for Money {
    type Output = Self;

    /// # Panics
    /// When the difference needs more digits than there are, see [`Money::checked_sub`].
    fn sub(self, other: Self) -> Self {
        self.checked_sub(other)
            .expect("a difference of money fits 96 bits")
    }
}

impl Neg for Money {
    type Output = Self;

    fn neg(self) -> Self {
        Self(unsigned_zero(-self.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Money {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl<'a> Sum<&'a Money> for Money {
    fn sum<I: Iterator<Item = &'a Self>>(amounts: I) -> Self {
        amounts.copied().sum()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    /// Reads `-12.340`: an optional sign, digits, an optional point with digits. No exponent, no
    /// separators, and a number with more digits than fit is refused, not rounded.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(part) {
            return Err(MoneyError);
        }
        let value = Decimal::from_str_exact(text).map_err(|_| MoneyError)?;
        Ok(Self(unsigned_zero(value)))
    }
}

impl Serialize for Money {
    /// Text for readers of text, `(mantissa, scale)` for machines.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.mantissa(), self.scale()).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            let (mantissa, scale) = <(i128, u32)>::deserialize(deserializer)?;
            Self::new(mantissa, scale).ok_or_else(|| D::Error::custom(MoneyError))
        }
    }
}

/// Totals are exact, or adding panics as the operators do.
impl Summable for Money {
    type Total = Self;
    const EXACT: bool = true;

    fn zero() -> Self {
        Self::ZERO
    }

    fn add_to(self, total: &mut Self) {
        *total += self;
    }

    fn merge(total: &mut Self, other: &Self) {
        *total += *other;
    }

    fn subtract(total: &mut Self, other: &Self) {
        *total -= *other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_money() -> impl Strategy<Value = Money> {
        const WIDEST: i128 = (1 << 96) - 1;
        (-WIDEST..=WIDEST, 0u32..=28).prop_map(|(mantissa, scale)| {
            Money::new(mantissa, scale).expect("within 96 bits and 28 digits")
        })
    }

    fn money(text: &str) -> Money {
        text.parse()
            .expect("a test writes amounts that are amounts")
    }

    /// Goal: the stored digits come back, trailing zeros included, from both forms.
    #[test]
    fn both_forms_round_trip() {
        proptest!(|(amount in any_money())| {
            let text = serde_json::to_string(&amount).unwrap();
            let from_text: Money = serde_json::from_str(&text).unwrap();
            let bytes = rmp_serde::to_vec(&amount).unwrap();
            let from_bytes: Money = rmp_serde::from_slice(&bytes).unwrap();
            for back in [from_text, from_bytes, amount.to_string().parse().unwrap()] {
                prop_assert_eq!((back.mantissa(), back.scale()), (amount.mantissa(), amount.scale()));
            }
        });
    }

    /// Goal: no sum or product is ever rounded. Method: the same in 128-bit whole numbers.
    #[test]
    fn arithmetic_is_exact_or_refused() {
        proptest!(|(a in any_money(), b in any_money(), units: i64)| {
            if let Some(sum) = a.checked_add(b) {
                prop_assert_eq!(sum.scale(), a.scale().max(b.scale()));
                // With the finer scale of the two, `a` itself may have more digits than fit.
                if let Some(back) = sum.checked_sub(b) {
                    prop_assert_eq!(back, a);
                }
                prop_assert_eq!(b + a, sum);
            }
            if let Some(product) = a.checked_mul(units) {
                prop_assert_eq!(product.mantissa(), a.mantissa() * i128::from(units));
                prop_assert_eq!(product.scale(), a.scale());
            }
        });
    }

    #[test]
    fn text_never_panics_and_values_compare() {
        proptest!(|(text in ".{0,60}")| { let _ = text.parse::<Money>(); });
        for wrong in [
            "",
            "-",
            "1e3",
            "1,5",
            "1_000",
            " 1",
            ".5",
            "5.",
            "NaN",
            "99999999999999999999999999999999",
        ] {
            assert_eq!(wrong.parse::<Money>(), Err(MoneyError), "{wrong}");
        }
        assert_eq!(money("2.10"), money("2.1"));
        assert!(money("-0.01") < Money::ZERO);
        assert_eq!(money("-0.00").to_string(), "0.00");
        assert_eq!(
            [money("1.10"), money("-0.105")].iter().sum::<Money>(),
            money("0.995")
        );
        assert_eq!((money("0.00") + money("5")).to_string(), "5.00");
        assert_eq!(Money::new(i128::MAX, 0), None);
    }
}
