//! Rows in files that are complete as soon as they have their name.
//!
//! Place: a dataflow -> **file sink** -> a thread that writes -> files `prefix-PPP-NNNNNN.extension`, where P is the
//! partition of the sink and N counts on from what is in the folder. A file is completed when it has `rows_max` rows,
//! about `bytes_max` bytes, or is `age_max` old, and at the end of the input: forced to the disk, then renamed.
//! At least once: what is computed again after a restart is written again, into further files; rows need an id of
//! their own where that matters. What had no name yet is deleted.
//! Bounds: a chunk of 64 KiB and a queue of eight. Threads: the sink's owner and one that writes. Failure: a row that
//! cannot be written, or an error of the file system, fails the stage. Cost: per row its encoding.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use millstream_engine::flow::{Emit, Fault, Operator, Turn, Wiring, unsaved};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;
use serde::Serialize;

use super::file_writer::{self, Command, Naming, Shared};

/// Bytes that are handed to the thread together.
const CHUNK_BYTES: usize = 64 << 10;

/// How rows are written.
pub trait RowFormat: Clone + Send + 'static {
    /// Of the files' names.
    const EXTENSION: &'static str;

    /// A file begins.
    fn begin(&mut self);

    /// Adds a row to the chunk.
    ///
    /// # Errors
    /// Why it cannot be written.
    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), String>;

    /// About how many bytes the chunk has.
    fn chunk_bytes(&self) -> usize;

    /// Takes the chunk.
    ///
    /// # Errors
    /// Why a row of it cannot be written.
    fn take_chunk(&mut self) -> Result<Vec<u8>, String>;
}

/// A JSON value per line.
#[derive(Clone, Debug, Default)]
pub struct JsonRows {
    chunk: Vec<u8>,
}

impl RowFormat for JsonRows {
    const EXTENSION: &'static str = "jsonl";

    fn begin(&mut self) {}

    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), String> {
        serde_json::to_writer(&mut self.chunk, row).map_err(|error| error.to_string())?;
        self.chunk.push(b'\n');
        Ok(())
    }

    fn chunk_bytes(&self) -> usize {
        self.chunk.len()
    }

    fn take_chunk(&mut self) -> Result<Vec<u8>, String> {
        Ok(std::mem::take(&mut self.chunk))
    }
}

/// CSV with a header of the fields' names in every file.
#[derive(Debug, Default)]
pub struct CsvRows {
    writer: Option<csv::Writer<Vec<u8>>>,
    has_header: bool,
}

impl Clone for CsvRows {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl RowFormat for CsvRows {
    const EXTENSION: &'static str = "csv";

    fn begin(&mut self) {
        self.has_header = false;
    }

    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), String> {
        let has_header = std::mem::replace(&mut self.has_header, true);
        let writer = self.writer.get_or_insert_with(|| {
            let mut builder = csv::WriterBuilder::new();
            builder.has_headers(!has_header).from_writer(Vec::new())
        });
        writer.serialize(row).map_err(|error| error.to_string())
    }

    fn chunk_bytes(&self) -> usize {
        let writer = self.writer.as_ref();
        writer.map_or(0, |writer| writer.get_ref().len())
    }

    fn take_chunk(&mut self) -> Result<Vec<u8>, String> {
        match self.writer.take() {
            None => Ok(Vec::new()),
            Some(writer) => writer.into_inner().map_err(|error| error.to_string()),
        }
    }
}

/// Where files go and when they are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSinkOptions {
    /// Made if it is not there.
    pub folder: PathBuf,
    /// Beginning of the files' names; other sinks into the folder need another one.
    pub prefix: String,
    /// Rows per file. Default: any number.
    pub rows_max: u64,
    /// Bytes per file, about. Default 128 MiB.
    pub bytes_max: u64,
    /// Age of a file since its first row. Default: any.
    pub age_max: Option<Duration>,
}

impl FileSinkOptions {
    /// Files `prefix-…` in `folder`.
    pub fn new(folder: impl AsRef<Path>, prefix: &str) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
            prefix: prefix.to_owned(),
            rows_max: u64::MAX,
            bytes_max: 128 << 20,
            age_max: None,
        }
    }
}

struct Open {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    /// Refused by the full queue, in order.
    refused: VecDeque<Command>,
    sent: u64,
    /// What was done when the last flush looked for a failure: what ends later may have failed unseen.
    done: u64,
    is_gone: bool,
}

impl Open {
    fn send(&mut self, command: Command) {
        self.refused.push_back(command);
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(command) = self.refused.pop_front() {
            match self.commands.try_send(command) {
                Ok(()) => self.sent += 1,
                Err(TrySendError::Full(command)) => {
                    self.refused.push_front(command);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => self.is_gone = true,
            }
        }
    }
}

/// Writes rows into files.
pub struct FileSink<T, F> {
    options: FileSinkOptions,
    format: F,
    open: Option<Open>,
    /// Of the present file.
    rows: u64,
    bytes: u64,
    due: Option<Timestamp>,
    now: Timestamp,
    ending: bool,
    fault: Option<Fault>,
    types: PhantomData<fn(T)>,
}

impl<T, F: RowFormat> FileSink<T, F> {
    /// A sink that writes as `format` says.
    #[must_use]
    pub const fn new(options: FileSinkOptions, format: F) -> Self {
        Self {
            options,
            format,
            open: None,
            rows: 0,
            bytes: 0,
            due: None,
            now: Timestamp::EPOCH,
            ending: false,
            fault: None,
            types: PhantomData,
        }
    }

    /// A sink whose thread is the test.
    #[cfg(test)]
    pub(super) fn with_writer(mut self, commands: Sender<Command>, shared: Arc<Shared>) -> Self {
        self.open = Some(Open {
            commands,
            shared,
            refused: VecDeque::new(),
            sent: 0,
            done: 0,
            is_gone: false,
        });
        self
    }

    /// More than how many commands must be done before it goes on; `None` if it need not wait.
    fn waits_for(&self) -> Option<u64> {
        let open = self.open.as_ref()?;
        let last = open.sent.checked_sub(1)?;
        if !open.refused.is_empty() {
            // One of them makes room.
            Some(open.shared.done().min(last))
        } else if self.ending && open.done < open.sent {
            Some(last)
        } else {
            None
        }
    }

    fn fail(&mut self, cause: String) {
        self.fault.get_or_insert(Fault(cause));
    }

    /// Hands the chunk to the thread.
    fn cut(&mut self) {
        match self.format.take_chunk() {
            Ok(chunk) if chunk.is_empty() => {}
            Ok(chunk) => {
                self.bytes += chunk.len() as u64;
                if let Some(open) = &mut self.open {
                    open.send(Command::Write(chunk));
                }
            }
            Err(cause) => self.fail(cause),
        }
    }

    /// Completes the present file, if it has rows.
    fn finish(&mut self) {
        if self.rows == 0 {
            return;
        }
        self.cut();
        if let Some(open) = &mut self.open {
            open.send(Command::Finish);
        }
        self.format.begin();
        (self.rows, self.bytes, self.due) = (0, 0, None);
    }
}

impl<T, F: RowFormat> Clone for FileSink<T, F> {
    fn clone(&self) -> Self {
        Self::new(self.options.clone(), self.format.clone())
    }
}

impl<T: Serialize + 'static, F: RowFormat> Operator<T> for FileSink<T, F> {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, _time: Timestamp, item: T, _out: &mut E) {
        if let Err(cause) = self.format.row(&item) {
            return self.fail(format!("a row cannot be written: {cause}"));
        }
        if self.rows == 0 {
            let age_max = self.options.age_max;
            self.due = age_max.map(|age| self.now.saturating_add(age));
        }
        self.rows += 1;
        let chunk = self.format.chunk_bytes();
        let is_full = self.bytes + chunk as u64 >= self.options.bytes_max;
        if self.rows >= self.options.rows_max || is_full {
            self.finish();
        } else if chunk >= CHUNK_BYTES {
            self.cut();
        }
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let naming = Naming {
            folder: self.options.folder.clone(),
            prefix: self.options.prefix.clone(),
            partition: wiring.partition,
            extension: F::EXTENSION,
        };
        let started = file_writer::start(naming);
        let (commands, shared) = started.map_err(|error| {
            let folder = self.options.folder.display();
            Fault(format!("{folder}: {error}"))
        })?;
        self.open = Some(Open {
            commands,
            shared,
            refused: VecDeque::new(),
            sent: 0,
            done: 0,
            is_gone: false,
        });
        Ok(())
    }

    fn begin(&mut self, turn: &Turn) {
        self.now = turn.now;
    }

    fn processing_time<E: Emit<Infallible>>(&mut self, now: Timestamp, _out: &mut E) {
        if self.due.is_some_and(|due| due <= now) {
            self.finish();
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        if idle {
            self.cut();
        }
        if let Some(open) = &mut self.open {
            open.pump();
            // Before the failure, which is there once its command is done.
            open.done = open.shared.done();
            if let Some(cause) = open.shared.failure() {
                return Err(Fault(cause));
            }
            if open.is_gone {
                return Err(Fault("the thread that writes files is gone".to_owned()));
            }
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    fn is_blocked(&self) -> bool {
        self.waits_for().is_some()
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        if let (Some(open), Some(done)) = (&self.open, self.waits_for()) {
            waits.push(Box::pin(Arc::clone(&open.shared).until_past(done)));
        }
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.finish();
        self.ending = true;
    }

    unsaved!("file sink");
}

impl<T, F: fmt::Debug> fmt::Debug for FileSink<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink")
            .field("options", &self.options)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
