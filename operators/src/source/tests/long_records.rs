//! Records that are longer than what a source holds of one.
//!
//! The story: one such record failed the dataflow for good, whatever its policy for bad lines was, and so did each restart.

use super::super::pieces::RECORD_BYTES_MAX;
use super::*;

fn outcomes(found: &[Result<Sale, BadLine>]) -> Vec<Result<&Sale, (u64, u64)>> {
    let bad = |line: &BadLine| (line.line, line.offset);
    found
        .iter()
        .map(|item| item.as_ref().map_err(bad))
        .collect()
}

#[test]
fn a_json_line_that_is_too_long_is_a_bad_line() {
    let first = "{\"product\":\"tea\",\"cents\":1}\n";
    let long = format!(
        "{{\"product\":\"{}\",\"cents\":2}}\n",
        "x".repeat(RECORD_BYTES_MAX + 100_000)
    );
    let text = [first, &long, first, &long].concat();
    let (_folder, path) = file(text.trim_end());
    let mut reading = source(&path, JsonLinesFormat::default(), FileOptions::default());
    let (found, end) = pull(&mut reading, 1);
    let tea = sale("tea", 1);
    let second = first.len() as u64;
    let last = second + (long.len() + first.len()) as u64;
    let expected = [Ok(&tea), Err((2, second)), Ok(&tea), Err((4, last))];
    // Without showing what was found.
    assert!(outcomes(&found) == expected && end == Pulled::End);
    let bad = found[1].as_ref().unwrap_err();
    assert!(bad.reason.contains("more than 16777216 bytes"), "{bad}");
    assert!(bad.text.starts_with("{\"product\":\"xxx"), "{}", bad.text);
    // A restart behind it finds the file as it was, and begins there.
    let mut first_run = source(&path, JsonLinesFormat::default(), FileOptions::default());
    let mut found = Vec::new();
    while found.len() < 2 {
        let mut out = |_: Timestamp, item| found.push(item);
        first_run.pull(1, &mut out).unwrap();
    }
    let position = Source::position(&first_run).unwrap().unwrap();
    let options = FileOptions::default();
    let format = JsonLinesFormat::default();
    let mut second_run =
        FileSource::<Sale, _, _>::new(path, format, SkipBadLines::default(), options, None);
    second_run.seek(&position).unwrap();
    second_run.open(&mailbox()).unwrap();
    assert_eq!(pull(&mut second_run, 1), (vec![tea], Pulled::End));
    assert_eq!(second_run.position().offset, text.trim_end().len() as u64);
}

#[test]
fn a_quote_that_is_never_closed_ends_with_a_line() {
    let lines = "milk,2\n".repeat(RECORD_BYTES_MAX / 7 + 20_000);
    let text = format!("product,cents\ntea,1\n\"open,1\n{lines}");
    let (_folder, path) = file(&text);
    let mut reading = source(&path, csv(), follow());
    let (found, _) = pull(&mut reading, 1_000);
    let found = outcomes(&found);
    assert_eq!(found[..2], [Ok(&sale("tea", 1)), Err((3, 20))]);
    assert!(found.len() > 3, "those behind it are read");
    let milk = sale("milk", 2);
    assert!(found[2..].iter().all(|item| *item == Ok(&milk)));
    assert_eq!(reading.position().offset, text.len() as u64);
    assert_eq!(reading.position().line, text.lines().count() as u64 + 1);
}

#[test]
fn a_header_that_is_too_long_fails() {
    let (_folder, path) = file(&"x".repeat(RECORD_BYTES_MAX + 100_000));
    let mut reading = source(&path, csv(), FileOptions::default());
    let mut out = |_: Timestamp, _| {};
    let fault = loop {
        if let Err(fault) = reading.pull(1, &mut out) {
            break fault;
        }
    };
    assert!(
        fault.0.contains("the header: the record has more than"),
        "{fault}"
    );
}
