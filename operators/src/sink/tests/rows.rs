//! Rows that cannot be written, or are of another form than those before them.

use super::*;
use crate::sink::file_saved::{Present, Saved};
use crate::sink::file_writer::Command;

/// Has its first field written before it fails.
struct Torn {
    id: u64,
    fails: bool,
}

impl Serialize for Torn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeStruct};
        let mut row = serializer.serialize_struct("Torn", 2)?;
        row.serialize_field("id", &self.id)?;
        if self.fails {
            return Err(S::Error::custom("it has no text"));
        }
        row.serialize_field("text", "whole")?;
        row.end()
    }
}

/// What the thread is to do when the fourth of five rows fails, and then the input ends: texts to write, and "" to complete
/// the file.
fn torn<F: RowFormat>(format: F, rows_max: u64) -> Vec<String> {
    let (commands, given) = crossbeam_channel::bounded(8);
    let options = FileSinkOptions {
        rows_max,
        ..FileSinkOptions::new("unused", "rows")
    };
    let sink = FileSink::<Torn, _>::new(options, format);
    let mut sink = sink.with_writer(commands, Arc::default());
    for id in 0..5 {
        let fails = id == 3;
        sink.item(Timestamp::EPOCH, Torn { id, fails }, &mut Discard);
    }
    sink.end(&mut Discard);
    for _ in 0..2 {
        let fault = sink.flush(true).unwrap_err();
        let expected = "a row cannot be written: ";
        assert!(fault.0.starts_with(expected), "{fault}");
        assert!(fault.0.contains("it has no text"), "{fault}");
    }
    let text = |command| match command {
        Command::Write(bytes) => String::from_utf8(bytes).unwrap(),
        Command::Finish => String::new(),
        other => panic!("{other:?}"),
    };
    given.try_iter().map(text).collect()
}

/// The story: what a row that failed had written of itself stayed in the chunk, rows behind it were added, and the end of the
/// input gave the file its name before the failure was told.
#[test]
fn no_file_is_completed_once_a_row_has_failed_halfway() {
    assert_eq!(torn(JsonRows::default(), u64::MAX), [""; 0]);
    assert_eq!(torn(CsvRows::default(), u64::MAX), [""; 0]);
    let row = |id: u64| format!("{{\"id\":{id},\"text\":\"whole\"}}\n");
    let both = row(0) + &row(1);
    assert_eq!(torn(JsonRows::default(), 2), [both.as_str(), ""]);
    let both = "id,text\n0,whole\n1,whole\n";
    assert_eq!(torn(CsvRows::default(), 2), [both, ""]);
}

/// A format by itself goes on behind the last whole row.
#[test]
fn a_json_row_that_fails_leaves_nothing_of_itself() {
    let mut rows = JsonRows::default();
    for (id, fails) in [(0, false), (1, true), (2, false)] {
        assert_eq!(rows.row(&Torn { id, fails }).is_err(), fails);
    }
    let chunk = String::from_utf8(rows.take_chunk().unwrap()).unwrap();
    let lines = chunk.lines().map(serde_json::from_str::<serde_json::Value>);
    assert_eq!(
        lines
            .map(|line| line.unwrap()["id"].clone())
            .collect::<Vec<_>>(),
        [0, 2]
    );
}

#[derive(Serialize)]
struct Short {
    a: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<u64>,
}

/// The story: rows were compared with others of their chunk only, so that it was a matter of when chunks were handed over
/// whether a row of fewer fields failed or stood under a header that is not its own.
#[test]
fn a_csv_row_has_as_many_fields_as_those_before_it_whatever_the_chunks() {
    for flushes in [false, true] {
        let (commands, given) = crossbeam_channel::bounded(8);
        let options = FileSinkOptions::new("unused", "rows");
        let sink = FileSink::<Short, _>::new(options, CsvRows::default());
        let mut sink = sink.with_writer(commands, Arc::default());
        for (a, b) in [(1, Some(2)), (3, None)] {
            sink.item(Timestamp::EPOCH, Short { a, b }, &mut Discard);
            if flushes && a == 1 {
                sink.flush(true).unwrap();
            }
        }
        let fault = sink.flush(true).unwrap_err();
        assert!(fault.0.starts_with("a row cannot be written"), "{fault}");
        assert_eq!(given.len(), usize::from(flushes));
    }
}

/// Rows of one type whose fields have other names: as many, or as many in another order.
#[derive(Serialize)]
#[serde(untagged)]
enum Named {
    Pair { a: u64, b: u64 },
    Other { a: u64, c: u64 },
    Turned { b: u64, a: u64 },
    Bare(u64, u64),
    Held(Short),
}

/// The story: rows were compared by the number of their fields, so that one stood under a header that was not its own.
#[test]
fn a_csv_row_has_the_names_of_those_before_it() {
    let others = [
        (Named::Other { a: 3, c: 4 }, "its fields are a,c, "),
        (Named::Turned { b: 3, a: 4 }, "its fields are b,a, "),
        (Named::Bare(3, 4), "its fields are , "),
    ];
    for (other, cause) in &others {
        for takes in [false, true] {
            let mut format = CsvRows::default();
            format.begin();
            format.row(&Named::Pair { a: 1, b: 2 }).unwrap();
            if takes {
                assert_eq!(format.take_chunk().unwrap(), b"a,b\n1,2\n");
            }
            let told = format.row(other).unwrap_err();
            assert!(told.starts_with(cause), "{told}");
            assert!(told.ends_with("has a,b"), "{told}");
        }
    }
    // By name, not by type; and another file has a header of its own.
    let mut format = CsvRows::default();
    format.begin();
    format.row(&Named::Pair { a: 1, b: 2 }).unwrap();
    let short = Short { a: 3, b: Some(4) };
    format.row(&Named::Held(short)).unwrap();
    assert_eq!(format.take_chunk().unwrap(), b"a,b\n1,2\n3,4\n");
    format.begin();
    format.row(&Named::Other { a: 5, c: 6 }).unwrap();
    assert_eq!(format.take_chunk().unwrap(), b"a,c\n5,6\n");
    // Where there is no header a row's names say nothing.
    format.begin();
    format.row(&Named::Bare(1, 2)).unwrap();
    format.row(&Named::Pair { a: 3, b: 4 }).unwrap();
    assert_eq!(format.take_chunk().unwrap(), b"1,2\n3,4\n");
}

#[test]
fn a_csv_row_has_the_names_of_those_before_a_restart() {
    let mut format = CsvRows::default();
    assert!(format.go_on(b"a,b\n1,2\n", &Named::Pair { a: 3, b: 4 }));
    format.row(&Named::Pair { a: 3, b: 4 }).unwrap();
    assert!(format.row(&Named::Other { a: 5, c: 6 }).is_err());
}

/// The story: a first row without names after a restart, of as many fields as the header has, had later rows compared with
/// nothing, so that one of other names stood under that header.
#[test]
fn a_csv_row_without_names_goes_on_under_no_header_after_a_restart() {
    let mut format = CsvRows::default();
    for header in ["a,b\n1,2\n", "a1,-b\n1,2\n", "\"1,a\",b\n1,2\n"] {
        assert!(
            !format.go_on(header.as_bytes(), &Named::Bare(3, 4)),
            "{header}"
        );
    }
    for rows in ["1,2\n", "tea,-2\n", "\"a\"\"\n,\",2\n"] {
        assert!(format.go_on(rows.as_bytes(), &Named::Bare(3, 4)), "{rows}");
        // As without a restart.
        format.row(&Named::Other { a: 5, c: 6 }).unwrap();
        assert_eq!(format.take_chunk().unwrap(), b"5,6\n");
    }
}

/// The first row after a restart whose checkpoint has a file with this beginning; all files then.
async fn goes_on<T: Serialize + 'static>(beginning: &str, row: T) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp::EPOCH);
    let part = folder.path().join(".rows-000-000000.csv.part");
    std::fs::write(&part, beginning).unwrap();
    let saved = Saved {
        partition: 0,
        number: 0,
        present: Some(Present {
            rows: 1,
            bytes: beginning.len() as u64,
            due: None,
        }),
        held: Vec::new(),
        gone: None,
        scheme: None,
    };
    let options = FileSinkOptions::new(folder.path(), "rows");
    let sink = FileSink::<T, _>::new(options, CsvRows::default());
    let mut sink = sink
        .with_place(naming(folder.path()), Arc::default())
        .with_saved(saved);
    Operator::<T>::begin(&mut sink, &turn(&clock));
    sink.item(Timestamp::EPOCH, row, &mut Discard);
    sink.end(&mut Discard);
    settle::<T, _>(&mut sink).await.unwrap();
    files(folder.path())
}

/// The story: after a change of the program rows went on under the header of the version before.
#[tokio::test]
async fn a_csv_file_of_other_fields_is_completed_after_a_restart() {
    let named = |number: u64, text: &str| {
        let name = format!(".rows-000-00000{number}.csv.part");
        (name, text.to_owned())
    };
    let row = |id| Row {
        id,
        text: "x\ny".to_owned(),
    };
    for before in ["id,new,text\n1,2,3\n", "text,id\n1,2\n", "1,2\n"] {
        let expected = [named(0, before), named(1, "id,text\n7,\"x\ny\"\n")];
        assert_eq!(goes_on(before, row(7)).await, expected);
    }
    let expected = [named(0, "id,text\n6,a\n7,\"x\ny\"\n")];
    assert_eq!(goes_on("id,text\n6,a\n", row(7)).await, expected);
    // Rows without names.
    assert_eq!(goes_on("1,2\n", (3, 4)).await, [named(0, "1,2\n3,4\n")]);
    let expected = [named(0, "1,2\n"), named(1, "3,4,5\n")];
    assert_eq!(goes_on("1,2\n", (3, 4, 5)).await, expected);
    // What may be a header.
    let expected = [named(0, "a,b\n1,2\n"), named(1, "3,4\n")];
    assert_eq!(goes_on("a,b\n1,2\n", (3, 4)).await, expected);
}
