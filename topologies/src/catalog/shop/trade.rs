//! What customer and product commands and events say about a line, and its limits.
//!
//! Invariant: what keeps the limits has an exact amount, and sums of seven million such amounts are
//! exact: 10^9 units at 10^9 pounds with 4 decimals are 22 of the 28 digits that [`Money`] always has.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::money::Money;

/// Most units of one line, inclusive. The file's largest is 80,995.
pub const UNITS_MAX: i64 = 1_000_000_000;

/// Highest price of a unit, inclusive. Pounds. The file's highest is 38,970.
pub const PRICE_MAX: i64 = 1_000_000_000;

/// Most digits behind the point of a price, inclusive. The file's longest has 3.
pub const PRICE_SCALE_MAX: u32 = 4;

/// Goods that change hands: one line of an invoice. Units and price are never negative in an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// Line in the file: unique in a run, so the command's id can be made of it.
    pub line: u64,
    /// Number of the invoice.
    pub invoice: CompactString,
    /// What changes hands.
    pub stock_code: CompactString,
    /// How many, above zero.
    pub units: i64,
    /// Price of one unit in pounds, zero or above.
    pub unit_price: Money,
    /// The invoice's minute. Microseconds since 1970, UTC.
    pub at_us: i64,
    /// Where the customer lives.
    pub country: CompactString,
}

/// Why a [`Trade`] cannot be one. Nothing was decided; the same trade never will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TradeError {
    /// Zero units or fewer, or more than [`UNITS_MAX`].
    #[error("{units} units, 1 to {UNITS_MAX} expected")]
    Units {
        /// Units asked.
        units: i64,
    },
    /// Below zero, above [`PRICE_MAX`] or with more than [`PRICE_SCALE_MAX`] decimals.
    #[error("a unit price of {price}, 0 to {PRICE_MAX} with {PRICE_SCALE_MAX} decimals expected")]
    Price {
        /// Price asked.
        price: Money,
    },
}

impl Trade {
    /// Units times price in pounds; zero or above for a checked trade.
    ///
    /// # Panics
    /// When the amount has no exact decimal, which [`check`](Self::check) excludes.
    #[must_use]
    pub fn amount(&self) -> Money {
        self.unit_price
            .checked_mul(self.units)
            .expect("a checked trade has an exact amount")
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// [`TradeError`] names the number that is outside of its limits.
    pub fn check(&self) -> Result<(), TradeError> {
        if !(1..=UNITS_MAX).contains(&self.units) {
            return Err(TradeError::Units { units: self.units });
        }
        if self.unit_price.is_negative() || !price_fits(self.unit_price) {
            return Err(TradeError::Price {
                price: self.unit_price,
            });
        }
        Ok(())
    }
}

/// Whether a price, of either sign, keeps the limits.
#[must_use]
pub fn price_fits(price: Money) -> bool {
    let highest = 10i128.pow(price.scale()) * i128::from(PRICE_MAX);
    price.scale() <= PRICE_SCALE_MAX && price.mantissa().abs() <= highest
}

/// Money that moves without goods: one line of a bad-debt or other adjustment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// Line in the file, as in [`Trade::line`].
    pub line: u64,
    /// Number of the invoice.
    pub invoice: CompactString,
    /// The code the shop books it under.
    pub stock_code: CompactString,
    /// Effect on revenue in pounds, of either sign.
    pub amount: Money,
    /// The invoice's minute. Microseconds since 1970, UTC.
    pub at_us: i64,
    /// Where the customer lives.
    pub country: CompactString,
}

/// An adjustment above 10^18 pounds or with more than [`PRICE_SCALE_MAX`] decimals.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an adjustment of {amount} is out of range")]
pub struct AdjustmentTooLarge {
    /// Amount asked.
    pub amount: Money,
}

impl Adjustment {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`AdjustmentTooLarge`].
    pub fn check(&self) -> Result<(), AdjustmentTooLarge> {
        let (amount, scale) = (self.amount, self.amount.scale());
        let highest = || 10i128.pow(scale) * i128::from(PRICE_MAX) * i128::from(UNITS_MAX);
        if scale <= PRICE_SCALE_MAX && amount.mantissa().abs() <= highest() {
            return Ok(());
        }
        Err(AdjustmentTooLarge { amount })
    }
}
