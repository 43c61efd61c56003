//! Answers as text and files, from the library and from the command line.

use millstream::sql::{SqlFormat, write_to};
use parquet::record::RowAccessor;

use crate::support::{data, run, runtime, session};

fn written(query: &str, format: SqlFormat) -> Vec<u8> {
    // Before the runtime is entered, on which it is opened.
    let session = session();
    runtime().block_on(async {
        let frame = session.sql(query).await.unwrap();
        let mut out = Vec::new();
        write_to(frame, format, &mut out).await.unwrap();
        out
    })
}

fn text(query: &str, format: SqlFormat) -> String {
    String::from_utf8(written(query, format)).unwrap()
}

#[test]
fn tables_csv_and_json_are_text() {
    let query = "select key, state, last from rooms where key = 'room 1'";
    let csv = text(query, SqlFormat::Csv);
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines[0], "key,state,last");
    assert!(lines[1].starts_with("room 1,Busy,["), "{csv}");
    let json: serde_json::Value = serde_json::from_str(&text(query, SqlFormat::Json)).unwrap();
    assert_eq!(json["state"], "Busy");
    assert!(json["last"].is_array());
    let table = text(query, SqlFormat::Table);
    assert!(table.contains("| room 1 | Busy"), "{table}");
    // Names stand above no rows too.
    let none = "select key from rooms where key = 'none'";
    assert_eq!(text(none, SqlFormat::Csv), "key\n");
    assert!(text(none, SqlFormat::Table).contains("key"));
    assert_eq!(text(none, SqlFormat::Json), "");
    let tamed = text("select chr(27) || '[31m' as a", SqlFormat::Table);
    assert!(!tamed.contains('\u{1b}'), "{tamed:?}");
}

#[test]
fn parquet_has_every_event() {
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("events.parquet");
    let path = file.to_str().unwrap();
    let query = "select \"offset\", stream, payload from events";
    let done = run(
        &data().path,
        &[query, "--format", "parquet", "--output", path],
    );
    assert!(done.status.success(), "{done:?}");
    let reader =
        parquet::file::serialized_reader::SerializedFileReader::try_from(file.as_path()).unwrap();
    let rows = parquet::record::reader::RowIter::from_file_into(Box::new(reader));
    let mut streams: Vec<String> = rows
        .map(|row| row.unwrap().get_string(1).unwrap().clone())
        .collect();
    streams.sort();
    let expected = data().events.iter().map(|event| event.stream.clone());
    let mut expected: Vec<String> = expected.collect();
    expected.sort();
    assert_eq!(streams, expected);
    let names: Vec<_> = std::fs::read_dir(target.path()).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn the_command_line_answers_and_says_what_is_wrong() {
    let done = run(
        &data().path,
        &["select count(*) as n from events", "--format", "csv"],
    );
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "n\n3000\n");
    let done = run(
        &data().path,
        &["select count(*) as n from events", "--json"],
    );
    assert_eq!(String::from_utf8_lossy(&done.stdout), "{\"n\":3000}\n");
    let key = [
        "select key_2 from \"by-hour\" limit 1",
        "--key",
        "by-hour=text,u32",
    ];
    assert!(run(&data().path, &key).status.success());

    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("none.csv");
    for (arguments, status, part) in [
        (vec!["selekt"], 1, "selekt"),
        (vec!["drop table events"], 1, "not supported"),
        (vec!["select 1", "--format", "parquet"], 2, "--output"),
        (vec!["select 1", "--format", "csv", "--json"], 2, "--format"),
        (
            vec!["select 1/0", "--output", file.to_str().unwrap()],
            1,
            "zero",
        ),
        (vec!["select 1", "--format", "xml"], 2, "xml"),
        (vec!["select 1", "--key", "rooms=text,u7"], 2, "u7"),
    ] {
        let done = run(&data().path, &arguments);
        assert_eq!(done.status.code(), Some(status), "{arguments:?}: {done:?}");
        let message = String::from_utf8_lossy(&done.stderr).to_lowercase();
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
}
