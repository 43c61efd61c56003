//! A product: the ledger of one stock code.
//!
//! It records and judges nothing but limits: goods come back that were sold before the file begins, so
//! more units may be returned than sold. Codes that are no goods (postage, discounts, fees) have a
//! ledger like any other, or revenue by product would not add up.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::trade::{Adjustment, AdjustmentTooLarge, Trade, TradeError};
use millstream_operators::aggregate::{Aggregate, Decision, Event};

/// State of one stock code; the default was never sold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Units sold, all time.
    pub sold: i64,
    /// Units returned, all time.
    pub returned: i64,
    /// Units written off (damaged, lost, miscounted), all time.
    pub written_off: i64,
}

/// What can be asked of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProductCommand {
    /// Units leave to a customer.
    Sell(Trade),
    /// Units come back from a customer; units and price are positive numbers.
    Return(Trade),
    /// Units are gone without a customer.
    WriteOff(Trade),
    /// Money is booked under this code without goods.
    Adjust(Adjustment),
}

/// What happened to a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProductEvent {
    /// Units left to a customer.
    Sold(Trade),
    /// Units came back.
    Returned(Trade),
    /// Units are gone; the amount, if the line has a price, counts against revenue.
    WrittenOff(Trade),
    /// Money was booked without goods.
    Adjusted(Adjustment),
}

impl Event for ProductEvent {}

/// Why a product's command was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProductRejection {
    /// Units or price are outside of their limits.
    #[error(transparent)]
    Trade(#[from] TradeError),
    /// The amount of an adjustment is outside of its limits.
    #[error(transparent)]
    Adjustment(#[from] AdjustmentTooLarge),
    /// So many units have moved that a number cannot say it.
    #[error("more units of {stock_code} than can be counted")]
    TooManyUnits {
        /// What moves.
        stock_code: CompactString,
    },
}

fn check(trade: &Trade, units_before: i64) -> Result<(), ProductRejection> {
    trade.check()?;
    match units_before.checked_add(trade.units) {
        Some(_) => Ok(()),
        None => Err(ProductRejection::TooManyUnits {
            stock_code: trade.stock_code.clone(),
        }),
    }
}

impl Aggregate for Product {
    const CATEGORY: &'static str = "product";
    const VERSION: u32 = 1;
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Rejection = ProductRejection;

    fn decide(
        &self,
        command: ProductCommand,
        out: &mut Decision<'_, Self>,
    ) -> Result<(), ProductRejection> {
        out.emit(match command {
            ProductCommand::Sell(trade) => {
                check(&trade, self.sold)?;
                ProductEvent::Sold(trade)
            }
            ProductCommand::Return(trade) => {
                check(&trade, self.returned)?;
                ProductEvent::Returned(trade)
            }
            ProductCommand::WriteOff(trade) => {
                check(&trade, self.written_off)?;
                ProductEvent::WrittenOff(trade)
            }
            ProductCommand::Adjust(adjustment) => {
                adjustment.check()?;
                ProductEvent::Adjusted(adjustment)
            }
        });
        Ok(())
    }

    fn evolve(&mut self, event: &ProductEvent) {
        match event {
            ProductEvent::Sold(trade) => self.sold += trade.units,
            ProductEvent::Returned(trade) => self.returned += trade.units,
            ProductEvent::WrittenOff(trade) => self.written_off += trade.units,
            ProductEvent::Adjusted(_) => {}
        }
    }
}
