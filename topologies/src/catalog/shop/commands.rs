//! Maps an invoice line to commands: a pure function, so a repeated run asks for the same.

use compact_str::{CompactString, format_compact};

use super::customer::CustomerCommand;
use super::line::{GUEST_PREFIX, InvoiceLine};
use super::product::ProductCommand;
use super::rules::{self, LineKind};
use super::trade::{Adjustment, Trade};
use crate::money::Money;

/// A command and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressed<C> {
    /// Id within the aggregate's category.
    pub id: CompactString,
    /// What is asked.
    pub command: C,
}

/// What one line asks for. Line number and category make each command's id unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineCommands {
    /// Line in the file.
    pub line: u64,
    /// What the line does.
    pub kind: LineKind,
    /// For the customer; `None` for a write-off without a price, in which no customer takes part.
    pub customer: Option<Addressed<CustomerCommand>>,
    /// For the product.
    pub product: Addressed<ProductCommand>,
}

/// The id of a line's customer: the shop's own, or `guest.<invoice>` where the file has none.
///
/// Not one guest per country: most lines without a customer are British and would be one stream of
/// 133,600 lines on one partition, and strangers' refunds would match each other's purchases.
#[must_use]
pub fn customer_id(line: &InvoiceLine) -> CompactString {
    match &line.customer {
        Some(customer) => customer.clone(),
        None => format_compact!("{GUEST_PREFIX}{}", line.invoice),
    }
}

/// The commands of one line. Numbers out of their limits are left for the aggregates to reject.
#[must_use]
pub fn commands(line: &InvoiceLine) -> LineCommands {
    let kind = rules::kind(line);
    let (customer, product) = match kind {
        LineKind::Purchase => {
            let trade = trade(line);
            (
                Some(CustomerCommand::Purchase(trade.clone())),
                ProductCommand::Sell(trade),
            )
        }
        LineKind::Refund => {
            let trade = trade(line);
            let refund = match line.customer {
                Some(_) => CustomerCommand::Refund(trade.clone()),
                None => CustomerCommand::GuestRefund(trade.clone()),
            };
            (Some(refund), ProductCommand::Return(trade))
        }
        LineKind::WriteOff => {
            // With a price it would change revenue, which the customers' events must add up to.
            let adjust =
                (!line.unit_price.is_zero()).then(|| CustomerCommand::Adjust(adjustment(line)));
            (adjust, ProductCommand::WriteOff(trade(line)))
        }
        LineKind::Adjustment => {
            let adjustment = adjustment(line);
            (
                Some(CustomerCommand::Adjust(adjustment.clone())),
                ProductCommand::Adjust(adjustment),
            )
        }
    };
    LineCommands {
        line: line.number,
        kind,
        customer: customer.map(|command| Addressed {
            id: customer_id(line),
            command,
        }),
        product: Addressed {
            id: line.stock_code.clone(),
            command: product,
        },
    }
}

fn trade(line: &InvoiceLine) -> Trade {
    Trade {
        line: line.number,
        invoice: line.invoice.clone(),
        stock_code: line.stock_code.clone(),
        units: line.quantity.saturating_abs(),
        unit_price: line.unit_price,
        at_us: line.at_us,
        country: line.country.clone(),
    }
}

fn adjustment(line: &InvoiceLine) -> Adjustment {
    // An amount without an exact decimal is far out of the limits; the price at its full number of
    // decimals stands in for it, only to be rejected.
    let beyond = || Money::new(i128::from(i64::MAX), 28).unwrap_or_default();
    Adjustment {
        line: line.number,
        invoice: line.invoice.clone(),
        stock_code: line.stock_code.clone(),
        amount: line
            .unit_price
            .checked_mul(line.quantity)
            .unwrap_or_else(beyond),
        at_us: line.at_us,
        country: line.country.clone(),
    }
}
