//! The promise of the log: what was acknowledged is there, whole and in order, whatever happens.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use millstream_engine::event::{Metadata, Offset, PartitionId};
use millstream_engine::log::frame::{Draft, Encoding, Frame, FrameBuilder, Kind, SealedFrame};
use millstream_engine::log::{
    Committed, EmbeddedLog, EmbeddedReader, Feed, GroupWriter, Head, LogError, LogReader, LogStore,
    LogWriter, Submission,
};
use millstream_engine::store::{Environment, EnvironmentOptions, StoreError};
use millstream_engine::time::{SystemClock, Timestamp};
use proptest::prelude::*;
use support::Victim;

mod support;

const PARTITIONS: u16 = 3;

fn options() -> EnvironmentOptions {
    EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 1 << 20,
        ..EnvironmentOptions::default()
    }
}

fn open(folder: &Path) -> Result<EmbeddedLog, LogError> {
    EmbeddedLog::open(folder, PARTITIONS, options())
}

/// A frame of `count` events after `head`; each payload says its offset, so that a reader can tell.
fn frame(partition: u16, head: Head, count: u64) -> SealedFrame {
    let mut builder = FrameBuilder::new();
    let kind = builder.kind(&Kind {
        category: "account".into(),
        event_type: "Deposited".into(),
        schema_version: 1,
        encoding: Encoding::Opaque,
    });
    for n in 0..count {
        let payload = format!("{partition}:{}", head.next.0 + n);
        let draft = Draft {
            kind,
            stream: "42",
            hash: millstream_engine::event::stream_hash("account-42"),
            version: head.next.0 + n,
            event_time: None,
            id: None,
            metadata: Metadata::default(),
            payload: payload.as_bytes(),
        };
        builder.push(Timestamp(1), &draft).unwrap();
    }
    builder
        .seal(
            PartitionId(partition),
            head.next,
            uuid::Uuid::nil(),
            head.hash,
            &[],
        )
        .unwrap()
}

fn after(frame: &SealedFrame) -> Head {
    Head {
        next: frame.first.plus(u64::from(frame.count)),
        hash: frame.hash,
    }
}

/// Offsets that a reader finds from `from` on, each checked against its payload.
fn offsets(reader: &impl LogReader, partition: u16, from: u64) -> Vec<u64> {
    let (mut found, mut next) = (Vec::new(), Offset(from));
    loop {
        let frames = reader.read(PartitionId(partition), next, 300).unwrap();
        let Some(last) = frames.last() else {
            return found;
        };
        next = last.header().end();
        for record in frames
            .iter()
            .flat_map(Frame::records)
            .filter(|record| record.offset.0 >= from)
        {
            assert_eq!(
                record.payload,
                format!("{partition}:{}", record.offset).as_bytes()
            );
            found.push(record.offset.0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_offset_is_found_from_anywhere_also_after_a_restart(
        groups in prop::collection::vec(prop::collection::vec((0..PARTITIONS, 1u64..20), 1..6), 1..12),
        reopen_every in 1usize..5,
        from in 0u64..60,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path()).unwrap();
        let mut heads = [Head::default(); PARTITIONS as usize];
        for (n, group) in groups.iter().enumerate() {
            let frames: Vec<_> = group
                .iter()
                .map(|&(partition, count)| {
                    let sealed = frame(partition, heads[usize::from(partition)], count);
                    heads[usize::from(partition)] = after(&sealed);
                    sealed
                })
                .collect();
            log.store.append(&frames).unwrap();
            if n % reopen_every == 0 {
                drop(log);
                log = open(folder.path()).unwrap();
            }
        }
        for partition in 0..PARTITIONS {
            let head = heads[usize::from(partition)];
            prop_assert_eq!(log.reader.head(PartitionId(partition)).unwrap(), head);
            prop_assert_eq!(offsets(&log.reader, partition, from), (from..head.next.0).collect::<Vec<_>>());
        }
        let events = heads.iter().map(|head| head.next.0).sum::<u64>();
        prop_assert_eq!(log.reader.verify().unwrap().events, events);
    }
}

#[test]
fn a_frame_that_does_not_follow_is_refused_with_its_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path()).unwrap();
    let first = frame(0, Head::default(), 3);
    let gap = frame(
        1,
        Head {
            next: Offset(5),
            ..Head::default()
        },
        1,
    );
    let foreign = frame(
        0,
        Head {
            next: Offset(3),
            ..Head::default()
        },
        1,
    );
    assert!(matches!(
        log.store.append(&[first.clone(), gap]),
        Err(LogError::Chain { .. })
    ));
    assert_eq!(log.reader.head(PartitionId(0)).unwrap(), Head::default());
    log.store.append(std::slice::from_ref(&first)).unwrap();
    assert!(matches!(
        log.store.append(&[foreign]),
        Err(LogError::Chain { .. })
    ));
    log.store.append(&[frame(0, after(&first), 1)]).unwrap();
    assert_eq!(offsets(&log.reader, 0, 0), [0, 1, 2, 3]);
}

/// The reader of another process sees what was durable when it asks, and writes nothing.
#[test]
fn a_log_is_read_without_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        EmbeddedReader::open_beside(folder.path()),
        Err(LogError::Description { .. })
    ));
    let mut log = open(folder.path()).unwrap();
    log.store.append(&[frame(2, Head::default(), 5)]).unwrap();
    drop(log);
    let reader = EmbeddedReader::open_beside(folder.path()).unwrap();
    assert_eq!(reader.partitions(), PARTITIONS);
    assert_eq!(offsets(&reader, 2, 1), [1, 2, 3, 4]);
    assert_eq!(reader.verify().unwrap().events, 5);
}

#[test]
fn the_number_of_partitions_is_fixed() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let file = || std::fs::read(folder.path().join("data.mdb")).unwrap();
    let before = file();
    let error = EmbeddedLog::open(folder.path(), 4, options()).unwrap_err();
    assert!(
        matches!(
            error,
            LogError::Partitions {
                stored: 3,
                asked: 4
            }
        ),
        "{error}"
    );
    // Not a database of a partition that it has not.
    assert!(file() == before, "it was changed");
    let as_stored = EmbeddedLog::open_as_stored(folder.path(), None, 4, options()).unwrap();
    assert_eq!(as_stored.reader.partitions(), PARTITIONS);
    drop(as_stored);
    open(folder.path()).unwrap();
}

/// Changes bytes wherever they stand in the file of a closed log.
fn replace(folder: &Path, from: &[u8], to: &[u8]) -> Vec<u8> {
    let file = folder.join("data.mdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let found = |bytes: &[u8]| bytes.windows(from.len()).position(|window| window == from);
    let mut count = 0;
    while let Some(at) = found(&bytes) {
        bytes[at..at + from.len()].copy_from_slice(to);
        count += 1;
    }
    assert!(count > 0, "nothing was changed");
    std::fs::write(&file, &bytes).unwrap();
    bytes
}

/// Story: the number of partitions has no checksum. One bit, and the log was opened with as many as that said, and streams were
/// looked for in other partitions than where they are; a bit in its name, and the log had another number from then on.
#[test]
fn a_number_of_partitions_that_does_not_fit_what_is_there_is_refused() {
    let damages: [(&[u8], &[u8]); 5] = [
        (b"partitions\x01\0\x03", b"partitions\x01\0\x07"),
        (b"partitions\x01\0\x03", b"partitions\x01\0\x02"),
        (b"partitions\x01\0\x03", b"partitions\x01\0\0"),
        (b"partitions\x01\0\x03", b"qartitions\x01\0\x03"),
        // Of a later layout.
        (b"partitions\x01\0\x03", b"partitions\x03\0\x03"),
    ];
    for (from, to) in damages {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path()).unwrap();
        log.store.append(&[frame(2, Head::default(), 5)]).unwrap();
        drop(log);
        let before = replace(folder.path(), from, to);
        for asked in [None, Some(PARTITIONS), Some(u16::from(to[12]))] {
            let opened = EmbeddedLog::open_as_stored(folder.path(), asked, 4, options());
            let error = opened.map(drop).unwrap_err();
            assert!(matches!(error, LogError::Description { .. }), "{error}");
        }
        let beside = EmbeddedReader::open_beside(folder.path());
        let error = beside.map(drop).unwrap_err();
        assert!(matches!(error, LogError::Description { .. }), "{error}");
        let after = std::fs::read(folder.path().join("data.mdb")).unwrap();
        assert!(after == before, "it was changed");
        // What was there is there.
        replace(folder.path(), to, from);
        let log = EmbeddedLog::open_as_stored(folder.path(), None, 4, options()).unwrap();
        assert_eq!(offsets(&log.reader, 2, 0), [0, 1, 2, 3, 4]);
    }
}

/// A process died between making the databases and saying how many there are: whoever opens it next has a new log.
#[test]
fn a_creation_that_was_interrupted_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["p0", "p1", "p2", "p3", "description", "index"];
    let options_then = EnvironmentOptions {
        databases: names.map(str::to_owned).to_vec(),
        ..options()
    };
    drop(Environment::open(folder.path(), options_then).unwrap());
    let mut log = open(folder.path()).unwrap();
    log.store.append(&[frame(2, Head::default(), 5)]).unwrap();
    drop(log);
    let log = EmbeddedLog::open_as_stored(folder.path(), None, 4, options()).unwrap();
    assert_eq!(log.reader.partitions(), PARTITIONS);
    assert_eq!(offsets(&log.reader, 2, 0), [0, 1, 2, 3, 4]);
}

#[test]
fn a_flipped_bit_in_a_frame_is_named_and_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path()).unwrap();
    let first = frame(0, Head::default(), 200);
    let second = frame(0, after(&first), 200);
    log.store.append(&[first, second.clone()]).unwrap();
    drop(log);
    let file = folder.path().join("data.mdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes
        .windows(64)
        .position(|window| *window == second.bytes[120..184])
        .unwrap();
    bytes[at + 10] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    match open(folder.path()) {
        Err(LogError::Frame {
            partition: PartitionId(0),
            offset: Offset(200),
            ..
        }) => {}
        other => panic!("expected the second frame to be named, got {other:?}"),
    }
}

#[test]
fn a_full_map_stops_the_writer_and_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let small = EnvironmentOptions {
        map_bytes_max: 1 << 20,
        preallocate_step_bytes: 0,
        ..options()
    };
    let EmbeddedLog { store, reader } =
        EmbeddedLog::open(folder.path(), PARTITIONS, small).unwrap();
    let mut writer = GroupWriter::new(
        store,
        Arc::new(Feed::new(&reader).unwrap()),
        Arc::new(SystemClock::new()),
    );
    let mut head = Head::default();
    let failed = loop {
        let sealed = frame(0, head, 3_000);
        let next = after(&sealed);
        match writer.step(vec![Submission {
            frame: Some(sealed),
            done: Box::new(|_| {}),
        }]) {
            Ok(()) => head = next,
            Err(error) => break error,
        }
        assert!(head.next.0 < 10_000_000, "the map never filled");
    };
    let LogError::Stopped { cause } = &failed else {
        panic!("{failed}")
    };
    assert!(
        matches!(&**cause, LogError::Store(store) if matches!(**store, StoreError::MapFull { .. })),
        "{cause}"
    );
    let answer = Arc::new(Mutex::new(None));
    let told = Arc::clone(&answer);
    let done = Box::new(move |outcome: &Committed| *told.lock().unwrap() = Some(outcome.clone()));
    assert!(
        writer
            .step(vec![Submission {
                frame: Some(frame(1, Head::default(), 1)),
                done
            }])
            .is_err()
    );
    assert!(
        matches!(*answer.lock().unwrap(), Some(Err(LogError::Stopped { .. }))),
        "no success after a failure"
    );
    drop((writer, reader));
    let log = open(folder.path()).unwrap();
    assert_eq!(log.reader.head(PartitionId(0)).unwrap(), head);
    assert_eq!(log.reader.verify().unwrap().events, head.next.0);
}

/// A log of lines whose disk is full, and that panics about it, as `eprintln` does.
struct FullDisk;

impl tracing::Subscriber for FullDisk {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        panic!("no room for {:?}", event.metadata().name());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct Refusing;

impl LogStore for Refusing {
    fn append(&mut self, _: &[SealedFrame]) -> Result<(), LogError> {
        Err(LogError::Panicked)
    }
}

/// Story: the writer said that it stops before it did so. Where that could not be written, as on the disk that had just become full,
/// it died of it: an engine went on whose log took nothing, and `Engine::failed` never came.
#[test]
fn a_log_that_stops_has_stopped_before_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).unwrap();
    let feed = Arc::new(Feed::new(&log.reader).unwrap());
    let clock = Arc::new(SystemClock::new());
    let group = GroupWriter::new(Refusing, Arc::clone(&feed), clock);
    let (writer, mut stepped) = LogWriter::stepped(group, 1);
    let answer = Arc::new(Mutex::new(None));
    let told = Arc::clone(&answer);
    let submitted = writer.submit(Submission {
        frame: Some(frame(0, Head::default(), 1)),
        done: Box::new(move |outcome| *told.lock().unwrap() = Some(outcome.clone())),
    });
    submitted.unwrap();
    let step = std::panic::AssertUnwindSafe(|| stepped.step());
    let said = tracing::subscriber::with_default(FullDisk, || std::panic::catch_unwind(step));
    assert!(said.is_err(), "nothing was said");
    assert!(matches!(writer.stopped(), Some(LogError::Stopped { .. })));
    assert!(matches!(feed.stopped(), Some(LogError::Stopped { .. })));
    let answer = answer.lock().unwrap().take();
    assert!(matches!(answer, Some(Err(LogError::Stopped { .. }))));
}

/// Names the folder to the process that is going to be killed.
const VICTIM: &str = "MILLSTREAM_LOG_VICTIM";

/// Appends until it is killed and says after each group what was acknowledged. Does nothing by itself.
#[test]
fn victim() {
    let Ok(folder) = std::env::var(VICTIM) else {
        return;
    };
    let mut log = open(Path::new(&folder)).unwrap();
    let mut heads: Vec<_> = (0..PARTITIONS)
        .map(|p| log.reader.head(PartitionId(p)).unwrap())
        .collect();
    for round in 0u64.. {
        let group: Vec<_> = (0..PARTITIONS)
            .map(|p| frame(p, heads[usize::from(p)], 1 + round % 50))
            .collect();
        log.store.append(&group).unwrap();
        heads = group.iter().map(after).collect();
        support::acknowledge(heads[0].next.0);
    }
}

/// Goal: kill -9 loses no acknowledged frame and leaves no half group. Method: a real process is killed
/// after a varying number of acknowledgements, over and over on the same folder.
#[test]
fn kill_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..support::kills() {
        let victim = Victim::start("victim", VICTIM, folder.path());
        let answers = victim.killed_after::<u64>(support::patience(round));
        let acknowledged = answers[answers.len() - 1];
        let log = open(folder.path()).unwrap();
        let head = log.reader.head(PartitionId(0)).unwrap();
        assert!(
            head.next.0 >= acknowledged,
            "round {round}: {acknowledged} acknowledged, {} there",
            head.next
        );
        for partition in 0..PARTITIONS {
            assert_eq!(
                log.reader.head(PartitionId(partition)).unwrap().next,
                head.next,
                "half a group, round {round}"
            );
            assert_eq!(offsets(&log.reader, partition, 0).len() as u64, head.next.0);
        }
        log.reader.verify().unwrap();
    }
}
