//! Files of records as sources: what is common to CSV and JSON Lines.
//!
//! Place: a file -> **file source** -> a dataflow; one split per file. Position: the byte at which the next record
//! begins, with its line and what tells the file, replayable as long as the file keeps what it held. A start finds the
//! file that was read, or one that holds the same; else one that is not followed fails. A file that is *followed* has no
//! end: what is appended to it comes as soon as the next look finds it, a record once its line has ended; if another file
//! takes its name (a rotation by renaming), the old one is read to its end, then the new one from its beginning, over a
//! restart as well. One that is copied and cut begins again at byte 0, and may lose what was written in between.
//! A pipe can be read as well, from its beginning and once in a process: it has no position that could be read again.
//! Bounds: reads of 64 KiB, records of at most 16 MiB; a longer one is a bad one. Threads: one owner, which waits for no read if the source is given a
//! [thread](FileSource::on_a_thread) that reads. Failure: errors of the file system fail the stage; a record that cannot be read is dealt
//! with by the [`BadLinePolicy`].

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::flow::{Emit, Fault, Pulled, SeekError, Source, position_number};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::time::Timestamp;
use serde::de::DeserializeOwned;

use super::bad_line::{BadLine, BadLinePolicy, shown};
use super::file_mark::{ENCODED_BYTES, FileMark, FileNumber, Made, keep_last};
use super::line_format::{FilePosition, LineFormat, Parsed};
use super::opening::{Opened, Start};
use super::pieces::{Piece, Pieces};
use super::reader::Reader;
use super::too_long::TooLong;

/// The time that an item says it has.
pub type TimeOf<T> = Arc<dyn Fn(&T) -> Timestamp + Send + Sync>;

/// How a file is read.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Whether to wait for more at the end.
    pub follow: bool,
    /// Time between two looks at a file that is followed. Default 200 ms.
    pub look_every: Duration,
    /// Where to begin.
    pub from: FilePosition,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            follow: false,
            look_every: Duration::from_millis(200),
            from: FilePosition::default(),
        }
    }
}

/// A [resource](millstream_engine::flow::Resources) of whoever steps a dataflow on one thread: files are read by that
/// thread, so that nothing happens beside it.
#[derive(Clone, Copy, Debug)]
pub struct ReadInPlace;

/// The file that the position lies in.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Not opened yet: as the position says that was gone to.
    Sought(Option<FileMark>),
    /// Opened, with its number and when it was made.
    File(Option<FileNumber>, Option<Made>),
    /// Nothing that could be gone to again.
    Pipe,
}

/// One file as a source.
pub struct FileSource<T, F, P> {
    name: Arc<str>,
    path: PathBuf,
    /// All files that the dataflow's source has, in their order.
    all: Arc<Vec<PathBuf>>,
    /// Goes to the reader when the source is opened.
    pieces: Option<Pieces>,
    on_a_thread: bool,
    reader: Option<Reader>,
    format: F,
    policy: P,
    options: FileOptions,
    time: Option<TimeOf<T>>,
    /// Where the piece at work begins.
    piece: FilePosition,
    /// The last bytes before it.
    before: Vec<u8>,
    at: At,
    is_at_work: bool,
    /// Of the record before: a bad one has no time of its own.
    last_time: Timestamp,
    items: PhantomData<fn() -> T>,
}

impl<T, F, P> FileSource<T, F, P>
where
    T: DeserializeOwned + Send + 'static,
    F: LineFormat,
    P: BadLinePolicy<T>,
{
    /// A source that reads `path`. Without `time` items have the epoch as their time.
    #[must_use]
    pub fn new(
        path: PathBuf,
        format: F,
        policy: P,
        options: FileOptions,
        time: Option<TimeOf<T>>,
    ) -> Self {
        let start = Start {
            offset: options.from.offset,
            mark: None,
        };
        let pieces = Pieces::new(path.clone(), format.quoted_fields(), options.follow)
            .from(start, format.has_header());
        Self {
            name: path.display().to_string().into(),
            path,
            all: Arc::default(),
            pieces: Some(pieces),
            on_a_thread: false,
            reader: None,
            format,
            policy,
            piece: options.from,
            before: Vec::new(),
            at: At::Sought(None),
            options,
            time,
            is_at_work: false,
            last_time: Timestamp::EPOCH,
            items: PhantomData,
        }
    }

    /// Reads by a thread of its own instead of the one that pulls, which no read holds up then.
    #[must_use]
    pub fn on_a_thread(mut self) -> Self {
        self.on_a_thread = true;
        self
    }

    /// Says which files are read as well, this one among them: a position in one of those is none of this one.
    #[must_use]
    pub fn among(mut self, all: &Arc<Vec<PathBuf>>) -> Self {
        self.all = Arc::clone(all);
        self
    }

    /// Refuses a position that was saved for another file that is read as well: both would be read in part twice.
    fn check_path(&self, saved: &[u8]) -> Result<(), Fault> {
        let is_saved = |path: &PathBuf| path.as_os_str().as_encoded_bytes() == saved;
        if is_saved(&self.path) || !self.all.iter().any(is_saved) {
            return Ok(());
        }
        Err(Fault(format!(
            "{}: in its place among the files of the source was {} before: give the files in the order that they had, with \
             new ones behind them, or begin anew (`millstream checkpoint restore DATA DATAFLOW --anew`)",
            self.name,
            String::from_utf8_lossy(saved)
        )))
    }

    /// Says where it belongs, for metrics.
    pub fn place(&mut self, stage: &str, split: usize) {
        let split = PartitionId(u16::try_from(split).unwrap_or(u16::MAX));
        self.policy.open(stage, split);
    }

    /// Where the first record begins that was not given yet.
    #[must_use]
    pub fn position(&self) -> FilePosition {
        let taken = if self.is_at_work {
            self.format.taken()
        } else {
            FilePosition { offset: 0, line: 0 }
        };
        FilePosition {
            offset: self.piece.offset + taken.offset,
            line: self.piece.line + taken.line,
        }
    }

    /// What tells the file of the [position](Self::position).
    fn mark(&self) -> Option<FileMark> {
        match self.at {
            At::Sought(mark) => mark,
            At::Pipe => None,
            At::File(number, made) => {
                let taken = if self.is_at_work {
                    self.format.taken_bytes()
                } else {
                    &[]
                };
                Some(FileMark::new(number, &self.before, taken).of_file_made(made))
            }
        }
    }

    /// A file was opened.
    fn begin(&mut self, opened: Opened) {
        if opened.is_other {
            tracing::info!(file = &*self.name, "a file that is followed begins again");
            self.format.begin_file();
            self.piece = FilePosition::default();
        }
        debug_assert_eq!(self.piece.offset, opened.offset, "read from where it is");
        self.before = opened.before;
        self.at = if opened.is_regular {
            At::File(opened.number, opened.made)
        } else {
            At::Pipe
        };
    }

    /// The next piece; `None` if the mailbox is woken once it has been read.
    fn next_piece(&mut self) -> Result<Option<Piece>, Fault> {
        let Some(reader) = &mut self.reader else {
            return Err(Fault(format!("{}: the source was not opened", self.name)));
        };
        reader.next().map_err(Fault)
    }

    /// A record that is too long is a bad one.
    fn pass_over<E: Emit<P::Item>>(&mut self, record: TooLong, out: &mut E) -> Result<(), Fault> {
        if self.format.has_header() && self.piece.offset == 0 {
            return Err(Fault(format!(
                "{}: the header: {}",
                self.name,
                record.reason()
            )));
        }
        let line = BadLine {
            file: Arc::clone(&self.name),
            line: self.piece.line,
            offset: self.piece.offset,
            field: None,
            reason: record.reason(),
            text: shown(&record.beginning),
        };
        self.piece.offset += record.bytes;
        self.piece.line += record.line_ends;
        keep_last(&mut self.before, &record.end);
        if let Some(item) = self.policy.bad(line)? {
            out.emit(self.last_time, item);
        }
        Ok(())
    }

    /// Gives one record; whether there was one in the piece.
    fn give<E: Emit<P::Item>>(&mut self, out: &mut E) -> Result<bool, Fault> {
        let Some(Parsed { begin, outcome }) = self.format.next::<T>() else {
            self.piece = self.position();
            keep_last(&mut self.before, self.format.taken_bytes());
            self.is_at_work = false;
            return Ok(false);
        };
        match outcome {
            Ok(item) => {
                if let Some(time) = &self.time {
                    self.last_time = time(&item);
                }
                out.emit(self.last_time, self.policy.good(item));
            }
            Err((field, reason, text)) => {
                let line = BadLine {
                    file: Arc::clone(&self.name),
                    line: self.piece.line + begin.line,
                    offset: self.piece.offset + begin.offset,
                    field,
                    reason,
                    text,
                };
                if let Some(item) = self.policy.bad(line)? {
                    out.emit(self.last_time, item);
                }
            }
        }
        Ok(true)
    }
}

impl<T, F, P> Source for FileSource<T, F, P>
where
    T: DeserializeOwned + Send + 'static,
    F: LineFormat,
    P: BadLinePolicy<T>,
{
    type Item = P::Item;

    fn open(&mut self, mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        self.format.begin_file();
        let Some(pieces) = self.pieces.take() else {
            return Err(Fault(format!("{}: the source was opened twice", self.name)));
        };
        self.reader = Some(if self.on_a_thread {
            let started = Reader::on_a_thread(pieces, mailbox);
            started.map_err(|error| Fault(format!("{}: no thread to read: {error}", self.name)))?
        } else {
            Reader::Here(pieces)
        });
        Ok(())
    }

    fn pull<E: Emit<P::Item>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        let mut left = items_max;
        while left > 0 {
            if self.is_at_work {
                if self.give(out)? {
                    left -= 1;
                }
                continue;
            }
            let Some(piece) = self.next_piece()? else {
                return Ok(Pulled::Pending);
            };
            match piece {
                Piece::Header(bytes) => {
                    self.format.begin_piece(bytes, true);
                    // Whatever the first record is, the header stands before it.
                    let _ = self.format.next::<serde::de::IgnoredAny>();
                }
                Piece::Records(bytes) => {
                    let is_beginning = self.piece.offset == 0;
                    self.format.begin_piece(bytes, is_beginning);
                    self.is_at_work = true;
                }
                Piece::Opened(opened) => self.begin(opened),
                Piece::TooLong(record) => {
                    self.pass_over(record, out)?;
                    left -= 1;
                }
                Piece::Pending => return Ok(Pulled::PendingFor(self.options.look_every)),
                Piece::End => return Ok(Pulled::End),
            }
        }
        Ok(Pulled::More)
    }

    fn may_go_on(&self) -> bool {
        self.options.follow
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        let FilePosition { offset, line } = self.position();
        let mut position = offset.to_be_bytes().to_vec();
        position.extend_from_slice(&line.to_be_bytes());
        if let Some(mark) = self.mark() {
            mark.encode(&mut position);
            position.extend_from_slice(self.path.as_os_str().as_encoded_bytes());
        }
        Ok(Some(position))
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        let unknown = || Fault("a position of another kind of source".to_owned());
        let (offset, rest) = position.split_at_checked(8).ok_or_else(unknown)?;
        let (line, mark) = rest.split_at_checked(8).ok_or_else(unknown)?;
        let from = FilePosition {
            offset: position_number(offset)?,
            line: position_number(line)?,
        };
        // Positions had none once, and then no path behind it.
        let (mark, path) = mark.split_at(mark.len().min(ENCODED_BYTES));
        let mark = match mark {
            [] => None,
            mark => Some(FileMark::decode(mark).ok_or_else(unknown)?),
        };
        self.check_path(path)?;
        let pieces = Pieces::new(
            self.path.clone(),
            self.format.quoted_fields(),
            self.options.follow,
        );
        let start = Start {
            offset: from.offset,
            mark,
        };
        self.pieces = Some(pieces.from(start, self.format.has_header()));
        self.options.from = from;
        self.piece = from;
        self.at = At::Sought(mark);
        Ok(())
    }
}

impl<T, F, P> fmt::Debug for FileSource<T, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
