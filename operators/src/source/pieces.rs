//! Files in pieces of whole records, also of files that grow, are replaced or cut.
//!
//! Invariants: (1) a piece ends where a record ends; (2) a record that is not complete yet is not given, except the
//! last one of a file that nobody goes on writing. Bounds: a record of at most [`RECORD_BYTES_MAX`] bytes, and
//! one read of [`READ_BYTES`]; of a longer record only that there was one. Failure: an error of the file system names
//! the file.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::opening::{self, Change, Opened, Opening, Start};
use super::pipes;
use super::too_long::TooLong;

/// Bytes of one read.
pub(super) const READ_BYTES: usize = 64 << 10;
/// Longest record. A quote that is never closed would otherwise read the rest of the file.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

/// What came of asking for the next piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A file is read from here on: the first piece, and again where another file has its name, or it was cut.
    Opened(Opened),
    /// What a file begins with that is read from a later byte on: its first record is the header.
    Header(Vec<u8>),
    /// Whole records.
    Records(Vec<u8>),
    /// A record that is too long, up to where the next one begins.
    TooLong(TooLong),
    /// Nothing new yet.
    Pending,
    /// Nothing will come.
    End,
}

/// Reads one file.
#[derive(Debug)]
pub(super) struct Pieces {
    path: PathBuf,
    /// What parts fields that may be in double quotes, in which line ends do not end a record.
    quoted: Option<u8>,
    follow: bool,
    /// Where to begin with the next file that is opened.
    start: Start,
    /// The first record is wanted wherever reading begins.
    with_header: bool,
    /// The next file is another one, and read from its beginning.
    is_other: bool,
    file: Option<File>,
    /// It is a pipe that nobody else opens.
    is_own_pipe: bool,
    /// To be given before anything else of the file.
    header: Option<Vec<u8>>,
    /// Read and not given.
    held: Vec<u8>,
    /// Bytes of `held` that were looked at, and whether they end within quotes.
    looked: usize,
    in_quotes: bool,
    /// The last byte that was looked at closed a quoted field; another quote would go on with it.
    closed: bool,
    /// A record that is being passed over; nothing of it is held.
    too_long: Option<TooLong>,
    /// Bytes of the file that were read.
    read: u64,
    replaced: Replaced,
}

/// Whether another file has taken the name of the one that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replaced {
    No,
    /// Since the last look: whoever wrote to the old one may still do so for a moment.
    Seen,
    /// What is left of the old one is being given.
    Done,
}

impl Pieces {
    pub(super) fn new(path: PathBuf, quoted: Option<u8>, follow: bool) -> Self {
        Self {
            path,
            quoted,
            follow,
            start: Start::default(),
            with_header: false,
            is_other: false,
            file: None,
            is_own_pipe: false,
            header: None,
            held: Vec::new(),
            looked: 0,
            in_quotes: false,
            closed: false,
            too_long: None,
            read: 0,
            replaced: Replaced::No,
        }
    }

    /// Begins at a byte at which a record begins; with the header of the file before it, if that is wanted.
    pub(super) const fn from(mut self, start: Start, with_header: bool) -> Self {
        self.start = start;
        self.with_header = with_header;
        self
    }

    /// Opens the file and goes to where it is read from; `None` while it is awaited.
    fn open(&mut self) -> Result<Option<Opened>, String> {
        self.is_own_pipe = self.is_own_pipe || pipes::take(&self.path)?;
        let opening = opening::open(&self.path, self.follow, &self.start)?;
        let Some(Opening { file, mut place }) = opening else {
            return Ok(None);
        };
        place.is_other |= self.is_other;
        self.forget();
        (self.file, self.read) = (Some(file), 0);
        if place.offset > 0 && self.with_header && !self.read_header()? {
            self.forget();
            (self.file, self.replaced) = (None, Replaced::No);
            return Ok(None);
        }
        if place.is_regular {
            self.forget();
            self.seek(place.offset)?;
        }
        self.is_other = false;
        Ok(Some(place))
    }

    /// Whether the first record is complete.
    fn read_header(&mut self) -> Result<bool, String> {
        self.seek(0)?;
        self.header = match self.read_records()? {
            Some(Piece::Pending) => return Ok(false),
            Some(Piece::Records(bytes)) => Some(bytes),
            Some(Piece::TooLong(record)) => {
                return Err(format!(
                    "{}: the header: {}",
                    self.path.display(),
                    record.reason()
                ));
            }
            Some(_) => None,
            // It was cut meanwhile, and is to be opened again.
            None => return Ok(false),
        };
        Ok(true)
    }

    fn seek(&mut self, offset: u64) -> Result<(), String> {
        self.read = offset;
        let sought = self
            .file
            .as_mut()
            .map(|file| file.seek(SeekFrom::Start(offset)));
        match sought {
            Some(Err(error)) => Err(self.failed(&error)),
            _ => Ok(()),
        }
    }

    fn forget(&mut self) {
        self.held.clear();
        self.looked = 0;
        self.in_quotes = false;
        self.closed = false;
        self.too_long = None;
    }

    fn failed(&self, error: &std::io::Error) -> String {
        format!("{}: {error}", self.path.display())
    }

    pub(super) fn next(&mut self) -> Result<Piece, String> {
        loop {
            if self.file.is_none() {
                return Ok(self.open()?.map_or(Piece::Pending, Piece::Opened));
            }
            if let Some(header) = self.header.take() {
                return Ok(Piece::Header(header));
            }
            if let Some(piece) = self.read_records()? {
                return Ok(piece);
            }
        }
    }

    /// What comes next of the file that is open; `None` if that is over and another one is to be opened.
    fn read_records(&mut self) -> Result<Option<Piece>, String> {
        loop {
            // Behind a record that was too long there may be whole ones already.
            if self.looked == self.held.len() && self.read_more()? == 0 {
                return self.at_end();
            }
            if self.too_long.is_some() {
                if let Some(record) = self.pass_over() {
                    return Ok(Some(Piece::TooLong(record)));
                }
            } else if let Some(end) = self.last_end() {
                return Ok(Some(Piece::Records(self.give(end))));
            } else if self.held.len() > RECORD_BYTES_MAX {
                self.too_long = Some(TooLong::new(&std::mem::take(&mut self.held)));
                (self.looked, self.in_quotes, self.closed) = (0, false, false);
            }
        }
    }

    /// The record that is too long, if it ends in what is held.
    fn pass_over(&mut self) -> Option<TooLong> {
        let (bytes, is_over) = self.too_long.as_mut()?.go_on(&self.held);
        self.held.drain(..bytes);
        self.too_long.take_if(|_| is_over)
    }

    /// One read into `held`, and its bytes. Not more than one: what a pipe has is to be given although the next read
    /// would wait.
    fn read_more(&mut self) -> Result<usize, String> {
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        let start = self.held.len();
        self.held.resize(start + READ_BYTES, 0);
        let got = loop {
            match file.read(&mut self.held[start..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                got => break got,
            }
        };
        self.held.truncate(start + *got.as_ref().unwrap_or(&0));
        let got = got.map_err(|error| self.failed(&error))?;
        self.read += got as u64;
        Ok(got)
    }

    /// Takes the first `end` bytes.
    fn give(&mut self, end: usize) -> Vec<u8> {
        let rest = self.held.split_off(end);
        self.looked = rest.len();
        std::mem::replace(&mut self.held, rest)
    }

    /// Where the last complete record ends. Leaves the state behind the last byte, which is that of what is left.
    fn last_end(&mut self) -> Option<usize> {
        let mut last = None;
        let mut before = match self.looked {
            0 => b'\n',
            looked => self.held[looked - 1],
        };
        for (at, &byte) in self.held.iter().enumerate().skip(self.looked) {
            let closed = std::mem::take(&mut self.closed);
            match (byte, self.quoted) {
                (b'"', Some(_)) if self.in_quotes => {
                    self.in_quotes = false;
                    self.closed = true;
                }
                // Only at the beginning of a field, or right behind the quote that ended one, where two of them mean one.
                (b'"', Some(delimiter)) => {
                    self.in_quotes = closed || before == delimiter || before == b'\n';
                }
                (b'\n', _) if !self.in_quotes => last = Some(at + 1),
                _ => {}
            }
            before = byte;
        }
        self.looked = self.held.len();
        last
    }

    fn at_end(&mut self) -> Result<Option<Piece>, String> {
        if self.follow && self.replaced != Replaced::Done {
            match self.change()? {
                Change::None => return Ok(Some(Piece::Pending)),
                Change::Cut => {
                    self.leave(None);
                    return Ok(None);
                }
                Change::Replaced if self.replaced == Replaced::No => {
                    self.replaced = Replaced::Seen;
                    return Ok(Some(Piece::Pending));
                }
                // What was written to the old one since the last read is still to be read.
                Change::Replaced => {
                    self.replaced = Replaced::Done;
                    return self.read_records();
                }
            }
        }
        if let Some(record) = self.too_long.take() {
            return Ok(Some(Piece::TooLong(record)));
        }
        if !self.held.is_empty() {
            let rest = std::mem::take(&mut self.held);
            self.forget();
            return Ok(Some(Piece::Records(rest)));
        }
        if self.replaced != Replaced::Done {
            return Ok(Some(Piece::End));
        }
        let next = self
            .file
            .as_ref()
            .map(|old| opening::find_next(&self.path, old));
        let next = next.transpose().map_err(|error| self.failed(&error))?;
        Ok(self.leave(next.flatten()).map(Piece::Opened))
    }

    /// Goes on with `next`, or with what has the name when it is opened.
    fn leave(&mut self, next: Option<Opening>) -> Option<Opened> {
        self.forget();
        self.start = Start::default();
        self.replaced = Replaced::No;
        self.read = 0;
        self.is_other = true;
        let next = next.map(|Opening { file, place }| (file, place)).unzip();
        self.file = next.0;
        next.1
    }

    /// What happened to the file's name since it was opened.
    fn change(&self) -> Result<Change, String> {
        let Some(file) = &self.file else {
            return Ok(Change::None);
        };
        let change = opening::change(&self.path, file, self.read);
        change.map_err(|error| self.failed(&error))
    }
}
