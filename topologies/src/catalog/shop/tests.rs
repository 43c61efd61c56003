//! The shop's domain over the whole real file, without an engine.

mod decisions;
mod hostile;

use std::collections::{BTreeMap, HashMap};

use compact_str::CompactString;

use super::commands::commands;
use super::customer::{Customer, CustomerCommand, CustomerEvent, CustomerRejection};
use super::line::{InvoiceLine, InvoiceLines};
use super::oracle;
use super::product::Product;
use super::rows::{self, ProductRow, RevenueRow, UnmatchedRefundRow};
use super::rules::{self, Dirt, Findings, LISTED_MAX};
use crate::catalog::testing::{example_data, send};
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
                    CustomerCommand::Refund(refund) | CustomerCommand::GuestRefund(refund),
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
