//! Whole runs through a real engine: a small file with every kind of dirt, damaged files, the real file.

mod sending;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Engine;
use crate::catalog::shop::rules::Dirt;
use crate::catalog::shop::run::{Progress, import, open};
use crate::catalog::shop::tables::{
    PRODUCTS, REVENUE_BY_COUNTRY, REVENUE_BY_DAY, REVENUE_BY_PRODUCT, UNMATCHED_REFUNDS,
};
use crate::catalog::shop::{ShopError, ShopOptions, ShopReport, run};
use crate::catalog::testing::example_data;
use crate::money::Money;

fn dirt_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/shop_dirt.csv")
}

fn options(input: &Path, data: &Path) -> ShopOptions {
    ShopOptions {
        input: Some(input.to_path_buf()),
        ..ShopOptions::new(data)
    }
}

async fn run_file(input: &Path, data: &Path) -> ShopReport {
    run(&options(input, data), &|_| {}).await.unwrap()
}

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

/// Goal: every rule's effect, in each table. Method: totals added up by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_dirt_has_its_stated_effect() {
    let data = tempfile::tempdir().unwrap();
    let options = options(&dirt_file(), data.path());
    let engine = open(&options).await.unwrap();
    let report = import(&engine, &options, &|_| {}).await.unwrap();
    check_report(&report);
    check_tables(&engine);
    engine.shutdown().await.unwrap();
}

fn check_report(report: &ShopReport) {
    let counts = &report.counts;
    assert_eq!(
        (report.lines, report.last_line, report.unreadable),
        (15, 18, 2)
    );
    assert_eq!((counts.commands, counts.accepted), (31, 29));
    assert_eq!((counts.repeats, counts.other_rejections), (0, 0));
    assert_eq!(counts.unmatched_refunds, 2);
    assert_eq!((counts.events, report.log_events), (29, 30));
    let expected = [
        (Dirt::NoCustomer, vec![8, 9, 10, 13]),
        (Dirt::NoDescription, vec![4]),
        (Dirt::ZeroPrice, vec![10, 11]),
        (Dirt::NegativePrice, vec![13]),
        (Dirt::NegativeQuantity, vec![10]),
        (Dirt::ZeroQuantity, vec![14]),
        (Dirt::Cancellation, vec![5, 6, 9, 15]),
        (Dirt::PositiveCancellation, vec![15]),
        (Dirt::Duplicate, vec![3]),
        (Dirt::SecondMinute, vec![4]),
        (Dirt::ServiceCode, vec![12, 13]),
        (Dirt::LowerCaseCode, vec![11]),
    ];
    let found: Vec<_> = report
        .dirt
        .iter()
        .map(|(dirt, finding)| (*dirt, finding.first.clone()))
        .collect();
    assert_eq!(found, expected);
    let bad: Vec<_> = report
        .unreadable_first
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        bad[0].ends_with("shop_dirt.csv, line 16, Quantity: \"six\" is not a number"),
        "{bad:?}"
    );
    assert!(
        bad[1].ends_with("shop_dirt.csv, line 17, Description: the column is missing"),
        "{bad:?}"
    );
    assert!(report.is_ok(), "{:#?}", report.checks);
    assert_eq!(report.checks.len(), 14);
}

fn check_tables(engine: &Engine) {
    let rows = engine.table(&REVENUE_BY_COUNTRY).unwrap().rows().unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|(key, row)| (key.as_str(), row.lines, row.amount))
        .collect();
    assert_eq!(
        rows,
        [
            ("France", 11, money("39.25")),
            ("Germany", 3, money("-11.5"))
        ]
    );
    let rows = engine.table(&REVENUE_BY_DAY).unwrap().rows().unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|(day, row)| (day.to_string(), row.lines, row.amount))
        .collect();
    let day = |day: &str, lines, amount| (day.to_owned(), lines, money(amount));
    assert_eq!(
        rows,
        [
            day("2010-12-01", 5, "-82.5"),
            day("2010-12-02", 3, "100"),
            day("2010-12-03", 5, "9"),
            day("2010-12-04", 1, "1.25"),
        ]
    );
    let rows = engine.table(&REVENUE_BY_PRODUCT).unwrap().rows().unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|(key, row)| (key.as_str(), row.lines, row.amount))
        .collect();
    assert_eq!(
        rows,
        [
            ("22086", 6, money("8.75")),
            ("85123A", 5, money("12.5")),
            ("90210c", 1, Money::ZERO),
            ("B", 1, money("-11.5")),
            ("POST", 1, money("18")),
        ]
    );
    check_products_and_refunds(engine);
}

fn check_products_and_refunds(engine: &Engine) {
    let rows = engine.table(&PRODUCTS).unwrap().rows().unwrap();
    let rows: BTreeMap<_, _> = rows
        .iter()
        .map(|(key, row)| {
            let units = (row.sold, row.returned, row.written_off);
            (key.as_str(), (row.lines, units, row.amount))
        })
        .collect();
    let expected = [
        ("22086", (7, (10, 3, 7), money("8.75"))),
        ("85123A", (5, (60, 55, 0), money("12.5"))),
        ("90210c", (1, (2, 0, 0), Money::ZERO)),
        ("B", (1, (0, 0, 0), money("-11.5"))),
        ("POST", (1, (1, 0, 0), money("18"))),
    ];
    assert_eq!(rows, BTreeMap::from(expected));
    let rows = engine.table(&UNMATCHED_REFUNDS).unwrap().rows().unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|(line, row)| (*line, row.asked, row.bought, row.amount))
        .collect();
    assert_eq!(rows, [(6, 50, 15, money("125")), (9, 3, 0, money("3.765"))]);
}

/// Goal: a repeated run has no second effect. The refund in line 6 was rejected for want of units that line 7
/// buys: decided anew without a memory of it, it would be paid twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_run_has_no_second_effect() {
    let data = tempfile::tempdir().unwrap();
    let first = run_file(&dirt_file(), data.path()).await;
    for _ in 0..2 {
        let again = run_file(&dirt_file(), data.path()).await;
        let counts = &again.counts;
        assert_eq!((counts.commands, counts.repeats), (29, 29));
        assert_eq!((counts.accepted, counts.events), (0, 0));
        assert_eq!(again.log_events, first.log_events);
        assert_eq!(again.countries, first.countries);
        assert!(again.is_ok(), "{:#?}", again.checks);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_takes_the_lines_of_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let other = folder.path().join("other.csv");
    std::fs::write(&other, "no invoice lines").unwrap();
    let error = run(&options(&other, &data), &|_| {}).await.unwrap_err();
    assert!(matches!(error, ShopError::Input(_)), "{error}");
    assert!(!data.exists(), "a wrong file leaves no data folder");

    run_file(&dirt_file(), &data).await;
    let mut text = std::fs::read(dirt_file()).unwrap();
    text.extend(b"1016,22086,BOX,1,2010-12-04 10:00,1.25,17851,France\n");
    std::fs::write(&other, text).unwrap();
    let error = run(&options(&other, &data), &|_| {}).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("shop_dirt.csv"), "{text}");
    assert!(run_file(&dirt_file(), &data).await.is_ok());
}

/// The first lines of the published file, as text.
fn first_lines(count: usize) -> Vec<u8> {
    let file = std::fs::File::open(example_data("online_retail.csv.zst")).unwrap();
    let text = zstd::decode_all(file).unwrap();
    let lines = text.split_inclusive(|&byte| byte == b'\n').take(count);
    lines.flatten().copied().collect()
}

/// Goal: what was read of a damaged file stands, and the report says where it broke off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_file_stands_up_to_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let packed = zstd::encode_all(first_lines(20_000).as_slice(), 1).unwrap();
    let path = folder.path().join("cut.csv.zst");
    std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
    let report = run_file(&path, &folder.path().join("data")).await;
    let cause = report.broken_off.as_deref().unwrap();
    assert!(cause.contains("cut.csv.zst after line"), "{cause}");
    assert!(report.lines > 1_000 && report.lines < 19_999);
    assert!(!report.is_ok());
    assert!(
        report.checks.iter().all(|check| check.ok),
        "{:#?}",
        report.checks
    );

    let path = folder.path().join("cut.csv");
    let text = first_lines(1_001);
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    let report = run_file(&path, &folder.path().join("plain")).await;
    assert_eq!((report.lines, report.unreadable), (999, 1));
    let bad = &report.unreadable_first[0];
    assert_eq!((bad.line, report.last_line), (1_001, 1_001));
    assert!(report.is_ok(), "{:#?}", report.checks);
}

/// Goal: something that is no file of invoice lines is not read to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_other_lines_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.csv");
    let mut text = first_lines(2);
    text.extend(b"x\n".repeat(150_000));
    std::fs::write(&path, text).unwrap();
    let report = run_file(&path, &folder.path().join("data")).await;
    assert_eq!((report.lines, report.unreadable), (1, 100_000));
    assert!(
        report
            .broken_off
            .unwrap()
            .contains("line 100003, StockCode")
    );
}

/// Goal: the whole real file comes out as published, also when the run is stopped half-way and started
/// again over the same data folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_file_comes_out_as_published_also_after_a_stop() {
    let data = tempfile::tempdir().unwrap();
    let options = options(&example_data("online_retail.csv.zst"), data.path());
    let stopped = ShopOptions {
        stop: Default::default(),
        ..options.clone()
    };
    let half_way = |progress: Progress| {
        if progress.bytes > progress.bytes_total / 2 {
            stopped.stop.stop();
        }
    };
    let first = run(&stopped, &half_way).await.unwrap();
    assert!(first.interrupted && first.checks.is_empty() && !first.is_ok());
    assert!(first.lines > 100_000 && first.lines < 541_909);

    let report = run(&options, &|_| {}).await.unwrap();
    assert!(report.is_ok(), "{:#?}", report.checks);
    assert_eq!(report.checks.len(), 15);
    let dataflows: Vec<_> = report.checks[9..]
        .iter()
        .map(|check| (check.name, check.found.as_str()))
        .collect();
    let expected = [
        ("revenue by country and hour", "4937 equal rows"),
        ("revenue by country over 7 days", "5297 equal rows"),
        ("shopping sessions", "10208 equal rows"),
        ("top products by week", "530 equal rows"),
        ("refunds and their sales", "9288 equal rows"),
        ("bought and returned twice", "112 equal rows"),
    ];
    assert_eq!(dataflows, expected);
    assert_eq!(report.revenue(), money("9747747.934"));
    let counts = report.counts;
    assert_eq!(counts.repeats, first.counts.accepted);
    assert_eq!(counts.events + first.counts.events, 1_082_482);
    assert_eq!(counts.other_rejections, 0);
    assert_eq!(
        counts.unmatched_refunds + first.counts.unmatched_refunds,
        1_770
    );
}
