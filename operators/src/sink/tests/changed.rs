//! A file sink whose folder was changed between two runs.

use millstream_engine::checkpoint::{Epoch, Saving};

use super::*;
use crate::sink::file_naming::{FileId, HeldFile};
use crate::sink::file_saved::{Present, Saved};

/// What was begun in the folder of before is complete with the next checkpoint, and has its name there.
#[tokio::test]
async fn the_file_that_was_being_written_gets_its_name_where_it_was_begun() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |number| FileId {
        partition: 0,
        number,
    };
    for (number, text) in [(0, "id,text\n1,a\n"), (1, "id,text\n2,b\n3,")] {
        std::fs::write(naming(old.path()).temporary(file(number)), text).unwrap();
    }
    let saved = Saved {
        partition: 0,
        number: 1,
        present: Some(Present {
            rows: 1,
            bytes: 12,
            due: None,
        }),
        held: vec![HeldFile {
            id: file(0),
            bytes: 12,
            scheme: None,
        }],
        gone: None,
        scheme: naming(old.path()).scheme(),
    };
    let clock = ManualClock::new(Timestamp::EPOCH);
    let options = FileSinkOptions::new(new.path(), "rows");
    let sink = FileSink::<Row, _>::new(options, CsvRows::default());
    let mut sink = sink
        .with_place(naming(new.path()), Arc::default())
        .with_saved(saved);
    Operator::<Row>::begin(&mut sink, &turn(&clock));
    let named = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let begun = [
        named(".rows-000-000001.csv.part", "id,text\n2,b\n"),
        named("rows-000-000000.csv", "id,text\n1,a\n"),
    ];
    settle(&mut sink).await.unwrap();
    assert_eq!(files(old.path()), begun);
    sink.item(Timestamp::EPOCH, row(3), &mut Discard);
    sink.end(&mut Discard);
    sink.before_barrier(&mut Discard);
    settle(&mut sink).await.unwrap();
    sink.save(&mut Saving::new(Epoch(1))).unwrap();
    assert_eq!(files(old.path()), begun);
    sink.checkpointed(Epoch(1)).unwrap();
    settle(&mut sink).await.unwrap();
    let complete = [
        named("rows-000-000000.csv", "id,text\n1,a\n"),
        named("rows-000-000001.csv", "id,text\n2,b\n"),
    ];
    assert_eq!(files(old.path()), complete);
    let text = "id,text\n3,\"a, \"\"3\"\"\"\n";
    assert_eq!(files(new.path()), [named("rows-000-000002.csv", text)]);
}
