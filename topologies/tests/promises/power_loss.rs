//! Danger: the power fails. What was written and not synced may be lost, torn or out of order; whatever was
//! acknowledged is there all the same.
//!
//! A kill keeps what the kernel holds in memory, so it proves nothing of this. Here a process works on a store while a
//! library in C, `power_loss.c`, compiled here, records its writes, its syncs and the answers that it sees. From the
//! record [`disk`] makes what a disk may hold at any moment, and [`work`] opens that and checks it. The same on disks
//! that only pretend to sync must find losses, or the test would see none.
//!
//! `IMAGES=` is the number of images. When one fails, the record is kept and named: `POWER_LOSS_RECORD=` and `SEED=`
//! make the same images again.

mod disk;
mod record;
mod work;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::disk::Disk;
use self::record::Entry;
use crate::processes::{alone, assert_success, number_of, random};
use crate::support::*;

/// Names the folder, the file of answers, the record, and the images to the processes that work on them.
const FOLDER: &str = "POWER_LOSS_FOLDER";
const ACKS: &str = "POWER_LOSS_ACKS";
const RECORD: &str = "POWER_LOSS_RECORD";
const EXAMINED: &str = "POWER_LOSS_IMAGES";
const IMAGE_SEED: &str = "POWER_LOSS_SEED";

/// Images that one process opens.
const RUN: u64 = 25;
const WHOLE: &str = "whole";

/// The process whose disk is recorded. Does nothing by itself.
#[test]
fn recorded() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let answers = File::create(std::env::var(ACKS).unwrap()).unwrap();
    runtime().block_on(work::run(Path::new(&folder), answers));
}

/// Opens images of a record, in a process that may die of one. Says first which it is, and then how it was. Does
/// nothing by itself.
#[test]
fn examiner() {
    let Ok(images) = std::env::var(EXAMINED) else {
        return;
    };
    let (from, to) = images.split_once("..").unwrap();
    let images: Range<u64> = from.parse().unwrap()..to.parse().unwrap();
    let record = std::fs::read(std::env::var(RECORD).unwrap()).unwrap();
    let entries = record::parse(&record);
    let base = number_of(IMAGE_SEED, 0);
    runtime().block_on(async {
        for image in images {
            let mut seed = base.wrapping_add(image.wrapping_mul(0x9e37_79b9));
            let moment = moment(&entries, &mut seed);
            let folder = tempfile::tempdir().unwrap();
            Disk::after(&entries[..moment]).cut(&mut seed, folder.path());
            let answers: Vec<String> = entries[..moment]
                .iter()
                .filter_map(|entry| match entry {
                    Entry::Acknowledged(answer) => Some((*answer).to_owned()),
                    _ => None,
                })
                .collect();
            let path = folder.path().join("data");
            let examined = tokio::spawn(async move {
                let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
                work::examine(&path, &answers).await
            });
            let outcome = match examined.await {
                Ok(Ok(())) => WHOLE.to_owned(),
                Ok(Err(error)) => error,
                Err(panic) => format!("panicked: {panic}"),
            };
            let outcome = outcome.replace('\n', " ");
            println!("\nimage at {moment} of {}: {outcome}", entries.len());
        }
    });
}

/// A moment to cut the power at: any, or around the end of a sync or of a forced write, or while the store is made.
fn moment(entries: &[Entry<'_>], seed: &mut u64) -> usize {
    let any = random(seed) as usize % (entries.len() + 1);
    match random(seed) % 8 {
        0 => any.min(random(seed) as usize % 100),
        1..=3 => {
            let later = entries[any..].iter();
            let mut ends = later.zip(any..);
            let end = ends.find(|(entry, _)| matches!(entry, Entry::SyncEnds { .. }));
            end.map_or(any, |(_, at)| at + random(seed) as usize % 2)
        }
        _ => any,
    }
}

/// The record of a store's work on a disk that swallows some of what it is asked to do.
fn recorded_on(base: &Path, swallowed: &str) -> PathBuf {
    let library = compile(base);
    let (root, record) = (base.join("disk"), base.join("record"));
    std::fs::create_dir(&root).unwrap();
    let output = alone("power_loss::recorded")
        .env(FOLDER, root.join("data"))
        .env(ACKS, base.join("answers"))
        .env(RECORD, &record)
        .env("POWER_LOSS_ROOT", &root)
        .env("POWER_LOSS_SWALLOWED", swallowed)
        .env("LD_PRELOAD", library)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_success(&output);
    record
}

/// The library, compiled into `folder`.
fn compile(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promises/power_loss.c");
    let library = folder.join("power_loss.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .args([library.as_path(), source.as_path()])
        .args(["-ldl", "-lpthread"])
        .status();
    assert!(compiled.unwrap().success(), "the library was not compiled");
    library
}

/// How the images were, in their order.
fn examined(record: &Path, seed: u64, images: Range<u64>) -> Vec<String> {
    let mut outcomes = Vec::new();
    let mut from = images.start;
    while from < images.end {
        let to = (from + RUN).min(images.end);
        let output = alone("power_loss::examiner")
            .env(RECORD, record)
            .env(IMAGE_SEED, seed.to_string())
            .env(EXAMINED, format!("{from}..{to}"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let before = outcomes.len();
        let words = said.lines().filter_map(|line| line.strip_prefix("image "));
        outcomes.extend(words.map(str::to_owned));
        from += (outcomes.len() - before) as u64;
        if from < to {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "images were left out: {errors}");
            outcomes.push(format!("died: {}", output.status));
            from += 1;
        }
    }
    outcomes
}

/// [`examined`] by two processes at a time; the images that were not whole, and why.
fn losses(record: &Path, seed: u64, images: u64) -> Vec<String> {
    let half = images / 2;
    let outcomes = std::thread::scope(|scope| {
        let first = scope.spawn(|| examined(record, seed, 0..half));
        let mut second = examined(record, seed, half..images);
        let mut all = first.join().unwrap();
        all.append(&mut second);
        all
    });
    assert_eq!(outcomes.len() as u64, images);
    let numbered = (0..).zip(outcomes);
    numbered
        .filter(|(_, outcome)| !outcome.ends_with(WHOLE))
        .map(|(image, outcome)| format!("image {image} {outcome}"))
        .collect()
}

/// Goal: whenever the power fails, and whatever of the unsynced writes, lengths and names is lost with it, all that was
/// acknowledged is there with its bytes, of each command all or nothing; the chain verifies, the tables equal a
/// fold over all events, the last commands are known by their ids, and the store goes on. Method: one recorded run of
/// a store that is made, used by ten tasks, closed, and opened and used again; `IMAGES=` images of its disk.
#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().canonicalize().unwrap();
    let record = std::env::var(RECORD).map_or_else(|_| recorded_on(&path, ""), PathBuf::from);
    record::assert_complete(&record::parse(&std::fs::read(&record).unwrap()), true);
    let mut seed = Random::new();
    let losses = losses(&record, seed.next(), number_of("IMAGES", 60));
    if !losses.is_empty() {
        let _ = base.keep();
        panic!("record {}:\n{}", record.display(), losses.join("\n"));
    }
}

/// Goal: the images above can show a loss. Method: the same on disks that pretend to sync, to force the meta page, or
/// both; each must lose something.
#[test]
fn a_disk_that_only_pretends_to_sync_is_found_out() {
    let mut seed = Random::new();
    for swallowed in ["fdatasync", "dsync", "fdatasync dsync"] {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().canonicalize().unwrap();
        let record = recorded_on(&path, swallowed);
        let losses = losses(&record, seed.next(), 20);
        eprintln!("without {swallowed}: {} of 20 lost", losses.len());
        losses.iter().for_each(|loss| eprintln!("{loss}"));
        assert!(!losses.is_empty(), "nothing was lost without {swallowed}");
    }
}
