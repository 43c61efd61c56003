//! A disk that loses its power: what may be on it at a moment of a record.
//!
//! Of what was synced everything is there. Of the rest each write is there, or not, or some of its sectors are, in
//! any order; a file has any length that it had since; a folder's entries were made, renamed and removed, or not,
//! until the folder itself was synced. That is what POSIX lets a disk do. Real file systems keep more.
//! Not here: sectors that hold what nobody wrote.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::record::Entry;
use crate::processes::random;

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    Folder,
    File(usize),
}

type Names = BTreeMap<String, Node>;

/// A change of the names that may be lost, by the number of its entry.
#[derive(Debug)]
enum Rename {
    Make(String, Node),
    Remove(String),
    Move(String, String),
}

#[derive(Debug)]
enum Change {
    Write {
        at: usize,
        bytes: Vec<u8>,
        token: u64,
    },
    Length(usize),
}

/// A file: what is safe of it, and what happened since, each with the number of its entry.
#[derive(Debug, Default)]
struct Content {
    safe: Vec<u8>,
    pending: Vec<(usize, Change)>,
}

/// What a sync makes safe once it ends.
#[derive(Debug)]
struct Sync {
    of: Result<usize, String>,
    begun: usize,
}

/// The disk while the record is replayed.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: Vec<Content>,
    names: Names,
    safe_names: Names,
    renames: Vec<(usize, Rename)>,
    syncs: HashMap<u64, Sync>,
    /// Forced writes on their way, and the file of each.
    forced: HashMap<u64, usize>,
}

impl Disk {
    /// The disk after these entries.
    pub(super) fn after(entries: &[Entry<'_>]) -> Self {
        let mut disk = Self::default();
        for (number, entry) in entries.iter().enumerate() {
            disk.apply(number, entry);
        }
        disk
    }

    fn apply(&mut self, number: usize, entry: &Entry<'_>) {
        match *entry {
            Entry::Write {
                path,
                at,
                bytes,
                token,
            } => {
                let file = self.file(path);
                if token != 0 {
                    self.forced.insert(token, file);
                }
                let bytes = bytes.to_vec();
                let write = Change::Write { at, bytes, token };
                self.files[file].pending.push((number, write));
            }
            Entry::Length { path, bytes } => {
                let file = self.file(path);
                let length = Change::Length(bytes);
                self.files[file].pending.push((number, length));
            }
            Entry::SyncBegins { path, token } => {
                let of = match self.names.get(path) {
                    Some(Node::File(file)) => Ok(*file),
                    _ => Err(path.to_owned()),
                };
                let begun = number;
                self.syncs.insert(token, Sync { of, begun });
            }
            Entry::SyncEnds { token } => self.sync(token),
            Entry::Create(path) => {
                self.files.push(Content::default());
                let file = Node::File(self.files.len() - 1);
                self.rename(number, Rename::Make(path.to_owned(), file));
            }
            Entry::Folder(path) => {
                self.rename(number, Rename::Make(path.to_owned(), Node::Folder));
            }
            Entry::Remove(path) => self.rename(number, Rename::Remove(path.to_owned())),
            Entry::Rename { from, to } => {
                self.rename(number, Rename::Move(from.to_owned(), to.to_owned()));
            }
            Entry::Acknowledged(_) => {}
        }
    }

    fn file(&self, path: &str) -> usize {
        match self.names.get(path) {
            Some(Node::File(file)) => *file,
            other => panic!("{path} is {other:?}"),
        }
    }

    fn rename(&mut self, number: usize, rename: Rename) {
        rename.apply(&mut self.names);
        self.renames.push((number, rename));
    }

    fn sync(&mut self, token: u64) {
        if let Some(file) = self.forced.remove(&token) {
            return self.files[file].force(token);
        }
        let Sync { of, begun } = self.syncs.remove(&token).expect("what ends has begun");
        match of {
            Ok(file) => self.files[file].settle(begun),
            Err(folder) => {
                let (safe, left) = std::mem::take(&mut self.renames)
                    .into_iter()
                    .partition(|(number, rename)| *number < begun && rename.is_in(&folder));
                self.renames = left;
                let safe: Vec<(usize, Rename)> = safe;
                for (_, rename) in safe {
                    rename.apply(&mut self.safe_names);
                }
            }
        }
    }

    /// Cuts the power and writes what is left into a folder.
    pub(super) fn cut(&self, seed: &mut u64, into: &Path) {
        let mut names = self.safe_names.clone();
        let kept = share(seed);
        for (_, rename) in &self.renames {
            if random(seed) % 100 < kept {
                rename.apply(&mut names);
            }
        }
        for (path, node) in &names {
            // A folder comes before what is in it, and without it there is no way to that.
            let place = into.join(path);
            if !place.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match node {
                Node::Folder => std::fs::create_dir(place).unwrap(),
                Node::File(file) => std::fs::write(place, self.files[*file].cut(seed)).unwrap(),
            }
        }
    }
}

impl Rename {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Make(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Move(from, to) => {
                let below = format!("{from}/");
                let moved: Vec<_> = names
                    .extract_if(.., |path, _| path == from || path.starts_with(&below))
                    .collect();
                for (path, node) in moved {
                    names.insert(format!("{to}{}", &path[from.len()..]), node);
                }
            }
        }
    }

    /// Whether it is an entry of this folder.
    fn is_in(&self, folder: &str) -> bool {
        let parent = |path: &str| path.rsplit_once('/').map_or("", |(parent, _)| parent) == folder;
        match self {
            Self::Make(path, _) | Self::Remove(path) => parent(path),
            Self::Move(from, to) => parent(from) || parent(to),
        }
    }
}

impl Content {
    /// Makes everything before an entry safe.
    fn settle(&mut self, before: usize) {
        let count = self.pending.partition_point(|(number, _)| *number < before);
        for (_, change) in self.pending.drain(..count) {
            match change {
                Change::Write { at, bytes, .. } => put(&mut self.safe, at, &bytes),
                Change::Length(bytes) => self.safe.resize(bytes, 0),
            }
        }
    }

    /// Makes one write safe, alone.
    fn force(&mut self, forced: u64) {
        let place = self.pending.iter().position(
            |(_, change)| matches!(change, Change::Write { token, .. } if *token == forced),
        );
        // A sync that began later may have ended before.
        let Some(place) = place else { return };
        let (_, Change::Write { at, bytes, .. }) = self.pending.remove(place) else {
            unreachable!()
        };
        put(&mut self.safe, at, &bytes);
        // There is one page in memory: an earlier write of it that reaches the disk later brings these bytes with it.
        for (_, change) in &mut self.pending[..place] {
            if let Change::Write {
                at: before,
                bytes: old,
                ..
            } = change
            {
                let from = at.max(*before);
                let to = (at + bytes.len()).min(*before + old.len());
                if from < to {
                    old[from - *before..to - *before].copy_from_slice(&bytes[from - at..to - at]);
                }
            }
        }
    }

    /// The file as it may be found.
    fn cut(&self, seed: &mut u64) -> Vec<u8> {
        let mut lengths = vec![self.safe.len()];
        let mut writes = Vec::new();
        for (_, change) in &self.pending {
            let length = *lengths.last().expect("there is the first");
            match change {
                Change::Length(bytes) => lengths.push(*bytes),
                Change::Write { at, bytes, .. } => {
                    lengths.push(length.max(at + bytes.len()));
                    writes.push((*at, &**bytes));
                }
            }
        }
        let kept = share(seed);
        let mut found = self.safe.clone();
        if kept == 100 {
            writes
                .into_iter()
                .for_each(|(at, bytes)| put(&mut found, at, bytes));
            found.resize(*lengths.last().expect("there is the first"), 0);
            return found;
        }
        writes.retain(|_| random(seed) % 100 < kept);
        for last in (1..writes.len()).rev() {
            writes.swap(last, random(seed) as usize % (last + 1));
        }
        for (at, bytes) in writes {
            if !random(seed).is_multiple_of(3) {
                put(&mut found, at, bytes);
                continue;
            }
            let (mut from, end) = (at, at + bytes.len());
            while from < end {
                let to = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                if random(seed).is_multiple_of(2) {
                    put(&mut found, from, &bytes[from - at..to - at]);
                }
                from = to;
            }
        }
        found.resize(lengths[random(seed) as usize % lengths.len()], 0);
        found
    }
}

/// How many of a hundred changes stay: often none or all, else any number.
fn share(seed: &mut u64) -> u64 {
    match random(seed) % 6 {
        0 => 0,
        1 => 100,
        _ => random(seed) % 101,
    }
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}
