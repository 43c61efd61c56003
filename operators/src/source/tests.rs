//! File and channel sources, driven by hand.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_engine::flow::{Pulled, Source};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::time::{ManualClock, Timestamp};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

mod long_records;
mod restarts;
mod threads;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sale {
    product: String,
    cents: u64,
}

fn mailbox() -> Arc<Mailbox> {
    let limits = MailboxLimits {
        items_max: 8.try_into().unwrap(),
        bytes_max: 1_024.try_into().unwrap(),
    };
    Mailbox::new(limits, Arc::new(ManualClock::new(Timestamp::EPOCH)))
}

type Checked<F> = FileSource<Sale, F, KeepBadLines>;

fn source<F: LineFormat>(path: &Path, format: F, options: FileOptions) -> Checked<F> {
    let time: TimeOf<Sale> = Arc::new(|sale: &Sale| Timestamp::from_seconds(sale.cents as i64));
    let path = path.to_path_buf();
    let mut source = FileSource::new(path, format, KeepBadLines, options, Some(time));
    source.open(&mailbox()).unwrap();
    source
}

/// Pulls until nothing is there, `items` at a time.
fn pull<S: Source>(source: &mut S, items: usize) -> (Vec<S::Item>, Pulled) {
    let mut found = Vec::new();
    loop {
        let mut out = |_time: Timestamp, item: S::Item| found.push(item);
        match source.pull(items, &mut out).unwrap() {
            Pulled::More => {}
            other => return (found, other),
        }
    }
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn sale(product: &str, cents: u64) -> Sale {
    let product = product.to_owned();
    Sale { product, cents }
}

fn csv() -> CsvFormat {
    CsvFormat::new(b',', true)
}

fn follow() -> FileOptions {
    FileOptions {
        follow: true,
        ..FileOptions::default()
    }
}

#[test]
fn csv_records_with_quotes_and_without_a_last_line_end() {
    let text = "product,cents\r\ntea,1\r\n\"green\n \"\"tea\"\"\",2\r\n\r\n5\" pipe,3";
    let (_folder, path) = file(text);
    for items in [1, 2, 100] {
        let mut source = source(&path, csv(), FileOptions::default());
        let (found, end) = pull(&mut source, items);
        let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
        let expected = [
            sale("tea", 1),
            sale("green\n \"tea\"", 2),
            sale("5\" pipe", 3),
        ];
        assert_eq!((found.as_slice(), end), (&expected[..], Pulled::End));
        assert_eq!(source.position().offset, text.len() as u64);
    }
}

#[test]
fn a_bad_csv_record_names_file_line_and_field_and_the_others_go_on() {
    let text = "product,cents\ntea,1\n\"a\nb\",x7\nmilk\nbread,2,3\nbread,2\n";
    let (_folder, path) = file(text);
    let mut source = source(&path, csv(), FileOptions::default());
    let (found, _) = pull(&mut source, 10);
    let bad: Vec<_> = found
        .iter()
        .filter_map(|item| item.as_ref().err())
        .collect();
    let good = found.iter().filter(|item| item.is_ok()).count();
    assert_eq!((good, bad.len()), (2, 3));
    let places: Vec<_> = bad
        .iter()
        .map(|bad| (bad.line, bad.offset, bad.field.as_deref()))
        .collect();
    let expected = [
        (3, 20, Some("cents")),
        (5, 29, Some("cents")),
        (6, 34, None),
    ];
    assert_eq!(places, expected);
    let shown = bad[0].to_string();
    assert!(shown.starts_with(&path.display().to_string()), "{shown}");
    assert!(shown.contains(", line 3, field \"cents\": "), "{shown}");
    assert!(bad[2].reason.contains("3 fields, 2 expected"), "{}", bad[2]);
    assert_eq!(bad[2].text, "bread,2,3");
}

#[test]
fn a_bad_json_line_names_the_path_of_the_field() {
    #[derive(Debug, Deserialize)]
    struct Order {
        #[expect(dead_code, reason = "only read")]
        items: Vec<Sale>,
    }
    let lines = [
        r#"{"items":[{"product":"tea","cents":1},{"product":"milk","cents":"x"}]}"#,
        r#"{"items":[{"product":"tea"}]}"#,
        "",
        r#"{"items":[]} {}"#,
        r#"{"items":[]}"#,
    ];
    let (_folder, path) = file(&lines.join("\n"));
    let options = FileOptions::default();
    let format = JsonLinesFormat::default();
    let mut source = FileSource::<Order, _, _>::new(path, format, KeepBadLines, options, None);
    source.open(&mailbox()).unwrap();
    let (found, _) = pull(&mut source, 3);
    let bad: Vec<_> = found.into_iter().filter_map(Result::err).collect();
    let fields: Vec<_> = bad
        .iter()
        .map(|bad| (bad.line, bad.field.as_deref()))
        .collect();
    let expected = [
        (1, Some("items[1].cents")),
        (2, Some("items[0]")),
        (4, None),
    ];
    assert_eq!(fields, expected);
    assert!(
        bad[1].reason.contains("missing field `cents`"),
        "{}",
        bad[1]
    );
}

/// A JSON file with one had a bad first record, which CSV files had not.
#[test]
fn a_byte_order_mark_is_no_part_of_the_first_record() {
    let json = "\u{feff}{\"product\":\"tea\",\"cents\":1}\n{\"product\":\"milk\",\"cents\":2}\n";
    let (_folder, json_path) = file(json);
    let (_folder, csv_path) = file("\u{feff}product,cents\ntea,1\nmilk,2\n");
    let expected = [Ok(sale("tea", 1)), Ok(sale("milk", 2))];
    let mut reading = source(&csv_path, csv(), FileOptions::default());
    assert_eq!(pull(&mut reading, 10).0, expected);
    let mut reading = source(
        &json_path,
        JsonLinesFormat::default(),
        FileOptions::default(),
    );
    assert_eq!(pull(&mut reading, 10).0, expected);
    assert_eq!(reading.position().offset, json.len() as u64);
    // Anywhere else it is what it is.
    append(&json_path, json);
    let options = FileOptions {
        from: reading.position(),
        ..FileOptions::default()
    };
    let mut reading = source(&json_path, JsonLinesFormat::default(), options);
    let found = pull(&mut reading, 10).0;
    assert!(found[0].is_err());
    assert_eq!(found[1], expected[1]);
}

#[test]
fn policies_fail_or_pass_over() {
    let (_folder, path) = file("product,cents\ntea,1\ntea,x\ntea,2\n");
    let options = FileOptions::default();
    let mut strict =
        FileSource::<Sale, _, _>::new(path.clone(), csv(), FailOnBadLine, options.clone(), None);
    strict.open(&mailbox()).unwrap();
    let mut found = Vec::new();
    let mut out = |_time: Timestamp, item: Sale| found.push(item);
    let fault = strict.pull(10, &mut out).unwrap_err();
    assert!(fault.0.contains("line 3, field \"cents\""), "{fault}");
    assert_eq!(found, [sale("tea", 1)]);
    let skip = SkipBadLines::default();
    let mut easy = FileSource::<Sale, _, _>::new(path, csv(), skip, options, None);
    easy.open(&mailbox()).unwrap();
    assert_eq!(pull(&mut easy, 10).0, [sale("tea", 1), sale("tea", 2)]);
}

#[test]
fn a_missing_file_is_named() {
    let path = PathBuf::from("/nowhere/sales.csv");
    let options = FileOptions::default();
    let mut source = FileSource::<Sale, _, _>::new(path, csv(), FailOnBadLine, options, None);
    source.open(&mailbox()).unwrap();
    let fault = source.pull(1, &mut |_: Timestamp, _: Sale| {}).unwrap_err();
    assert!(fault.0.starts_with("/nowhere/sales.csv: "), "{fault}");
}

#[test]
fn a_file_that_grows_is_followed_line_by_line() {
    let (_folder, path) = file("product,cents\ntea,1\nmi");
    let mut source = source(&path, csv(), follow());
    let good = |source: &mut Checked<CsvFormat>| -> Vec<Sale> {
        let (found, end) = pull(source, 10);
        assert!(matches!(end, Pulled::PendingFor(_)));
        found.into_iter().map(Result::unwrap).collect()
    };
    assert_eq!(good(&mut source), [sale("tea", 1)]);
    append(&path, "lk,2");
    assert_eq!(good(&mut source), []);
    append(&path, "0\nbread,3\n\"a");
    assert_eq!(good(&mut source), [sale("milk", 20), sale("bread", 3)]);
    append(&path, "\nb\",4\n");
    assert_eq!(good(&mut source), [sale("a\nb", 4)]);
    assert_eq!(source.position().line, 7);
}

#[test]
fn a_file_that_is_replaced_is_read_to_its_end_and_the_new_one_from_its_beginning() {
    let (folder, path) = file("product,cents\ntea,1\n");
    let mut source = source(&path, csv(), follow());
    assert_eq!(pull(&mut source, 10).0.len(), 1);
    append(&path, "milk,2\nlast,3");
    let old = folder.path().join("sales.1");
    std::fs::rename(&path, &old).unwrap();
    // Nothing has the name: the old one may still grow.
    let found: Vec<_> = pull(&mut source, 10)
        .0
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(found, [sale("milk", 2)]);
    append(&old, "3");
    // Another order of columns: the header is read again.
    std::fs::write(&path, "cents,product\n5,bread\n").unwrap();
    assert_eq!(pull(&mut source, 10).0, [], "the old one may still grow");
    append(&old, "3\nvery last,4");
    let found: Vec<_> = pull(&mut source, 10)
        .0
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let expected = [sale("last", 333), sale("very last", 4), sale("bread", 5)];
    assert_eq!(found, expected);
    assert_eq!(source.position().offset, 22);
}

#[test]
fn a_file_that_is_cut_begins_again() {
    let (_folder, path) = file("{\"product\":\"tea\",\"cents\":1}\n{\"product\":\"te");
    let mut source = source(&path, JsonLinesFormat::default(), follow());
    assert_eq!(pull(&mut source, 10).0.len(), 1);
    std::fs::write(&path, "{\"product\":\"x\",\"cents\":2}\n").unwrap();
    let found: Vec<_> = pull(&mut source, 10)
        .0
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(found, [sale("x", 2)]);
}

#[test]
fn a_file_that_is_not_there_yet_is_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later");
    let mut source = source(&path, csv(), follow());
    assert!(matches!(pull(&mut source, 10).1, Pulled::PendingFor(_)));
    std::fs::write(&path, "product,cents\ntea,1\n").unwrap();
    assert_eq!(pull(&mut source, 10).0.len(), 1);
}

#[test]
fn a_file_that_is_read_from_a_later_byte_on_is_awaited_with_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later");
    let from = FilePosition {
        offset: 20,
        line: 3,
    };
    let options = FileOptions { from, ..follow() };
    let mut source = source(&path, csv(), options);
    let nothing = |source: &mut Checked<CsvFormat>| {
        let (found, end) = pull(source, 10);
        assert!(found.is_empty() && matches!(end, Pulled::PendingFor(_)));
    };
    nothing(&mut source);
    std::fs::write(&path, "product,ce").unwrap();
    nothing(&mut source);
    append(&path, "nts\ntea,1\nmilk,2\n");
    let found = pull(&mut source, 10).0;
    assert_eq!(found, [Ok(sale("milk", 2))]);
    assert_eq!(source.position().offset, 27);
}

#[test]
fn quotes_within_a_field_without_quotes_open_nothing() {
    let text = "product,cents\n5\"\" pipe,1\n\"6\"\"\",2\n\"\",3\n";
    let (_folder, path) = file(text);
    let mut source = source(&path, csv(), follow());
    let found: Vec<_> = pull(&mut source, 10)
        .0
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let expected = [sale("5\"\" pipe", 1), sale("6\"", 2), sale("", 3)];
    assert_eq!(found, expected);
}

proptest! {
    /// From each position on, the rest comes again: the position is replayable.
    #[test]
    fn reading_goes_on_from_any_position(
        products in prop::collection::vec("[a-z \"\n,]{0,6}", 0..40),
        items in 1usize..9,
        json: bool,
    ) {
        let sales: Vec<_> = products.iter().zip(0..).map(|(name, cents)| sale(name, cents)).collect();
        let mut text = Vec::new();
        if json {
            for sale in &sales {
                serde_json::to_writer(&mut text, sale).unwrap();
                text.push(b'\n');
            }
        } else {
            let mut writer = ::csv::Writer::from_writer(&mut text);
            sales.iter().for_each(|sale| writer.serialize(sale).unwrap());
            writer.flush().unwrap();
            drop(writer);
        }
        let (_folder, path) = file(std::str::from_utf8(&text).unwrap());
        if json {
            check_positions(&path, JsonLinesFormat::default(), &sales, items)?;
        } else {
            check_positions(&path, csv(), &sales, items)?;
        }
    }
}

fn check_positions<F: LineFormat>(
    path: &Path,
    format: F,
    sales: &[Sale],
    items: usize,
) -> Result<(), TestCaseError> {
    let mut first = source(path, format.clone(), FileOptions::default());
    let mut seen = Vec::new();
    loop {
        let mut out =
            |time: Timestamp, item: Result<Sale, BadLine>| seen.push((time, item.unwrap()));
        let pulled = first.pull(items, &mut out).unwrap();
        let options = FileOptions {
            from: first.position(),
            ..FileOptions::default()
        };
        let mut second = source(path, format.clone(), options);
        let rest: Vec<_> = pull(&mut second, 100)
            .0
            .into_iter()
            .map(Result::unwrap)
            .collect();
        prop_assert_eq!(&rest, &sales[seen.len()..]);
        prop_assert_eq!(
            second.position(),
            FilePosition {
                offset: std::fs::metadata(path).unwrap().len(),
                line: second.position().line,
            }
        );
        // The same as a restart does it.
        let position = Source::position(&first).unwrap().unwrap();
        let options = FileOptions::default();
        let mut third = FileSource::new(
            path.to_path_buf(),
            format.clone(),
            KeepBadLines,
            options,
            None,
        );
        third.seek(&position).unwrap();
        third.open(&mailbox()).unwrap();
        let rest: Vec<Sale> = pull(&mut third, 100)
            .0
            .into_iter()
            .map(Result::unwrap)
            .collect();
        prop_assert_eq!(&rest, &sales[seen.len()..]);
        if pulled == Pulled::End {
            break;
        }
    }
    let times = seen.iter().map(|(time, _)| time.0 / 1_000_000);
    prop_assert!(times.eq(0..sales.len() as i64));
    Ok(())
}

#[test]
fn a_channel_gives_what_is_sent_and_ends_with_its_senders() {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(9)));
    let mut source = ChannelSource::new(SharedReceiver::new(receiver), clock, true);
    let mailbox = mailbox();
    source.open(&mailbox).unwrap();
    assert_eq!(pull(&mut source, 3), (vec![], Pulled::Pending));
    for number in 0..4 {
        sender.try_send(number).unwrap();
    }
    assert!(sender.try_send(4).is_err());
    assert_eq!(pull(&mut source, 3), (vec![0, 1, 2, 3], Pulled::Pending));
    assert_eq!(source.watermark(), Some(Timestamp::from_seconds(9)));
    sender.try_send(5).unwrap();
    drop(sender);
    assert_eq!(pull(&mut source, 3), (vec![5], Pulled::End));
}
