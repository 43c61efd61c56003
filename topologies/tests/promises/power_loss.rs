//! Danger: the power fails. What was written and not synced may be lost, torn or out of order; whatever was
//! acknowledged is there all the same.
//!
//! A kill keeps what the kernel holds in memory, so it proves nothing of this. Here a process works on a store while a
//! library in C, `power_loss.c`, compiled here, records its writes, its syncs and the answers that it sees. From the
//! record [`disk`] makes what a disk may hold at any moment, and [`work`] opens that and checks it. The same on disks
//! that only pretend to sync must find losses, or the test would see none.
//!
//! `IMAGES=` is the number of images. When one fails, the record is kept, and the failure says which variables make the
//! test [`examiner`] open the same images again.

mod disk;
mod record;
mod work;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use self::disk::Disk;
use self::record::Entry;
use crate::preloaded;
use crate::processes::{alone, assert_success, number_of, random};
use crate::support::*;

/// Names the folder, the file of answers, the record, and the images to the processes that work on them.
const FOLDER: &str = "POWER_LOSS_FOLDER";
const ACKS: &str = "POWER_LOSS_ACKS";
const RECORD: &str = "POWER_LOSS_RECORD";
const EXAMINED: &str = "POWER_LOSS_IMAGES";
const IMAGE_SEED: &str = "POWER_LOSS_SEED";
/// The first moment in the record that an image may be of.
const FROM: &str = "POWER_LOSS_FROM";
/// Said to the process whose disk is recorded: it only looks.
const LOOKS: &str = "POWER_LOSS_LOOKS";

/// Images that one process opens.
const RUN: u64 = 25;
/// Images of each disk that pretends. About every third loses something.
const PRETENDED: u64 = 40;
const WHOLE: &str = "whole";

/// The process whose disk is recorded. Does nothing by itself.
#[test]
fn recorded() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let answers = File::create(std::env::var(ACKS).unwrap()).unwrap();
    let folder = Path::new(&folder);
    if std::env::var(LOOKS).is_ok() {
        runtime().block_on(work::look(folder, answers));
    } else {
        runtime().block_on(work::run(folder, answers));
    }
}

/// Opens images of a record, in a process that may die of one, and says how each was. Does nothing by itself.
#[test]
fn examiner() {
    let Ok(images) = std::env::var(EXAMINED) else {
        return;
    };
    let (from, to) = images.split_once("..").unwrap();
    let images: Range<u64> = from.parse().unwrap()..to.parse().unwrap();
    let record = std::fs::read(std::env::var(RECORD).unwrap()).unwrap();
    let entries = record::parse(&record);
    let (base, first) = (number_of(IMAGE_SEED, 0), number_of(FROM, 0) as usize);
    runtime().block_on(async {
        for image in images {
            let mut seed = base.wrapping_add(image.wrapping_mul(0x9e37_79b9));
            let moment = moment(&entries, first, &mut seed);
            let folder = tempfile::tempdir().unwrap();
            Disk::after(&entries[..moment]).cut(&mut seed, folder.path());
            let answers = record::answers(&entries[..moment]);
            let answers: Vec<String> = answers.into_iter().map(str::to_owned).collect();
            let path = folder.path().join("data");
            let examined = tokio::spawn(async move {
                let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
                work::examine(&path, &answers).await
            });
            let outcome = match examined.await {
                Ok(Ok(())) => WHOLE.to_owned(),
                Ok(Err(error)) => error,
                Err(panic) => panic.to_string(),
            };
            let outcome = outcome.replace('\n', " ");
            println!("\nimage at {moment} of {}: {outcome}", entries.len());
        }
    });
}

/// A moment to cut the power at: any, or around the end of a sync or of a forced write, or soon after the first one.
fn moment(entries: &[Entry<'_>], first: usize, seed: &mut u64) -> usize {
    let any = first + random(seed) as usize % (entries.len() - first + 1);
    match random(seed) % 8 {
        0 => any.min(first + random(seed) as usize % 100),
        1..=3 => {
            let later = (any..).zip(&entries[any..]);
            let mut ends = later.filter(|(_, entry)| matches!(entry, Entry::SyncEnds { .. }));
            let end = ends.next().map(|(at, _)| at);
            end.map_or(any, |at| at + random(seed) as usize % 2)
        }
        _ => any,
    }
}

/// A disk, and where the record of what is done to it goes. What was done before may not be undone by an image.
struct Recorder {
    base: tempfile::TempDir,
    root: PathBuf,
    record: PathBuf,
    shim: PathBuf,
    /// Entries of the record that are history.
    first: usize,
}

impl Recorder {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().canonicalize().unwrap();
        std::fs::create_dir(path.join("disk")).unwrap();
        Self {
            root: path.join("disk"),
            record: path.join("record"),
            shim: preloaded::compile("power_loss", &path),
            first: 0,
            base,
        }
    }

    /// Goes on with what the power left of another one's disk at some moment.
    fn after_a_loss(before: &Self, seed: &mut u64) -> Self {
        let mut after = Self::new();
        let record = std::fs::read(&before.record).unwrap();
        let entries = record::parse(&record);
        let moment = moment(&entries, before.first, seed);
        Disk::after(&entries[..moment]).cut(seed, &after.root);
        let history = record::of_folder(&after.root, &record::answers(&entries[..moment]));
        std::fs::write(&after.record, &history).unwrap();
        after.first = record::parse(&history).len();
        after
    }

    /// Runs a process on the disk.
    fn run(&self, settings: &[(&str, &str)]) -> Output {
        alone("power_loss::recorded")
            .env(FOLDER, self.root.join("data"))
            .env(ACKS, self.base.path().join("answers"))
            .env(RECORD, &self.record)
            .env("POWER_LOSS_ROOT", &self.root)
            .env("LD_PRELOAD", &self.shim)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Fails with what one needs to make the images again if any of them is not whole.
    fn assert_whole(&mut self, seed: u64, images: u64) {
        let losses = losses(self, seed, images);
        if !losses.is_empty() {
            let (record, first) = (self.record.display(), self.first);
            let again = format!("{RECORD}={record} {FROM}={first} {IMAGE_SEED}={seed}");
            let losses = losses.join("\n");
            let text = format!("{again} {EXAMINED}=n..n+1 makes image n again\n{losses}");
            self.base.disable_cleanup(true);
            panic!("{text}");
        }
    }
}

/// How the images were, in their order.
fn examined(recorder: &Recorder, seed: u64, images: Range<u64>) -> Vec<String> {
    let mut outcomes = Vec::new();
    let mut from = images.start;
    while from < images.end {
        let to = (from + RUN).min(images.end);
        let output = alone("power_loss::examiner")
            .env(RECORD, &recorder.record)
            .env(FROM, recorder.first.to_string())
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
fn losses(recorder: &Recorder, seed: u64, images: u64) -> Vec<String> {
    let half = images / 2;
    let outcomes = std::thread::scope(|scope| {
        let first = scope.spawn(|| examined(recorder, seed, 0..half));
        let mut second = examined(recorder, seed, half..images);
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

fn images() -> u64 {
    number_of("IMAGES", 60)
}

/// Goal: whenever the power fails, and whatever of the unsynced writes, lengths and names is lost with it, all that was
/// acknowledged is there with its bytes, of each command all or nothing; the chain verifies, the tables equal a
/// fold over all events, the last commands are known by their ids, and the store goes on. Method: one recorded run of
/// a store that is made, used by ten tasks, closed, and opened and used again; `IMAGES=` images of its disk.
///
/// Story: the folders on the way to the store were made and never synced, so the log could be lost as a whole.
#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let mut recorder = Recorder::new();
    assert_success(&recorder.run(&[]));
    record::assert_complete(&record::parse(&std::fs::read(&recorder.record).unwrap()));
    recorder.assert_whole(Random::new().next(), images());
}

/// The same where the power fails again and again: each run goes on with what the one before left.
#[test]
fn nothing_is_lost_with_the_power_again() {
    let mut random = Random::new();
    let mut recorder = Recorder::new();
    assert_success(&recorder.run(&[]));
    for _ in 0..3 {
        let next = Recorder::after_a_loss(&recorder, &mut random.next());
        assert_success(&next.run(&[]));
        std::mem::replace(&mut recorder, next).base.close().unwrap();
        recorder.assert_whole(random.next(), images() / 4);
    }
}

/// Goal: what a new process shows is safe, also where the one before was killed after its last write of the meta page
/// had reached the kernel and before it was forced. Method: it is killed just then; another one looks at all streams,
/// and what it saw must be in each image from then on.
///
/// Story: opening a log forced nothing, so events could be read and repeats answered that a loss of power undid.
#[test]
fn what_a_killed_process_left_in_memory_is_made_safe() {
    let mut random = Random::new();
    for round in 0..4 {
        let mut recorder = Recorder::new();
        // While the store is made, or long after.
        let at = if round % 2 == 0 {
            1 + random.below(4)
        } else {
            20 + random.below(60)
        };
        let at = at.to_string();
        let killed = recorder.run(&[("POWER_LOSS_DIES_AT", &at)]);
        assert!(!killed.status.success(), "it was to be killed");
        let record = std::fs::read(&recorder.record).unwrap();
        recorder.first = record::parse(&record).len();
        assert_success(&recorder.run(&[(LOOKS, "1")]));
        recorder.assert_whole(random.next(), images() / 4);
    }
}

/// Goal: the images above can show a loss. Method: the same on disks that pretend to sync, to force the meta page, or
/// both; each must lose something.
#[test]
fn a_disk_that_only_pretends_to_sync_is_found_out() {
    let mut random = Random::new();
    for swallowed in ["fdatasync", "dsync", "fdatasync dsync"] {
        let recorder = Recorder::new();
        assert_success(&recorder.run(&[("POWER_LOSS_SWALLOWED", swallowed)]));
        let mut losses = losses(&recorder, random.next(), PRETENDED);
        losses.iter().for_each(|loss| eprintln!("{loss}"));
        losses.retain(|loss| loss.contains("is lost") || loss.contains("refused: the log"));
        eprintln!("without {swallowed}: {} of {PRETENDED} lost", losses.len());
        assert!(!losses.is_empty(), "nothing was lost without {swallowed}");
    }
}
