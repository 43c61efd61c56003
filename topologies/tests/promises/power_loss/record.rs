//! The record that `power_loss.c` makes, as its head describes it.

use std::collections::BTreeSet;

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

fn take<'r>(record: &mut &'r [u8], bytes: usize) -> &'r [u8] {
    record.split_off(..bytes).expect("entries are whole")
}

/// What a record is known to hold when it is one of a store at work; a test that recorded less would prove nothing.
pub(super) fn assert_complete(entries: &[Entry<'_>], is_forced: bool) {
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
    for file in ["data/log/data.mdb", "data/state/data.mdb"] {
        assert!(written.contains(file) && syncs.contains(file), "{file}");
        let steps = grown.iter().filter(|(path, _)| *path == file).count();
        assert!(steps > 2, "{file} was not grown ahead: {steps}");
    }
    assert!(folders.contains("data/log"), "{folders:?}");
    assert!(!is_forced || forced > 100, "{forced} commits of the log");
}
