//! The record that `power_loss.c` makes, as its head describes it.

use std::collections::BTreeSet;
use std::path::Path;

/// What a process did to its disk, in order; or that it saw an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry<'r> {
    /// A write; with a token it is forced, and safe once [`Entry::SyncEnds`] names it.
    Write {
        path: &'r str,
        at: usize,
        bytes: &'r [u8],
        token: u64,
    },
    Length {
        path: &'r str,
        bytes: usize,
    },
    /// Of a file or of a folder.
    SyncBegins {
        path: &'r str,
        token: u64,
    },
    SyncEnds {
        token: u64,
    },
    Create(&'r str),
    Folder(&'r str),
    Remove(&'r str),
    Rename {
        from: &'r str,
        to: &'r str,
    },
    /// An answer that the caller has seen, in its words.
    Acknowledged(&'r str),
}

/// The entries of a whole record.
pub(super) fn parse(mut record: &[u8]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    while !record.is_empty() {
        let [kind, token, at, path, bytes] =
            [0; 5].map(|_: u8| u64::from_le_bytes(take(&mut record, 8).try_into().unwrap()));
        let path = std::str::from_utf8(take(&mut record, path as usize)).unwrap();
        let bytes = take(&mut record, bytes as usize);
        let at = at as usize;
        entries.push(match kind {
            1 => Entry::Write {
                path,
                at,
                bytes,
                token,
            },
            2 => Entry::Length { path, bytes: at },
            3 => Entry::SyncBegins { path, token },
            4 => Entry::SyncEnds { token },
            5 => Entry::Create(path),
            6 => Entry::Folder(path),
            7 => Entry::Remove(path),
            8 => Entry::Rename {
                from: path,
                to: std::str::from_utf8(bytes).unwrap(),
            },
            9 => Entry::Acknowledged(std::str::from_utf8(bytes).unwrap()),
            other => panic!("an entry of kind {other}"),
        });
    }
    entries
}

/// A record that begins with what a folder holds, all of it safe, and with answers that were seen before.
pub(super) fn of_folder(root: &Path, answers: &[&str]) -> Vec<u8> {
    let mut record = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    let below = |path: &Path| {
        path.strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let sync = |record: &mut Vec<u8>, path: &str| {
        let token = record.len() as u64 + 1;
        put(record, [3, token, 0], path, b"");
        put(record, [4, token, 0], path, b"");
    };
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = below(&path);
            if path.is_dir() {
                put(&mut record, [6, 0, 0], &name, b"");
                folders.push(path);
            } else {
                put(&mut record, [5, 0, 0], &name, b"");
                let bytes = std::fs::read(&path).unwrap();
                put(&mut record, [1, 0, 0], &name, &bytes);
                sync(&mut record, &name);
            }
        }
        sync(&mut record, &below(&folder));
    }
    for answer in answers {
        put(&mut record, [9, 0, 0], "", answer.as_bytes());
    }
    record
}

fn put(record: &mut Vec<u8>, head: [u64; 3], path: &str, bytes: &[u8]) {
    let lengths = [path.len() as u64, bytes.len() as u64];
    for number in head.into_iter().chain(lengths) {
        record.extend(number.to_le_bytes());
    }
    record.extend(path.as_bytes());
    record.extend(bytes);
}

/// The answers among the entries.
pub(super) fn answers<'r>(entries: &[Entry<'r>]) -> Vec<&'r str> {
    let answers = entries.iter().filter_map(|entry| match entry {
        Entry::Acknowledged(answer) => Some(*answer),
        _ => None,
    });
    answers.collect()
}

fn take<'r>(record: &mut &'r [u8], bytes: usize) -> &'r [u8] {
    record.split_off(..bytes).expect("entries are whole")
}

/// What a record is known to hold when it is one of a store at work; a test that recorded less would prove nothing.
pub(super) fn assert_complete(entries: &[Entry<'_>]) {
    let (mut forced, mut grown, mut folders) = (0, BTreeSet::new(), BTreeSet::new());
    let mut written = BTreeSet::new();
    let mut syncs = BTreeSet::new();
    for entry in entries {
        match *entry {
            Entry::Write { path, token, .. } => {
                written.insert(path);
                forced += usize::from(token != 0);
            }
            Entry::Length { path, bytes } => {
                grown.insert((path, bytes));
            }
            Entry::SyncBegins { path, .. } => {
                syncs.insert(path);
            }
            Entry::Folder(path) => {
                folders.insert(path);
            }
            _ => {}
        }
    }
    for (file, wanted) in [("data/log/data.mdb", 5), ("data/state/data.mdb", 1)] {
        assert!(written.contains(file) && syncs.contains(file), "{file}");
        let steps = grown.iter().filter(|(path, _)| *path == file).count();
        assert!(steps >= wanted, "{file} was grown ahead {steps} times");
    }
    assert!(folders.contains("data/log"), "{folders:?}");
    assert!(forced > 100, "{forced} commits of the log");
}
