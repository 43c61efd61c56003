//! What can be added up and averaged: numbers, and any type of one's own.
//!
//! Place: below `sum` and `mean`. Totals of integers are wider than the integers: 64 bits for up to 32, 128 for 64
//! bits, so that no stream reaches their end. They add modulo 2^n, so neither the order of adding nor a passing
//! overflow changes a result that fits.

use rust_decimal::Decimal;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A quantity with a total.
///
/// Adding must not depend on the order, up to rounding where not [`EXACT`](Self::EXACT).
pub trait Summable {
    /// What the quantities add up to.
    type Total: Clone + Send + Serialize + DeserializeOwned + 'static;

    /// Whether adding never rounds, so that [`subtract`](Self::subtract) undoes it.
    const EXACT: bool;

    /// The total of nothing.
    fn zero() -> Self::Total;

    /// Adds this quantity.
    fn add_to(self, total: &mut Self::Total);

    /// Adds a total to a total.
    fn merge(total: &mut Self::Total, other: &Self::Total);

    /// Takes a total out of a total. Called only where [`EXACT`](Self::EXACT).
    fn subtract(total: &mut Self::Total, other: &Self::Total);
}

/// A quantity with a mean.
pub trait Averaged: Summable {
    /// The type of the mean.
    type Mean;

    /// `total` divided by `count`, which is at least 1.
    fn divide(total: &Self::Total, count: u64) -> Self::Mean;
}

macro_rules! integers {
    ($($integer:ty => $total:ty),+ $(,)?) => {$(
        impl Summable for $integer {
            type Total = $total;
            const EXACT: bool = true;

            #[inline]
            fn zero() -> $total {
                0
            }

            #[inline]
            fn add_to(self, total: &mut $total) {
                *total = total.wrapping_add(self as $total);
            }

            #[inline]
            fn merge(total: &mut $total, other: &$total) {
                *total = total.wrapping_add(*other);
            }

            #[inline]
            fn subtract(total: &mut $total, other: &$total) {
                *total = total.wrapping_sub(*other);
            }
        }

        impl Averaged for $integer {
            type Mean = f64;

            #[inline]
            fn divide(total: &$total, count: u64) -> f64 {
                *total as f64 / count as f64
            }
        }
    )+};
}

integers! {
    u8 => u64, u16 => u64, u32 => u64, u64 => u128, usize => u128, u128 => u128,
    i8 => i64, i16 => i64, i32 => i64, i64 => i128, isize => i128, i128 => i128,
}

macro_rules! floats {
    ($($float:ty),+) => {$(
        impl Summable for $float {
            type Total = f64;
            const EXACT: bool = false;

            #[inline]
            fn zero() -> f64 {
                0.0
            }

            #[inline]
            fn add_to(self, total: &mut f64) {
                *total += f64::from(self);
            }

            #[inline]
            fn merge(total: &mut f64, other: &f64) {
                *total += other;
            }

            #[inline]
            fn subtract(total: &mut f64, other: &f64) {
                *total -= other;
            }
        }

        impl Averaged for $float {
            type Mean = f64;

            #[inline]
            fn divide(total: &f64, count: u64) -> f64 {
                total / count as f64
            }
        }
    )+};
}

floats!(f32, f64);

/// Exact up to 28 digits; beyond them sums are rounded, so nothing is ever subtracted. A total past 7.9 · 10^28 panics.
impl Summable for Decimal {
    type Total = Decimal;
    const EXACT: bool = false;

    fn zero() -> Decimal {
        Decimal::ZERO
    }

    fn add_to(self, total: &mut Decimal) {
        *total += self;
    }

    fn merge(total: &mut Decimal, other: &Decimal) {
        *total += *other;
    }

    fn subtract(total: &mut Decimal, other: &Decimal) {
        *total -= *other;
    }
}

impl Averaged for Decimal {
    type Mean = Decimal;

    fn divide(total: &Decimal, count: u64) -> Decimal {
        *total / Decimal::from(count)
    }
}
