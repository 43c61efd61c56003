//! What the aggregates decide, one rule after the other.

use compact_str::CompactString;
use proptest::prelude::*;

use crate::catalog::shop::commands::{commands, customer_id};
use crate::catalog::shop::line::InvoiceLine;
use crate::catalog::shop::rows::{self, ProductRow, UnmatchedRefundRow};
use crate::catalog::shop::rules::{self, LineKind};
use crate::catalog::shop::trade::{Adjustment, TradeError, UNITS_MAX};
use crate::catalog::shop::{
    Customer, CustomerCommand, CustomerEvent, CustomerRejection, Product, ProductCommand,
    ProductEvent, ProductRejection, Trade,
};
use crate::catalog::testing::{given, send};
use crate::money::Money;

fn trade(units: i64) -> Trade {
    Trade {
        line: 2,
        invoice: "536365".into(),
        stock_code: "85123A".into(),
        units,
        unit_price: "2.55".parse().unwrap(),
        at_us: 0,
        country: "France".into(),
    }
}

#[test]
fn refund_takes_units_back() {
    let bought = [CustomerEvent::Purchased(trade(6))];
    let refunded = given::<Customer>(&bought)
        .when(CustomerCommand::Refund(trade(6)))
        .unwrap();
    assert_eq!(refunded, [CustomerEvent::Refunded(trade(6))]);

    let history = [bought[0].clone(), refunded[0].clone()];
    let again = given::<Customer>(&history).when(CustomerCommand::Refund(trade(1)));
    let stock_code = CompactString::from("85123A");
    let refused = CustomerRejection::RefundWithoutPurchase {
        stock_code,
        bought: 0,
        asked: 1,
    };
    assert_eq!(again, Err(refused));
}

#[test]
fn unmatched_refund_is_recorded_and_moves_no_units() {
    let mut customer = Customer::default();
    send(&mut customer, CustomerCommand::Purchase(trade(2))).unwrap();
    let record = CustomerCommand::RecordUnmatchedRefund {
        refund: trade(3),
        bought: 2,
    };
    let events = send(&mut customer, record).unwrap();
    assert_eq!(
        events,
        [CustomerEvent::RefundUnmatched {
            refund: trade(3),
            bought: 2
        }]
    );
    assert_eq!(customer.held("85123A"), 2);
    assert_eq!(customer.holdings().collect::<Vec<_>>(), [("85123A", 2)]);
    let row = UnmatchedRefundRow::of(&events[0]).unwrap();
    assert_eq!(
        (row.asked, row.bought, row.amount),
        (3, 2, "7.65".parse().unwrap())
    );
}

/// Story: a guest's refund was matched with what stood as bought on the same cancellation, against the rule.
#[test]
fn refund_of_a_guest_matches_no_purchase() {
    let mut guest = Customer::default();
    let mut line = line("C536365", 5, "2.55");
    send(&mut guest, commands(&line).customer.unwrap().command).unwrap();
    (line.number, line.quantity) = (3, -5);
    let asked = commands(&line).customer.unwrap().command;
    let refused = CustomerRejection::RefundWithoutPurchase {
        stock_code: "85123A".into(),
        bought: 0,
        asked: 5,
    };
    assert_eq!(send(&mut guest, asked.clone()), Err(refused));
    let CustomerCommand::GuestRefund(refund) = asked.clone() else {
        panic!("{asked:?}")
    };
    let record = CustomerCommand::RecordUnmatchedRefund { refund, bought: 0 };
    send(&mut guest, record).unwrap();
    assert_eq!(send(&mut guest, asked), Ok(Vec::new()));
    assert_eq!(guest.held("85123A"), 5);
}

/// Goal: a refund that was paid is not paid again, though units are there by now.
#[test]
fn recorded_refund_is_not_paid_again() {
    let refund = trade(3);
    let purchase = Trade {
        line: 3,
        ..trade(9)
    };
    let recorded = CustomerEvent::RefundUnmatched {
        refund: refund.clone(),
        bought: 0,
    };
    let history = [recorded, CustomerEvent::Purchased(purchase)];
    let again = given::<Customer>(&history).when(CustomerCommand::Refund(refund.clone()));
    assert_eq!(again, Ok(Vec::new()));
    let record = CustomerCommand::RecordUnmatchedRefund { refund, bought: 0 };
    assert_eq!(given::<Customer>(&history).when(record), Ok(Vec::new()));
    let other = Trade {
        line: 4,
        ..trade(3)
    };
    let other = given::<Customer>(&history).when(CustomerCommand::Refund(other));
    assert!(matches!(other.unwrap()[..], [CustomerEvent::Refunded(_)]));
}

#[test]
fn numbers_outside_of_the_limits_are_rejected() {
    for units in [0, -1, UNITS_MAX + 1, i64::MIN, i64::MAX] {
        let refused = given::<Customer>(&[]).when(CustomerCommand::Purchase(trade(units)));
        assert_eq!(refused, Err(TradeError::Units { units }.into()));
        let refused = given::<Product>(&[]).when(ProductCommand::Sell(trade(units)));
        assert_eq!(refused, Err(TradeError::Units { units }.into()));
    }
    for price in ["-0.01", "0.00001", "1000000001"] {
        let trade = Trade {
            unit_price: price.parse().unwrap(),
            ..trade(1)
        };
        let refused = given::<Product>(&[]).when(ProductCommand::WriteOff(trade));
        assert!(matches!(
            refused,
            Err(ProductRejection::Trade(TradeError::Price { .. }))
        ));
    }
    let full = Trade {
        units: i64::MAX,
        ..trade(1)
    };
    let refused =
        given::<Product>(&[ProductEvent::Sold(full)]).when(ProductCommand::Sell(trade(1)));
    assert!(matches!(
        refused,
        Err(ProductRejection::TooManyUnits { .. })
    ));
}

fn line(invoice: &str, quantity: i64, price: &str) -> InvoiceLine {
    InvoiceLine {
        number: 2,
        invoice: invoice.into(),
        stock_code: "85123A".into(),
        description: None,
        quantity,
        at_us: 0,
        unit_price: price.parse().unwrap(),
        customer: None,
        country: "France".into(),
    }
}

#[test]
fn sign_and_invoice_decide_what_a_line_is() {
    for (invoice, quantity, price, expected) in [
        ("536365", 6, "2.55", LineKind::Purchase),
        ("536365", 6, "0", LineKind::Purchase),
        ("C536365", 6, "2.55", LineKind::Purchase),
        ("C536365", -6, "2.55", LineKind::Refund),
        ("536365", -6, "0", LineKind::WriteOff),
        ("A563186", 1, "2.55", LineKind::Adjustment),
        ("536365", 1, "-2.55", LineKind::Adjustment),
        ("536365", 0, "2.55", LineKind::Adjustment),
    ] {
        assert_eq!(
            rules::kind(&line(invoice, quantity, price)),
            expected,
            "{invoice} {quantity}"
        );
    }
    assert_eq!(customer_id(&line("536365", 1, "1")), "guest.536365");
}

/// Goal: whatever the numbers, commands are made or rejected, and both sides count the same money.
#[test]
fn any_line_counts_the_same_on_both_sides() {
    let numbers = (any::<i64>(), any::<i64>(), 0u32..=28, "[AC]?[0-9]{6}");
    proptest!(|((wide, mantissa, scale, invoice) in numbers, small in -9i64..9, tiny: bool)| {
        let quantity = if tiny { small } else { wide };
        let unit_price = Money::new(i128::from(mantissa), scale).unwrap();
        let asked = commands(&InvoiceLine { unit_price, ..line(&invoice, quantity, "0") });
        let sold = send(&mut Product::default(), asked.product.command);
        let Some(to) = asked.customer else { return Ok(()) };
        let mut customer = Customer::default();
        let bought = match (send(&mut customer, to.command.clone()), to.command) {
            (
                Err(CustomerRejection::RefundWithoutPurchase { bought, .. }),
                CustomerCommand::Refund(refund) | CustomerCommand::GuestRefund(refund),
            ) => {
                send(&mut customer, CustomerCommand::RecordUnmatchedRefund { refund, bought })
            }
            (answer, _) => answer,
        };
        if let (Ok(sold), Ok(bought)) = (sold, bought) {
            let mut row = ProductRow::default();
            row.apply(&sold[0]);
            prop_assert_eq!(row.amount, rows::customer_amount(&bought[0]));
            prop_assert_eq!(row.amount, unit_price.checked_mul(quantity).unwrap());
        }
    });
}

#[test]
fn adjustment_moves_money_without_goods() {
    let amount: Money = "-11062.06".parse().unwrap();
    let asked = commands(&line("A563186", 1, "-11062.06"));
    let Some(to) = asked.customer else {
        panic!("a customer is adjusted")
    };
    let events = given::<Customer>(&[]).when(to.command).unwrap();
    let CustomerEvent::Adjusted(Adjustment { amount: booked, .. }) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(*booked, amount);
}
