//! The shop's domain over the whole real file, and over files that never were.

use std::collections::{BTreeMap, HashMap};

use compact_str::CompactString;
use proptest::prelude::*;

use super::commands::{commands, customer_id};
use super::customer::{Customer, CustomerCommand, CustomerEvent, CustomerRejection};
use super::line::{COLUMNS, InvoiceLine, InvoiceLines};
use super::product::{Product, ProductCommand, ProductEvent};
use super::rows::{self, ProductRow, RevenueRow, UnmatchedRefundRow};
use super::rules::{self, Dirt, Findings, LISTED_MAX, LineKind};
use super::trade::{Adjustment, Trade, TradeError, UNITS_MAX};
use super::{ProductRejection, oracle};
use crate::catalog::table::TableError;
use crate::catalog::testing::{example_data, given, send};
use crate::money::Money;

const FILE: &str = "online_retail.csv.zst";

/// Everything that an engine would keep, in plain maps.
#[derive(Default)]
struct Shop {
    customers: HashMap<CompactString, Customer>,
    products: HashMap<CompactString, Product>,
    findings: Findings,
    by_country: BTreeMap<String, RevenueRow>,
    by_day: BTreeMap<String, RevenueRow>,
    by_product: BTreeMap<String, ProductRow>,
    unmatched: Vec<UnmatchedRefundRow>,
}

impl Shop {
    fn run(lines: InvoiceLines) -> Self {
        let mut shop = Self::default();
        for line in lines {
            let line = line.expect("every line of the published file can be read");
            shop.findings.add(&line);
            shop.feed(&line);
        }
        shop
    }

    fn feed(&mut self, line: &InvoiceLine) {
        let asked = commands(line);
        if let Some(to) = asked.customer {
            let customer = self.customers.entry(to.id).or_default();
            let events = match (send(customer, to.command.clone()), to.command) {
                (Ok(events), _) => events,
                (
                    Err(CustomerRejection::RefundWithoutPurchase { bought, .. }),
                    CustomerCommand::Refund(refund),
                ) => {
                    let record = CustomerCommand::RecordUnmatchedRefund { refund, bought };
                    send(customer, record).expect("what was rejected can be recorded")
                }
                (Err(other), _) => panic!("line {}: {other}", line.number),
            };
            events.iter().for_each(|event| self.project_customer(event));
        }
        let product = self.products.entry(asked.product.id).or_default();
        for event in send(product, asked.product.command).expect("a ledger takes every line") {
            let row = self
                .by_product
                .entry(rows::stock_code(&event).to_owned())
                .or_default();
            row.apply(&event);
        }
    }

    fn project_customer(&mut self, event: &CustomerEvent) {
        self.by_country
            .entry(rows::country(event).to_owned())
            .or_default()
            .apply(event);
        self.by_day
            .entry(rows::day(event).to_string())
            .or_default()
            .apply(event);
        self.unmatched.extend(UnmatchedRefundRow::of(event));
    }
}

fn milli(amount: Money) -> i64 {
    let thousandths = amount.mantissa() * 1_000;
    let unit = 10i128.pow(amount.scale());
    assert_eq!(thousandths % unit, 0);
    i64::try_from(thousandths / unit).unwrap()
}

/// Compares row by row, so that a failure shows one row and not four thousand.
fn assert_same_rows<T: PartialEq + std::fmt::Debug>(
    mut mine: impl Iterator<Item = T>,
    mut theirs: impl Iterator<Item = T>,
) {
    loop {
        let (mine, theirs) = (mine.next(), theirs.next());
        assert_eq!(mine, theirs);
        if mine.is_none() {
            return;
        }
    }
}

/// Goal: the aggregates and rows come to what a direct pass by other code comes to, row by row.
#[test]
fn whole_file_agrees_with_the_oracle() {
    let path = example_data(FILE);
    let shop = Shop::run(InvoiceLines::open(&path).unwrap());
    let totals = oracle::totals(&path).unwrap();

    assert_eq!((totals.lines, totals.milli), (541_909, 9_747_747_934));
    for (mine, theirs) in [
        (&shop.by_country, &totals.by_country),
        (&shop.by_day, &totals.by_day),
    ] {
        let mine = mine
            .iter()
            .map(|(key, row)| (key, row.lines, milli(row.amount)));
        assert_same_rows(
            mine,
            theirs.iter().map(|(key, row)| (key, row.lines, row.milli)),
        );
    }
    let mine = shop.by_product.iter();
    assert_same_rows(
        mine.map(|(key, row)| (key, row.lines, row.units(), milli(row.amount))),
        totals
            .by_product
            .iter()
            .map(|(key, row)| (key, row.lines, row.units, row.milli)),
    );

    let expected: Money = "9747747.934".parse().unwrap();
    assert_eq!(
        shop.by_country
            .values()
            .map(|row| row.amount)
            .sum::<Money>(),
        expected
    );
    assert_eq!(
        shop.by_day.values().map(|row| row.amount).sum::<Money>(),
        expected
    );
    assert_eq!(
        shop.by_product
            .values()
            .map(|row| row.amount)
            .sum::<Money>(),
        expected
    );

    let lines: Vec<_> = shop.unmatched.iter().map(|row| row.line).collect();
    assert_eq!(lines, totals.unmatched_lines);
    assert_eq!(lines.len(), 1_770);
    let unmatched: Money = shop.unmatched.iter().map(|row| row.amount).sum();
    assert_eq!(
        (milli(unmatched), totals.unmatched_milli),
        (428_064_300, 428_064_300)
    );
    for (code, product) in &shop.products {
        let row = &shop.by_product[code.as_str()];
        let units = (product.sold, product.returned, product.written_off);
        assert_eq!(units, (row.sold, row.returned, row.written_off));
    }
    check_counts(&shop);
}

/// Goal: the dirt is what the data's description says.
fn check_counts(shop: &Shop) {
    let count = |dirt| shop.findings.of(dirt).count;
    assert_eq!(
        (shop.findings.lines, shop.findings.unreadable),
        (541_909, 0)
    );
    assert_eq!(count(Dirt::NoCustomer), 135_080);
    assert_eq!(count(Dirt::NoDescription), 1_454);
    assert_eq!(count(Dirt::ZeroPrice), 2_515);
    assert_eq!(count(Dirt::NegativePrice), 2);
    assert_eq!(count(Dirt::NegativeQuantity), 1_336);
    assert_eq!(count(Dirt::ZeroQuantity), 0);
    assert_eq!(count(Dirt::Cancellation), 9_288);
    assert_eq!(count(Dirt::PositiveCancellation), 0);
    assert_eq!(count(Dirt::Duplicate), 5_268);
    assert_eq!(count(Dirt::SecondMinute), 43);
    assert_eq!(count(Dirt::ServiceCode), 2_946);
    assert_eq!(count(Dirt::LowerCaseCode), 1_977);
    assert_eq!(
        (
            shop.by_country.len(),
            shop.by_day.len(),
            shop.products.len()
        ),
        (38, 305, 4_070)
    );
    let guests = shop
        .customers
        .keys()
        .filter(|id| id.starts_with("guest."))
        .count();
    assert_eq!(
        (shop.customers.len() - guests, guests),
        (4_372, 3_710 - 1_336)
    );
}

/// Goal: the list kept is bounded, and all lines can be listed all the same.
#[test]
fn every_line_of_a_kind_can_be_listed() {
    let lines = || InvoiceLines::open(&example_data(FILE)).unwrap();
    let repeats: Vec<u64> = rules::lines_with(Dirt::Duplicate, lines())
        .map(|line| line.unwrap().number)
        .collect();
    assert_eq!(repeats.len(), 5_268);
    let mut findings = Findings::default();
    lines().for_each(|line| drop(findings.add(&line.unwrap())));
    assert_eq!(findings.of(Dirt::Duplicate).first, repeats[..LISTED_MAX]);
    for (number, dirt) in Dirt::ALL.into_iter().enumerate() {
        assert_eq!(dirt as usize, number);
        assert!(!dirt.rule().is_empty());
    }
}

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
            (Err(CustomerRejection::RefundWithoutPurchase { bought, .. }), CustomerCommand::Refund(refund)) => {
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

fn read(bytes: Vec<u8>) -> Result<Vec<Result<InvoiceLine, TableError>>, TableError> {
    Ok(InvoiceLines::from_reader("hostile.csv", std::io::Cursor::new(bytes))?.collect())
}

fn with_header(rows: &[u8]) -> Vec<u8> {
    [COLUMNS.join(",").as_bytes(), b"\n", rows].concat()
}

/// Goal: each bad field is named with its line, and the good line behind it is still read.
#[test]
fn bad_rows_are_named_and_passed() {
    let good = "536365,85123A,LAMP,6,2010-12-01 08:26,2.55,17850,France";
    let cases: [(&[u8], &str); 14] = [
        (b"536365", "StockCode: the column is missing"),
        (
            b"5,8,,6,2010-12-01 08:26,2.55,1",
            "Country: the column is missing",
        ),
        (
            b"5,8,,6,2010-12-01 08:26,2.55,1,France,x",
            "Country: the row has 9 columns, 8 expected",
        ),
        (
            b"5,8,\xff,6,2010-12-01 08:26,2.55,1,France",
            "Description: not UTF-8",
        ),
        (b",8,,6,2010-12-01 08:26,2.55,1,France", "InvoiceNo: empty"),
        (
            b"5,8@1,,6,2010-12-01 08:26,2.55,1,France",
            "StockCode: '@' may not be part of an id",
        ),
        (
            b"5,8\t,,6,2010-12-01 08:26,2.55,1,France",
            "StockCode: '\\t' may not be part of an id",
        ),
        (
            b"5,8,,6.5,2010-12-01 08:26,2.55,1,France",
            "Quantity: \"6.5\" is not a number",
        ),
        (
            b"5,8,,2000000000,2010-12-01 08:26,1,1,France",
            "Quantity: \"2000000000\" is out of range",
        ),
        (
            b"5,8,,-9223372036854775808,2010-12-01 08:26,1,1,France",
            "Quantity: \"-9223372036854775808\" is out of range",
        ),
        (
            b"5,8,,6,2010-13-01 08:26,2.55,1,France",
            "InvoiceDate: \"2010-13-01 08:26\" is not a date",
        ),
        (
            b"5,8,,6,2010-12-01 08:26,1e9,1,France",
            "UnitPrice: \"1e9\" is not a number",
        ),
        (
            b"5,8,,6,2010-12-01 08:26,2000000000,1,France",
            "UnitPrice: \"2000000000\" is out of range",
        ),
        (
            b"5,8,,6,2010-12-01 08:26,0.00001,1,France",
            "UnitPrice: \"0.00001\" is out of range",
        ),
    ];
    for line_end in ["\n", "\r\n"] {
        for (bad, expected) in cases {
            let header = COLUMNS.join(",");
            let end = line_end.as_bytes();
            let bytes = [
                header.as_bytes(),
                end,
                good.as_bytes(),
                end,
                bad,
                end,
                good.as_bytes(),
            ]
            .concat();
            let lines = read(bytes).unwrap();
            let numbers: Vec<_> = lines
                .iter()
                .map(|line| line.as_ref().ok().map(|line| line.number))
                .collect();
            assert_eq!(numbers, [Some(2), None, Some(4)], "{expected}");
            let error = lines[1].as_ref().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("hostile.csv, line 3, {expected}")
            );
            let Err(TableError::Bad(bad)) = &lines[1] else {
                panic!("{error}")
            };
            let mut findings = Findings::default();
            findings.add_unreadable(bad.clone());
            assert_eq!(
                (findings.unreadable, findings.unreadable_first.len()),
                (1, 1)
            );
        }
    }
}

#[test]
fn wrong_header_is_named_column_by_column() {
    let text = "InvoiceNo,Code,Description,Quantity,InvoiceDate,UnitPrice,CustomerID\n";
    let error = read(text.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "hostile.csv has another header: column 2: \"Code\" instead of StockCode; \
         column 8: Country is missing"
    );
    let more = [COLUMNS.join(",").as_str(), ",Tax\r\n"].concat();
    let error = read(more.into()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("column 9: \"Tax\" is not expected"),
        "{error}"
    );
    let TableError::Header { columns, .. } = read(Vec::new()).unwrap_err() else {
        panic!("empty")
    };
    assert_eq!(columns.len(), 8);
}

/// Goal: an open quote does not take the file into memory.
#[test]
fn endless_row_ends_the_reading() {
    let mut bytes = with_header(b"5,\"");
    bytes.resize(8 << 20, b'\n');
    let lines = read(bytes).unwrap();
    assert_eq!(lines.len(), 1);
    assert!(matches!(lines[0], Err(TableError::Read { .. })));
}

/// Goal: no bytes make the reader panic, and none are read as a line outside of the limits.
#[test]
fn any_bytes_are_lines_or_errors() {
    let field = prop_oneof![
        Just("6".to_owned()),
        Just("2.55".to_owned()),
        Just("2010-12-01 08:26".to_owned()),
        Just("\"".to_owned()),
        any::<i128>().prop_map(|number| number.to_string()),
        ".{0,12}",
    ];
    let row = proptest::collection::vec(field, 0..10).prop_map(|fields| fields.join(","));
    let rows = proptest::collection::vec(row, 0..6).prop_map(|rows| rows.join("\n").into_bytes());
    let noise = proptest::collection::vec(any::<u8>(), 0..200);
    proptest!(|(bytes in prop_oneof![rows, noise])| {
        let _ = read(bytes.clone());
        let _ = oracle_of(&bytes);
        let mut findings = Findings::default();
        for line in read(with_header(&bytes)).unwrap() {
            match line {
                Ok(line) => {
                    findings.add(&line);
                    prop_assert_eq!(rules::kind(&line), commands(&line).kind);
                }
                Err(TableError::Bad(bad)) => findings.add_unreadable(bad),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    });
}

fn oracle_of(bytes: &[u8]) -> Result<oracle::Totals, oracle::OracleError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    oracle::totals(file.path())
}
