//! The dataflows on one thread over small files: rows written by hand, then random files in random order.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use millstream_engine::flow::{BoundedOutOfOrderness, Resources};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::{DAY, HOUR, RefundRow, RepeatRow, Sale, SalesRows, declare, direct};
use crate::catalog::shop::commands::commands;
use crate::catalog::shop::{CustomerCommand, CustomerEvent, InvoiceLines};
use crate::dataflow::{Dataflow, Driver, Feed, FlowOptions};
use crate::money::Money;

const HEADER: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

/// What customers' events make of the file's lines.
fn sales(path: &Path) -> Vec<Sale> {
    let mut sales = Vec::new();
    for line in InvoiceLines::open(path).unwrap() {
        let line = line.unwrap();
        let Some(to) = commands(&line).customer else {
            continue;
        };
        let event = match to.command {
            CustomerCommand::Purchase(trade) => CustomerEvent::Purchased(trade),
            CustomerCommand::Refund(refund) if refund.line % 2 == 0 => {
                CustomerEvent::RefundUnmatched { refund, bought: 0 }
            }
            CustomerCommand::Refund(trade) => CustomerEvent::Refunded(trade),
            CustomerCommand::GuestRefund(refund) => {
                CustomerEvent::RefundUnmatched { refund, bought: 0 }
            }
            CustomerCommand::Adjust(adjustment) => CustomerEvent::Adjusted(adjustment),
            CustomerCommand::RecordUnmatchedRefund { .. } => unreachable!("no line asks for it"),
        };
        sales.push(Sale::of(&to.id, event));
    }
    sales
}

/// Runs the dataflows over splits of sales, in the order given.
fn run(
    splits: &[Vec<Sale>],
    disorder: Duration,
    partitions: usize,
    seed: u64,
) -> (SalesRows, [u64; 6]) {
    let feed = Feed::new(splits.len());
    let mut output = None;
    let options = FlowOptions {
        partitions,
        ..FlowOptions::default()
    };
    let flow = Dataflow::build_with("sales", options, |flow| {
        let sales = flow
            .source("sales", feed.clone())
            .watermarks(BoundedOutOfOrderness::new(disorder))
            .stream();
        output = Some(declare(flow, sales));
    });
    let mut driver = Driver::with(flow.unwrap(), seed, Resources::new()).unwrap();
    for (split, sales) in splits.iter().enumerate() {
        for sale in sales {
            feed.push(split, sale.at, sale.clone());
        }
    }
    feed.end_all();
    driver.run().unwrap();
    assert!(driver.is_ended());
    for load in driver.loads() {
        assert_eq!(load.state_items, 0, "{load:?}");
    }
    output.unwrap().take()
}

/// Runs the dataflows over the file in its order, and computes the same directly.
fn both(text: &str) -> (SalesRows, SalesRows) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.csv");
    std::fs::write(&path, format!("{HEADER}{text}")).unwrap();
    let (found, late) = run(&[sales(&path)], Duration::ZERO, 2, 7);
    assert_eq!(late, [0; 6]);
    let expected = direct::rows(&path, &BTreeSet::new(), u64::MAX).unwrap();
    (found, expected)
}

fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = format!("{}Z", text.replace(' ', "T")).parse().unwrap();
    Timestamp::from_micros(time.as_microsecond())
}

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn refund(line: u64, hour: &str, sale: Option<u64>, sales: u64) -> RefundRow {
    RefundRow {
        line,
        hour: at(hour),
        sale,
        sales,
    }
}

/// Goal: what each row means. Method: rows written by hand; the direct computation must give them too.
#[test]
fn rows_are_those_written_by_hand() {
    let text = "\
1,A,,10,2010-12-01 08:59,2.5,7,France
1,B,,4,2010-12-01 09:00,1.255,7,France
C2,A,,-3,2010-12-01 09:30,2.5,7,France
3,A,,1,2010-12-04 10:00,2.5,7,France
C4,A,,-1,2010-12-31 08:58,2.5,7,France
5,A,,2,2011-01-03 10:00,2.5,7,France
6,A,,2,2011-02-02 10:00,2.5,7,France
7,X,,-7,2011-02-02 11:00,0,,France
C8,A,,-5,2011-02-02 11:00,2.5,,France
";
    let (found, expected) = both(text);
    assert_eq!(found, expected);
    let hours: Vec<_> = found.hourly[..3]
        .iter()
        .map(|row| (row.start, row.lines, row.amount))
        .collect();
    let expected = [
        (at("2010-12-01 08:00:00"), 1, money("25")),
        (at("2010-12-01 09:00:00"), 2, money("-2.48")),
        (at("2010-12-04 10:00:00"), 1, money("2.5")),
    ];
    assert_eq!(hours, expected);
    // Days from six before the first line on; the first to have the third day's line begins on November 28.
    assert_eq!(found.weekly[0].start, at("2010-11-25 00:00:00"));
    assert_eq!(found.weekly[0].amount, money("22.52"));
    assert_eq!(found.weekly[3].start, at("2010-11-28 00:00:00"));
    assert_eq!(found.weekly[3].amount, money("25.02"));
    // From December 4 to January 3 it is 30 days and 0 minutes: too long. So is it to February 2.
    let sessions: Vec<_> = found
        .sessions
        .iter()
        .map(|row| (row.start, row.invoices, row.lines, row.amount))
        .collect();
    let expected = [
        (at("2010-12-01 08:59:00"), 2, 3, money("32.52")),
        (at("2011-01-03 10:00:00"), 1, 1, money("5")),
        (at("2011-02-02 10:00:00"), 1, 1, money("5")),
    ];
    assert_eq!(sessions, expected);
    let best: Vec<_> = found
        .top_products
        .iter()
        .map(|row| (row.week, row.rank, row.stock_code.as_str(), row.units))
        .collect();
    let expected = [
        (at("2010-11-29 00:00:00"), 1, "A", 8),
        (at("2010-11-29 00:00:00"), 2, "B", 4),
        (at("2010-12-27 00:00:00"), 1, "A", -1),
        (at("2011-01-03 00:00:00"), 1, "A", 2),
        (at("2011-01-31 00:00:00"), 1, "A", -3),
    ];
    assert_eq!(best, expected);
    let expected = [
        refund(4, "2010-12-01 09:00:00", Some(2), 1),
        refund(6, "2010-12-31 08:00:00", Some(5), 2),
        refund(10, "2011-02-02 11:00:00", None, 0),
    ];
    assert_eq!(found.refunds, expected);
    // One minute less than 30 days.
    let times = [
        "2010-12-01 08:59:00",
        "2010-12-01 09:30:00",
        "2010-12-04 10:00:00",
        "2010-12-31 08:58:00",
    ];
    let expected = RepeatRow {
        customer: "7".into(),
        stock_code: "A".into(),
        line: 2,
        times: times.map(at),
    };
    assert_eq!(found.repeats, [expected]);
}

/// Goal: the edges of time: what happens in one minute, exactly 30 days and exactly 365 days apart.
#[test]
fn edges_of_time_are_as_stated() {
    let text = "\
1,A,,1,2010-12-01 08:00,1,7,France
C2,A,,-1,2010-12-01 08:00,1,7,France
C3,A,,-1,2010-12-02 08:00,1,7,France
4,A,,1,2010-12-02 08:00,1,7,France
5,A,,1,2010-12-03 08:00,1,7,France
C6,A,,-1,2010-12-31 08:00,1,7,France
C7,A,,-1,2011-12-03 08:00,1,7,France
C8,A,,-1,2011-12-03 08:01,1,7,France
";
    let (found, expected) = both(text);
    assert_eq!(found, expected);
    assert!(found.repeats.is_empty(), "30 days are too long");
    let expected = [
        refund(3, "2010-12-01 08:00:00", Some(2), 1),
        refund(4, "2010-12-02 08:00:00", Some(5), 2),
        refund(7, "2010-12-31 08:00:00", Some(6), 3),
        refund(8, "2011-12-03 08:00:00", Some(6), 1),
        refund(9, "2011-12-03 08:00:00", None, 0),
    ];
    assert_eq!(found.refunds, expected);
}

/// A file of random lines of few customers and codes, in the order of time.
fn file(lines: &[(u32, u8, u8, i64, u8)]) -> String {
    let mut text = HEADER.to_owned();
    let mut minute = at("2010-12-01 08:00:00").as_micros() / 60_000_000;
    for (number, &(step, who, code, units, kind)) in lines.iter().enumerate() {
        // Mostly the same minute or a few hours later, sometimes weeks.
        minute += i64::from(match step % 8 {
            0..=2 => 0,
            3..=6 => step % 3_000,
            _ => step % 60_000,
        });
        let time = jiff::Timestamp::from_second(minute * 60).unwrap();
        let time = time.strftime("%Y-%m-%d %H:%M");
        let (mark, units, price) = match kind % 16 {
            0..=8 => ("", units, "1.25"),
            9..=13 => ("C", -units, "2.125"),
            14 => ("A", 1, "-11.5"),
            _ => ("", -units, "0"),
        };
        let who = match who % 4 {
            0 => String::new(),
            who => format!("1{who}"),
        };
        let (code, country, invoice) = (code % 14, who.len(), number / 3);
        writeln!(
            text,
            "{mark}{invoice},P{code},,{units},{time},{price},{who},Land{country}"
        )
        .unwrap();
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Goal: the same rows as directly, however the sales are divided and out of order within the bound, with nothing
    /// late and no state left.
    #[test]
    fn order_within_the_bound_changes_nothing(
        lines in proptest::collection::vec((any::<u32>(), any::<u8>(), any::<u8>(), 1i64..50, any::<u8>()), 1..400),
        block in 1usize..40,
        splits in 1usize..4,
        partitions in 1usize..4,
        seed: u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.csv");
        std::fs::write(&path, file(&lines)).unwrap();
        let expected = direct::rows(&path, &BTreeSet::new(), u64::MAX).unwrap();
        let mut sales = sales(&path);
        // Blocks that are turned round, as batches may be.
        let mut disorder = Duration::ZERO;
        for block in sales.chunks_mut(block) {
            let span = block[block.len() - 1].at.as_micros() - block[0].at.as_micros();
            disorder = disorder.max(Duration::from_micros(span.unsigned_abs()));
            block.reverse();
        }
        let mut divided = vec![Vec::new(); splits];
        for sale in sales {
            let split = sale.customer.len() + sale.customer.bytes().map(usize::from).sum::<usize>();
            divided[split % splits].push(sale);
        }
        let (found, late) = run(&divided, disorder, partitions, seed);
        prop_assert_eq!(late, [0; 6]);
        prop_assert_eq!(found, expected);
    }
}

/// Goal: what is late does not pass unseen, in any of the dataflows.
#[test]
fn what_is_late_is_counted() {
    let line = |day: i64, kind, units| Sale {
        line: day.unsigned_abs(),
        at: Timestamp::from_micros(day * i64::try_from(DAY.as_micros()).unwrap()),
        kind,
        customer: "7".into(),
        invoice: "1".into(),
        stock_code: "A".into(),
        country: "France".into(),
        units,
        amount: money("1"),
    };
    let (bought, returned) = (super::SaleKind::Purchase, super::SaleKind::Refund);
    let sales = vec![
        line(5_000, bought, 1),
        // Beyond everything that the bound and the 365 days of the join allow for.
        line(4_000, bought, 1),
        line(4_001, returned, -1),
        line(5_001, bought, 1),
    ];
    let (_, late) = run(&[sales], HOUR, 1, 3);
    assert!(late.iter().all(|&late| late > 0), "{late:?}");
}
