//! Danger: somebody else holds the folder, the disk is full, the log's file is damaged. It is said, typed, and nothing
//! is lost in silence.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream::prelude::*;
use millstream::{OpenError, read_partition};
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::LogError;
use millstream_engine::store::structure::Scope;

use crate::processes::{SmallDisk, alone};
use crate::support::*;

/// Names the folder that another process opens, and what it holds.
const PROBE: &str = "MILLSTREAM_ENGINE_PROBE";
const EVENTS: &str = "MILLSTREAM_ENGINE_EVENTS";

fn probe(folder: &Path, events: usize) -> Output {
    alone("damage::prober")
        .env(PROBE, folder)
        .env(EVENTS, events.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Opens a folder and reads all of it, in a process of its own that may die of it. Says "refused" with the error of
/// opening, "unreadable" with that of reading, or "intact"; anything else is a failure. Does nothing by itself.
#[test]
fn prober() {
    let Ok(folder) = std::env::var(PROBE) else {
        return;
    };
    let events: usize = std::env::var(EVENTS).unwrap().parse().unwrap();
    runtime().block_on(async {
        let mut config = config();
        config.restart.attempts_max = 0;
        let engine = match try_open(Path::new(&folder), config, topology()).await {
            Ok(engine) => engine,
            Err(error) => return println!("\nrefused: {error}"),
        };
        let mut found = 0;
        for number in 0..engine.partitions() {
            let read = read_partition(
                engine.log(),
                PartitionId(number),
                Offset(0),
                usize::MAX,
                None,
            );
            match read {
                Ok(read) => found += read.len(),
                Err(error) => return println!("\nunreadable: {error}"),
            }
        }
        assert_eq!(found, events, "events are lost in silence");
        // All frames are good, so everything made of them must be.
        let streams = check(&engine).await;
        for (id, row) in Tables::of(&streams).sums {
            assert_eq!(sum(&engine, &id).await, row.sum);
        }
        engine.send::<Tally>("t0", Ask::Add(1)).await.unwrap();
        close(engine).await;
        println!("\nintact");
    });
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}\n{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// A second process is told who holds the folder, and the first goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    let path = folder.path().to_path_buf();
    let output = tokio::task::spawn_blocking(move || probe(&path, 1))
        .await
        .unwrap();
    let said = text(&output);
    let refusal = said.lines().find(|line| line.starts_with("refused: "));
    let refusal = refusal.unwrap_or_else(|| panic!("{said}"));
    assert!(
        refusal.contains(&std::process::id().to_string()),
        "{refusal}"
    );
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    check(&engine).await;
    close(engine).await;
    let path = folder.path().to_path_buf();
    let output = tokio::task::spawn_blocking(move || probe(&path, 2))
        .await
        .unwrap();
    assert!(text(&output).contains("\nintact"), "{}", text(&output));
}

/// The number of partitions is the store's: another is refused with the stored one, none is taken from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    close(engine).await;
    let mut config = config();
    config.partitions = Some(5);
    let error = try_open(folder.path(), config.clone(), topology())
        .await
        .unwrap_err();
    let OpenError::Log {
        cause: LogError::Partitions {
            stored: 3,
            asked: 5,
        },
        ..
    } = &error
    else {
        panic!("{error}")
    };
    config.partitions = None;
    let engine = open_with(folder.path(), config.clone(), topology()).await;
    assert_eq!(engine.partitions(), 3);
    // Those of the partitions, the description and the index: the refused start made none.
    let report = engine.log().environment().check(Scope::Full).unwrap();
    assert_eq!(report.databases, 5);
    assert_eq!(sum(&engine, "a").await, 1);
    close(engine).await;
    for partitions in [0, 1_025] {
        config.partitions = Some(partitions);
        let error = try_open(folder.path(), config.clone(), topology())
            .await
            .unwrap_err();
        assert!(matches!(error, OpenError::Config(_)), "{error}");
    }
}

/// Sends large commands until the disk is full: how many were acknowledged, and what is said then.
async fn write_until_full(engine: Engine, writer: u64, is_full: Arc<AtomicBool>) -> (u64, String) {
    let mut random = writer * 2 + 1;
    for n in 0u64.. {
        let note: String = (0..8_000)
            .map(|_| {
                // No compression makes this smaller.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(n);
                char::from(b'!' + (random >> 58) as u8)
            })
            .collect();
        let name = named(u128::from(writer << 32 | n));
        let id = format!("w{writer}");
        let sent = engine.send_with::<Tally>(&id, Ask::Note(note), name);
        match sent.await {
            Ok(ack) => assert_eq!(ack.version, Some(n)),
            Err(CommandError::OutcomeUnknown { cause }) => {
                is_full.store(true, Ordering::SeqCst);
                return (n, cause);
            }
            Err(CommandError::Closed) => return (n, String::new()),
            Err(other) => panic!("{other}"),
        }
        assert!(n < 100_000, "the disk never filled");
    }
    unreachable!()
}

/// Goal: a full disk stops the writers with "outcome unknown", hangs nobody, and after space was made everything
/// acknowledged is there, nothing twice. Method: a small file system, 16 writers with large events and command ids;
/// after reopening each sends its last command again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk() {
    let Some(disk) = SmallDisk::mount(48 << 20) else {
        return;
    };
    let folder = disk.path().join("data");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 16 << 20]).unwrap();
    let engine = open(&folder).await;
    let is_full = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..16u64)
        .map(|writer| {
            let (engine, is_full) = (engine.clone(), Arc::clone(&is_full));
            tokio::spawn(write_until_full(engine, writer, is_full))
        })
        .collect();
    let mut acknowledged = Vec::new();
    for writer in writers {
        let (count, cause) = within(writer).await.unwrap();
        assert!(
            cause.is_empty() || cause.contains("start the process again"),
            "{cause}"
        );
        acknowledged.push(count);
    }
    assert!(is_full.load(Ordering::SeqCst) && acknowledged.iter().sum::<u64>() > 100);
    // Later ones are told at once, and so is whoever reads.
    let late = within(engine.send::<Tally>("late", Ask::Add(1))).await;
    assert!(
        matches!(
            late,
            Err(CommandError::OutcomeUnknown { .. } | CommandError::Closed)
        ),
        "{late:?}"
    );
    let _ = within(engine.shutdown()).await;
    drop(engine);
    std::fs::remove_file(&ballast).unwrap();

    let engine = open(&folder).await;
    let streams = check(&engine).await;
    for (writer, count) in (0u64..).zip(acknowledged) {
        let stored = streams.get(&format!("tally-w{writer}")).map_or(0, Vec::len) as u64;
        assert!(
            stored == count || stored == count + 1,
            "{count} acknowledged, {stored} there"
        );
        let name = named(u128::from(writer << 32 | count));
        let id = format!("w{writer}");
        let sent = engine.send_with::<Tally>(&id, Ask::Add(1), name);
        assert_eq!(sent.await.unwrap().version, Some(count));
    }
    assert!(!streams.contains_key("tally-late"));
    check(&engine).await;
    close(engine).await;
}

/// A closed store with `events` events, some of them large.
async fn filled(folder: &Path) -> usize {
    let engine = open(folder).await;
    for round in 0..40 {
        for n in 0..9 {
            engine
                .send::<Tally>(&format!("t{n}"), Ask::AddAll(vec![round; 3]))
                .await
                .unwrap();
        }
    }
    engine
        .send::<Tally>("t0", Ask::Note("a long note ".repeat(2_000)))
        .await
        .unwrap();
    let events = check(&engine).await.values().map(Vec::len).sum();
    close(engine).await;
    events
}

/// Copies the log alone, so that every table must be made from it.
fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("log")).unwrap();
    let file = Path::new("log").join("data.mdb");
    std::fs::copy(from.join(&file), to.join(&file)).unwrap();
}

/// Goal: a log file that was cut or in which bits were flipped is refused with a typed error, or read with one, or all
/// of it is there; no panic, no signal, no loss in silence. Method: 24 damaged copies, each opened and read whole
/// in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log() {
    let kept = tempfile::tempdir().unwrap();
    let events = filled(kept.path()).await;
    let whole = std::fs::read(kept.path().join("log/data.mdb")).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let mut random = Random::new();
    let mut outcomes = std::collections::BTreeMap::<String, usize>::new();
    for round in 0..24 {
        let folder = tempfile::tempdir().unwrap();
        copy_log(kept.path(), folder.path());
        let path = folder.path().join("log/data.mdb");
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let what = if round % 3 == 0 {
            let length = random.below(used + 8_192);
            file.set_len(length).unwrap();
            format!("cut to {length} of {used}")
        } else {
            let at = random.below(used);
            let byte = whole[at as usize] ^ (1 << random.below(8));
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&[byte]).unwrap();
            format!("flipped at {at} of {used}")
        };
        drop(file);
        let path = folder.path().to_path_buf();
        let output = tokio::task::spawn_blocking(move || probe(&path, events))
            .await
            .unwrap();
        let said = text(&output);
        assert!(output.status.success(), "{what}: {}\n{said}", output.status);
        let outcome = said
            .lines()
            .find(|line| {
                ["refused: ", "unreadable: ", "intact"]
                    .iter()
                    .any(|word| line.starts_with(word))
            })
            .unwrap_or_else(|| panic!("{what}: {said}"));
        if let Some(error) = outcome.strip_prefix("refused: ") {
            let folder = folder.path().display().to_string();
            assert!(
                error.contains(&folder) || error.contains("partition"),
                "{what}: {error}"
            );
        }
        let word = outcome.split(':').next().unwrap_or_default();
        *outcomes.entry(word.to_owned()).or_default() += 1;
    }
    eprintln!("{outcomes:?}");
    assert!(
        outcomes.len() > 1,
        "only {outcomes:?}: this test does not damage what it should"
    );
}
