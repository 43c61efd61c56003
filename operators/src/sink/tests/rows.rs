//! Rows that cannot be written, or are of another form than those before them.

use super::*;
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
