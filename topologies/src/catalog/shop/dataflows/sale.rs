//! What the dataflows read: a customer's event as one flat item.

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalog::shop::line::GUEST_PREFIX;
use crate::catalog::shop::{CustomerEvent, rows};
use crate::money::Money;

/// What a line did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SaleKind {
    /// Goods were bought.
    Purchase,
    /// Goods came back, bought here before or not.
    Refund,
    /// Money moved without goods.
    Adjustment,
}

/// One invoice line in which a customer took part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sale {
    /// Line in the file.
    pub line: u64,
    /// The invoice's minute.
    pub at: Timestamp,
    /// What the line did.
    pub kind: SaleKind,
    /// Who; `guest.<invoice>` where the file does not say.
    pub customer: CompactString,
    /// Number of the invoice.
    pub invoice: CompactString,
    /// What was sold.
    pub stock_code: CompactString,
    /// Where the customer lives.
    pub country: CompactString,
    /// Units: above zero when bought, below when they came back, zero for an adjustment.
    pub units: i64,
    /// Effect on revenue. Pounds.
    pub amount: Money,
}

impl Sale {
    /// The item that an event of the customer with this id makes.
    #[must_use]
    pub fn of(customer: &str, event: CustomerEvent) -> Self {
        let amount = rows::customer_amount(&event);
        let at = time(&event);
        let customer = customer.into();
        let (kind, trade, sign) = match event {
            CustomerEvent::Purchased(trade) => (SaleKind::Purchase, trade, 1),
            CustomerEvent::Refunded(trade)
            | CustomerEvent::RefundUnmatched { refund: trade, .. } => (SaleKind::Refund, trade, -1),
            CustomerEvent::Adjusted(adjustment) => {
                return Self {
                    line: adjustment.line,
                    at,
                    kind: SaleKind::Adjustment,
                    customer,
                    invoice: adjustment.invoice,
                    stock_code: adjustment.stock_code,
                    country: adjustment.country,
                    units: 0,
                    amount,
                };
            }
        };
        Self {
            line: trade.line,
            at,
            kind,
            customer,
            invoice: trade.invoice,
            stock_code: trade.stock_code,
            country: trade.country,
            units: sign * trade.units,
            amount,
        }
    }

    /// Whether the file says who the customer is.
    #[must_use]
    pub fn is_known_customer(&self) -> bool {
        !self.customer.starts_with(GUEST_PREFIX)
    }
}

/// The invoice's minute of an event.
#[must_use]
pub fn time(event: &CustomerEvent) -> Timestamp {
    Timestamp::from_micros(match event {
        CustomerEvent::Purchased(trade)
        | CustomerEvent::Refunded(trade)
        | CustomerEvent::RefundUnmatched { refund: trade, .. } => trade.at_us,
        CustomerEvent::Adjusted(adjustment) => adjustment.at_us,
    })
}
