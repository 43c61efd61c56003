//! File and channel sinks, driven by hand.

mod changed;
mod checkpointed;
mod rows;
mod tables;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::flow::{
    Discard, Emit, Fault, Fence, Operator, Resources, Then, Turn, Wiring, stateless,
};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::stage::Blocked;
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use serde::Serialize;

use super::*;

#[derive(Clone, Serialize)]
struct Row {
    id: u64,
    text: String,
}

type Map = std::collections::BTreeMap<u64, u64>;

fn row(id: u64) -> Row {
    Row {
        id,
        text: format!("a, \"{id}\""),
    }
}

fn wiring(clock: &Arc<ManualClock>) -> Wiring {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    Wiring {
        stage: "files".into(),
        identity: "files".into(),
        partition: 2,
        partitions: 3,
        mailbox: Mailbox::new(MailboxLimits::default(), Arc::clone(&clock)),
        clock,
        resources: Arc::new(Resources::new()),
        checkpoints: None,
    }
}

fn turn(clock: &ManualClock) -> Turn {
    Turn {
        now: clock.now(),
        monotonic: clock.monotonic(),
    }
}

/// What a stage does with an operator whose output waits.
async fn settle<T, O: Operator<T, Out = Infallible>>(sink: &mut O) -> Result<(), Fault> {
    sink.flush(true)?;
    while sink.is_blocked() {
        let mut waits = Vec::new();
        sink.blocked(&mut waits);
        for wait in waits {
            wait.await;
        }
        sink.flush(true)?;
    }
    Ok(())
}

fn give(sink: &mut impl Operator<Row, Out = Infallible>, ids: std::ops::Range<u64>) {
    for id in ids {
        sink.item(Timestamp::EPOCH, row(id), &mut Discard);
    }
}

/// Names and content of all files, also hidden ones.
fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect();
    files.sort();
    files
}

fn json(ids: std::ops::Range<u64>) -> String {
    ids.map(|id| format!("{{\"id\":{id},\"text\":\"a, \\\"{id}\\\"\"}}\n"))
        .collect()
}

#[tokio::test]
async fn files_are_complete_by_rows_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let options = FileSinkOptions {
        rows_max: 3,
        ..FileSinkOptions::new(folder.path().join("deep"), "rows")
    };
    let deep = options.folder.clone();
    let mut sink = FileSink::<Row, _>::new(options.clone(), JsonRows::default());
    sink.open(&wiring(&clock)).unwrap();
    sink.begin(&turn(&clock));
    give(&mut sink, 0..7);
    settle(&mut sink).await.unwrap();
    sink.end(&mut Discard);
    settle(&mut sink).await.unwrap();
    let expected = [
        ("rows-002-000000.jsonl".to_owned(), json(0..3)),
        ("rows-002-000001.jsonl".to_owned(), json(3..6)),
        ("rows-002-000002.jsonl".to_owned(), json(6..7)),
    ];
    assert_eq!(files(&deep), expected);

    // Another run goes on counting, and deletes what is incomplete.
    std::fs::write(deep.join(".rows-002-000003.jsonl.part"), "half").unwrap();
    std::fs::write(deep.join(".rows-001-000003.jsonl.part"), "not its own").unwrap();
    let mut sink = FileSink::<Row, _>::new(options, JsonRows::default());
    sink.open(&wiring(&clock)).unwrap();
    give(&mut sink, 7..8);
    sink.end(&mut Discard);
    settle(&mut sink).await.unwrap();
    let names: Vec<_> = files(&deep).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[0], ".rows-001-000003.jsonl.part");
    assert_eq!(names[4], "rows-002-000003.jsonl");
    assert_eq!(names.len(), 5);
}

/// Without checkpoints. Story: files of partitions that there were no more stayed under their temporary names for good.
#[test]
fn the_first_partition_deletes_what_those_that_are_gone_had_begun() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let part = |partition| format!(".rows-00{partition}-000003.jsonl.part");
    for partition in 0..5 {
        std::fs::write(folder.path().join(part(partition)), "half").unwrap();
    }
    let others = [".lines-004-000000.jsonl.part", ".rows-004-000000.csv.part"];
    for other in others {
        std::fs::write(folder.path().join(other), "of another sink").unwrap();
    }
    let mut expected: Vec<_> = others.map(str::to_owned).into();
    expected.extend([part(1), part(2)]);
    let options = FileSinkOptions::new(folder.path(), "rows");
    let mut sink = FileSink::<Row, _>::new(options, JsonRows::default());
    let first = Wiring {
        partition: 0,
        ..wiring(&clock)
    };
    sink.open(&first).unwrap();
    let mut names: Vec<_> = files(folder.path())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    expected.sort();
    names.sort();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn every_csv_file_has_a_header_and_ends_by_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let options = FileSinkOptions {
        bytes_max: 20_000,
        ..FileSinkOptions::new(folder.path(), "rows")
    };
    let mut sink = FileSink::<Row, _>::new(options, CsvRows::default());
    sink.open(&wiring(&clock)).unwrap();
    give(&mut sink, 0..10_000);
    settle(&mut sink).await.unwrap();
    give(&mut sink, 10_000..10_500);
    sink.end(&mut Discard);
    settle(&mut sink).await.unwrap();
    let mut ids = Vec::new();
    let files = files(folder.path());
    assert!(files.len() > 5, "{}", files.len());
    for (name, text) in files {
        assert!(name.ends_with(".csv"), "{name}");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "id,text");
        let id = |line: &&str| line.split(',').next().unwrap().parse::<u64>().unwrap();
        ids.extend(lines[1..].iter().map(id));
    }
    assert_eq!(ids, (0..10_500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_is_complete_when_it_is_old_enough() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let options = FileSinkOptions {
        age_max: Some(Duration::from_secs(60)),
        ..FileSinkOptions::new(folder.path(), "rows")
    };
    let mut sink = FileSink::<Row, _>::new(options, JsonRows::default());
    sink.open(&wiring(&clock)).unwrap();
    assert_eq!(sink.next_due(), None);
    clock.advance(Duration::from_secs(5));
    sink.begin(&turn(&clock));
    give(&mut sink, 0..2);
    assert_eq!(sink.next_due(), Some(Timestamp::from_seconds(65)));
    settle(&mut sink).await.unwrap();
    clock.advance(Duration::from_secs(60));
    sink.begin(&turn(&clock));
    sink.processing_time(clock.now(), &mut Discard);
    assert_eq!(sink.next_due(), None);
    sink.end(&mut Discard);
    settle(&mut sink).await.unwrap();
    let expected = [("rows-002-000000.jsonl".to_owned(), json(0..2))];
    assert_eq!(files(folder.path()), expected);
}

#[tokio::test]
async fn what_cannot_be_written_fails_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let options = FileSinkOptions::new(folder.path(), "rows");
    let mut sink = FileSink::<Map, _>::new(options.clone(), CsvRows::default());
    sink.open(&wiring(&clock)).unwrap();
    // CSV has no maps.
    sink.item(Timestamp::EPOCH, Map::from([(1, 2)]), &mut Discard);
    let fault = settle(&mut sink).await.unwrap_err();
    assert!(fault.0.starts_with("a row cannot be written"), "{fault}");

    let mut sink = FileSink::<Row, _>::new(options, JsonRows::default());
    sink.open(&wiring(&clock)).unwrap();
    // A folder has the temporary name.
    std::fs::create_dir(folder.path().join(".rows-002-000000.jsonl.part")).unwrap();
    give(&mut sink, 0..1);
    sink.end(&mut Discard);
    let fault = settle(&mut sink).await.unwrap_err();
    assert!(fault.0.contains(".rows-002-000000.jsonl.part: "), "{fault}");
}

/// Blocked as long as it is asked: a side output that is full.
struct Full;

impl Operator<Row> for Full {
    type Out = Row;

    fn item<E: Emit<Row>>(&mut self, time: Timestamp, row: Row, out: &mut E) {
        out.emit(time, row);
    }

    fn is_blocked(&self) -> bool {
        true
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        waits.push(Box::pin(async {}));
    }

    stateless!();
}

/// Another operator of the stage waits, and the sink has sent nothing: what it would wait for never comes.
#[tokio::test]
async fn a_sink_that_has_sent_nothing_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let options = FileSinkOptions::new(folder.path(), "rows");
    let sink = FileSink::<Row, _>::new(options, JsonRows::default());
    let mut stage = Then {
        first: Full,
        second: sink,
    };
    stage.open(&wiring(&clock)).unwrap();
    for _ in 0..2 {
        stage.flush(true).unwrap();
        let (mut waits, mut own) = (Vec::new(), Vec::new());
        stage.blocked(&mut waits);
        stage.second.blocked(&mut own);
        assert_eq!((waits.len(), own.len()), (1, 0));
        // The same at the end of an input without a row.
        stage.end(&mut Discard);
    }
}

/// The last command may fail after the flush that found no failure and before the stage asks whether it may end.
#[test]
fn a_failure_after_the_last_flush_is_not_lost() {
    let (commands, _taken) = crossbeam_channel::bounded(8);
    let shared = Arc::new(super::file_writer::Shared::default());
    let sink = FileSink::<Row, _>::new(FileSinkOptions::new("unused", "rows"), JsonRows::default());
    let mut sink = sink.with_writer(commands, Arc::clone(&shared));
    give(&mut sink, 0..1);
    sink.end(&mut Discard);
    sink.flush(true).unwrap();
    for failure in [None, Some("the disk is full".to_owned())] {
        shared.finish(failure);
    }
    assert!(sink.is_blocked(), "the failure was not told");
    assert_eq!(sink.flush(true).unwrap_err().0, "the disk is full");
}

#[tokio::test]
async fn a_full_channel_holds_the_sink_back_and_loses_nothing() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
    let mut sink = ChannelSink::new(sender);
    let taking = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Some(number) = receiver.recv().await {
            taken.push(number);
            if taken.len() == 50 {
                break;
            }
        }
        taken
    });
    for number in 0..50u64 {
        sink.item(Timestamp::EPOCH, number, &mut Discard);
    }
    assert!(Operator::<u64>::is_blocked(&sink));
    settle::<u64, _>(&mut sink).await.unwrap();
    assert_eq!(taking.await.unwrap(), (0..50).collect::<Vec<_>>());
    sink.item(Timestamp::EPOCH, 50, &mut Discard);
    settle::<u64, _>(&mut sink).await.unwrap_err();
}

fn naming(folder: &std::path::Path) -> super::file_naming::Naming {
    super::file_naming::Naming {
        folder: folder.to_owned(),
        prefix: "rows".to_owned(),
        partition: 0,
        extension: "csv".to_owned(),
    }
}

/// Goal: whatever the thread of a run that was given up still has in its queue stays undone.
#[tokio::test]
async fn the_thread_of_a_run_that_was_given_up_writes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let fence = Arc::new(Fence::new());
    let naming = naming(folder.path());
    let started = super::file_writer::start_holding(naming, 0, None, Arc::clone(&fence));
    let (commands, shared, thread) = started.unwrap();
    let write = |text: &str| super::file_writer::Command::Write(text.as_bytes().to_vec());
    commands.send(write("a")).unwrap();
    Arc::clone(&shared).until_past(0).await;
    assert!(fence.close());
    // It may have ended by now, and does nothing with this if it has not.
    let _ = commands.send(write("b"));
    drop(commands);
    drop(thread);
    let written = std::fs::read_to_string(folder.path().join(".rows-000-000000.csv.part"));
    assert_eq!(written.unwrap(), "a");
}

/// A disk that does not answer, by a pipe that nobody reads: whoever closes the fence is told, and nobody waits for ever.
#[cfg(unix)]
#[tokio::test]
async fn a_thread_that_hangs_at_the_disk_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let fence = Arc::new(Fence::new());
    let (mut reader, pipe) = std::io::pipe().unwrap();
    let file = std::fs::File::from(std::os::fd::OwnedFd::from(pipe));
    let naming = naming(folder.path());
    let started = super::file_writer::start_holding(naming, 0, Some(file), Arc::clone(&fence));
    let (commands, shared, thread) = started.unwrap();
    // More than a pipe holds.
    let write = || super::file_writer::Command::Write(vec![b'a'; 1 << 20]);
    commands.send(write()).unwrap();
    commands.send(write()).unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(&mut reader, &mut byte).unwrap();
    assert!(!fence.close());
    // Neither does the stage that unwinds.
    drop(thread);
    drop(commands);
    assert!(!fence.is_over());
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut rest).unwrap();
    // The first was done to its end, the second not any more.
    assert_eq!(rest.len(), (1 << 20) - 1);
    assert_eq!(shared.done(), 1);
    assert!(fence.is_over());
}

/// What a start does to files is behind the fence.
#[test]
fn a_sink_of_a_run_that_was_given_up_leaves_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp::EPOCH);
    let part = folder.path().join(".rows-000-000000.csv.part");
    for is_given_up in [true, false] {
        std::fs::write(&part, "of the next run").unwrap();
        let fence = Arc::new(Fence::new());
        let options = FileSinkOptions::new(folder.path(), "rows");
        let sink = FileSink::<Row, _>::new(options, JsonRows::default());
        let mut sink = sink.with_place(naming(folder.path()), Arc::clone(&fence));
        if is_given_up {
            assert!(fence.close());
        }
        let begin = || Operator::<Row>::begin(&mut sink, &turn(&clock));
        let begun = std::panic::catch_unwind(std::panic::AssertUnwindSafe(begin));
        assert_eq!(begun.is_err(), is_given_up);
        assert_eq!(part.exists(), is_given_up);
    }
}
