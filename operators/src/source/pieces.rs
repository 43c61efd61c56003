//! Files in pieces of whole records, also of files that grow, are replaced or cut.
//!
//! Invariants: (1) a piece ends where a record ends; (2) a record that is not complete yet is not given, except the
//! last one of a file that nobody goes on writing. Bounds: a record of at most [`RECORD_BYTES_MAX`] bytes, and
//! one read of [`READ_BYTES`]. Failure: an error of the file system names the file.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Bytes of one read.
pub(super) const READ_BYTES: usize = 64 << 10;
/// Longest record. A quote that is never closed would otherwise read the rest of the file.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

/// What came of asking for the next piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// What a file begins with that is read from a later byte on: its first record is the header. Only as the first
    /// piece.
    Header(Vec<u8>),
    /// Whole records.
    Records(Vec<u8>),
    /// The file begins again: another one has its name, or it was cut.
    Restarted,
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
    /// Where to begin, and whether the header is wanted nevertheless; `None` once begun.
    from: Option<(u64, bool)>,
    file: Option<File>,
    /// Read and not given.
    held: Vec<u8>,
    /// Bytes of `held` that were looked at, and whether they end within quotes.
    looked: usize,
    in_quotes: bool,
    /// The last byte that was looked at closed a quoted field; another quote would go on with it.
    closed: bool,
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
    pub(super) const fn new(path: PathBuf, quoted: Option<u8>, follow: bool) -> Self {
        Self {
            path,
            quoted,
            follow,
            from: None,
            file: None,
            held: Vec::new(),
            looked: 0,
            in_quotes: false,
            closed: false,
            read: 0,
            replaced: Replaced::No,
        }
    }

    /// Begins at a byte at which a record begins; with the header of the file before it, if that is wanted.
    pub(super) const fn from(mut self, offset: u64, with_header: bool) -> Self {
        if offset > 0 {
            self.from = Some((offset, with_header));
        }
        self
    }

    fn begin(&mut self, offset: u64, with_header: bool) -> Result<Option<Piece>, String> {
        let first = if with_header {
            Some(self.next()?)
        } else {
            None
        };
        if first == Some(Piece::Pending) {
            // The file is not there yet, or its first record is not complete.
            self.forget();
            (self.from, self.read, self.file) = (Some((offset, with_header)), 0, None);
            return Ok(first);
        }
        self.seek(offset)?;
        Ok(match first {
            Some(Piece::Records(bytes)) => Some(Piece::Header(bytes)),
            _ => None,
        })
    }

    fn seek(&mut self, offset: u64) -> Result<(), String> {
        self.forget();
        self.read = offset;
        let Some(file) = self.opened()? else {
            return Ok(());
        };
        let sought = file.seek(SeekFrom::Start(offset));
        sought.map(|_| ()).map_err(|error| self.failed(&error))
    }

    fn forget(&mut self) {
        self.held.clear();
        self.looked = 0;
        self.in_quotes = false;
        self.closed = false;
    }

    fn failed(&self, error: &std::io::Error) -> String {
        format!("{}: {error}", self.path.display())
    }

    /// The file; `None` while it is awaited.
    fn opened(&mut self) -> Result<Option<&mut File>, String> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(mut file) => {
                    // A pipe can be read from its beginning only.
                    if self.read > 0 {
                        let sought = file.seek(SeekFrom::Start(self.read));
                        sought.map_err(|error| self.failed(&error))?;
                    }
                    self.file = Some(file);
                }
                Err(error) if self.follow && error.kind() == ErrorKind::NotFound => {
                    return Ok(None);
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(self.file.as_mut())
    }

    pub(super) fn next(&mut self) -> Result<Piece, String> {
        if let Some((offset, with_header)) = self.from.take()
            && let Some(first) = self.begin(offset, with_header)?
        {
            return Ok(first);
        }
        loop {
            let start = self.held.len();
            let Some(got) = self.read_more()? else {
                return Ok(Piece::Pending);
            };
            if got == 0 {
                return self.at_end();
            }
            debug_assert!(self.looked <= start, "what was looked at was read before");
            if let Some(end) = self.last_end() {
                return Ok(Piece::Records(self.give(end)));
            }
            if self.held.len() > RECORD_BYTES_MAX {
                return Err(format!(
                    "{}: the record that begins at byte {} has more than {RECORD_BYTES_MAX} bytes",
                    self.path.display(),
                    self.read - self.held.len() as u64
                ));
            }
        }
    }

    /// One read into `held`, and its bytes; `None` while the file is awaited. Not more than one: what a pipe has is to be
    /// given although the next read would wait.
    fn read_more(&mut self) -> Result<Option<usize>, String> {
        self.opened()?;
        let Some(file) = &mut self.file else {
            return Ok(None);
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
        Ok(Some(got))
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

    fn at_end(&mut self) -> Result<Piece, String> {
        if self.follow && self.replaced != Replaced::Done {
            match self.change()? {
                Change::None => return Ok(Piece::Pending),
                Change::Cut => {
                    self.forget();
                    self.read = 0;
                    self.file = None;
                    return Ok(Piece::Restarted);
                }
                Change::Replaced if self.replaced == Replaced::No => {
                    self.replaced = Replaced::Seen;
                    return Ok(Piece::Pending);
                }
                // What was written to the old one since the last read is still to be read.
                Change::Replaced => {
                    self.replaced = Replaced::Done;
                    return self.next();
                }
            }
        }
        if !self.held.is_empty() {
            let rest = std::mem::take(&mut self.held);
            self.forget();
            return Ok(Piece::Records(rest));
        }
        if self.replaced == Replaced::Done {
            self.replaced = Replaced::No;
            self.read = 0;
            self.file = None;
            return Ok(Piece::Restarted);
        }
        Ok(Piece::End)
    }

    /// What happened to the file's name since it was opened.
    fn change(&self) -> Result<Change, String> {
        let Some(file) = &self.file else {
            return Ok(Change::None);
        };
        let open = file.metadata().map_err(|error| self.failed(&error))?;
        if open.len() < self.read {
            return Ok(Change::Cut);
        }
        match std::fs::metadata(&self.path) {
            Ok(named) if is_same(&open, &named) => Ok(Change::None),
            Ok(_) => Ok(Change::Replaced),
            // Between a renaming and the new file.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Change::None),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

enum Change {
    None,
    Cut,
    Replaced,
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Without numbers of files only their time of creation tells them apart.
#[cfg(not(unix))]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    one.created().ok() == other.created().ok()
}
