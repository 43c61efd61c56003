//! A customer: what was bought and not yet given back, per stock code.
//!
//! A refund needs units bought before. One that has none is rejected; the caller then sends
//! [`CustomerCommand::RecordUnmatchedRefund`], because the money did go back: totals stay exact and the
//! table of refunds without a purchase is made of events. That record changes no units, so it may
//! arrive after later commands of the same customer and nothing is decided otherwise. The lines of such
//! records are remembered: the same refund, asked again when there are units, has been paid already.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::trade::{Adjustment, AdjustmentTooLarge, Trade, TradeError};
use millstream_operators::aggregate::{Aggregate, Decision, Event};

/// State of one customer; the default is somebody who never bought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Units bought minus units refunded per stock code; never negative, and no zeros are kept.
    held: BTreeMap<CompactString, i64>,
    /// Lines of the refunds that were recorded without a purchase.
    unmatched: BTreeSet<u64>,
}

/// What can be asked of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustomerCommand {
    /// Buys.
    Purchase(Trade),
    /// Gives back; units and price are positive numbers. Nothing happens if it is recorded already as one
    /// without a purchase.
    Refund(Trade),
    /// Gives back without being known: no purchase can be found for it, so it is refused as
    /// [`CustomerRejection::RefundWithoutPurchase`] whatever is held, unless it is recorded already.
    GuestRefund(Trade),
    /// Is charged or credited without goods.
    Adjust(Adjustment),
    /// A refund was paid that was rejected as [`CustomerRejection::RefundWithoutPurchase`]. Nothing happens
    /// if it is recorded already.
    RecordUnmatchedRefund {
        /// The refund as it was asked.
        refund: Trade,
        /// Units held when it was rejected, as the rejection says.
        bought: i64,
    },
}

/// What happened to a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustomerEvent {
    /// Units were bought.
    Purchased(Trade),
    /// Units bought before came back.
    Refunded(Trade),
    /// Money went back for units that were not bought here.
    RefundUnmatched {
        /// The refund as it was asked.
        refund: Trade,
        /// Units held when it was rejected.
        bought: i64,
    },
    /// Money moved without goods.
    Adjusted(Adjustment),
}

impl Event for CustomerEvent {}

/// Why a customer's command was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomerRejection {
    /// Fewer units were bought, or left from refunds before, than are to go back.
    #[error("{asked} of {stock_code} to be refunded, {bought} bought")]
    RefundWithoutPurchase {
        /// What is to go back.
        stock_code: CompactString,
        /// Units that could go back.
        bought: i64,
        /// Units that were to go back.
        asked: i64,
    },
    /// Units or price are outside of their limits.
    #[error(transparent)]
    Trade(#[from] TradeError),
    /// The amount of an adjustment is outside of its limits.
    #[error(transparent)]
    Adjustment(#[from] AdjustmentTooLarge),
    /// So many units are held that a number cannot say it.
    #[error("more units of {stock_code} than can be counted")]
    TooManyUnits {
        /// What is bought.
        stock_code: CompactString,
    },
}

impl Customer {
    /// Units bought minus units refunded; zero for what was never bought.
    #[must_use]
    pub fn held(&self, stock_code: &str) -> i64 {
        self.held.get(stock_code).copied().unwrap_or(0)
    }

    /// Every stock code with units held, in order.
    pub fn holdings(&self) -> impl Iterator<Item = (&str, i64)> {
        self.held
            .iter()
            .map(|(code, &units)| (code.as_str(), units))
    }
}

impl Aggregate for Customer {
    const CATEGORY: &'static str = "customer";
    const VERSION: u32 = 1;
    type Command = CustomerCommand;
    type Event = CustomerEvent;
    type Rejection = CustomerRejection;

    fn decide(
        &self,
        command: CustomerCommand,
        out: &mut Decision<'_, Self>,
    ) -> Result<(), CustomerRejection> {
        out.emit(match command {
            CustomerCommand::Purchase(trade) => {
                trade.check()?;
                if self
                    .held(&trade.stock_code)
                    .checked_add(trade.units)
                    .is_none()
                {
                    let stock_code = trade.stock_code;
                    return Err(CustomerRejection::TooManyUnits { stock_code });
                }
                CustomerEvent::Purchased(trade)
            }
            CustomerCommand::Refund(trade) => {
                trade.check()?;
                if self.unmatched.contains(&trade.line) {
                    return Ok(());
                }
                let (bought, asked) = (self.held(&trade.stock_code), trade.units);
                if bought < asked {
                    let stock_code = trade.stock_code;
                    return Err(CustomerRejection::RefundWithoutPurchase {
                        stock_code,
                        bought,
                        asked,
                    });
                }
                CustomerEvent::Refunded(trade)
            }
            CustomerCommand::GuestRefund(trade) => {
                trade.check()?;
                if self.unmatched.contains(&trade.line) {
                    return Ok(());
                }
                return Err(CustomerRejection::RefundWithoutPurchase {
                    stock_code: trade.stock_code,
                    bought: 0,
                    asked: trade.units,
                });
            }
            CustomerCommand::Adjust(adjustment) => {
                adjustment.check()?;
                CustomerEvent::Adjusted(adjustment)
            }
            CustomerCommand::RecordUnmatchedRefund { refund, bought } => {
                refund.check()?;
                if self.unmatched.contains(&refund.line) {
                    return Ok(());
                }
                CustomerEvent::RefundUnmatched { refund, bought }
            }
        });
        Ok(())
    }

    fn evolve(&mut self, event: &CustomerEvent) {
        let (trade, units) = match event {
            CustomerEvent::Purchased(trade) => (trade, trade.units),
            CustomerEvent::Refunded(trade) => (trade, -trade.units),
            CustomerEvent::RefundUnmatched { refund, .. } => {
                self.unmatched.insert(refund.line);
                return;
            }
            CustomerEvent::Adjusted(_) => return,
        };
        let held = self.held(&trade.stock_code) + units;
        if held == 0 {
            self.held.remove(&trade.stock_code);
        } else {
            self.held.insert(trade.stock_code.clone(), held);
        }
    }
}
