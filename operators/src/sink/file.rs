//! Rows in files that are complete as soon as they have their name.
//!
//! Place: a dataflow -> **file sink** -> a thread that writes -> files `prefix-PPP-NNNNNN.extension`, where P is the
//! partition of the sink and N counts on from what is in the folder. A file is completed when it has `rows_max` rows,
//! about `bytes_max` bytes, or is `age_max` old, and at the end of the input: forced to the disk, then renamed.
//! At least once: what is computed again after a restart is written again, into further files; rows need an id of
//! their own where that matters. What had no name yet is deleted.
//! With checkpoints exactly once, over crashes and with another number of partitions: a file gets its name when a
//! checkpoint is complete that has all of it, so nothing is in sight that could be written again. A checkpoint knows how
//! far the present file is; a restart cuts it there and goes on, or completes it if folder, prefix or format were changed, and
//! deletes what was begun later: at its first turn, when
//! all stages have found that they can begin. A dataflow that cannot begin from its checkpoint begins anew and is at least
//! once then.
//! Bounds: a chunk of 64 KiB and a queue of eight. Threads: the sink's owner and one that writes. Failure: a row that
//! cannot be written, or an error of the file system, fails the stage, and the present file is not completed; so does a
//! file that a checkpoint has and that is not there. Cost: per row its encoding; per checkpoint forcing the present file to the disk.

#[cfg(test)]
mod by_hand;
mod open;
mod options;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use millstream_engine::checkpoint::{Epoch, Restoring, Saving};
use millstream_engine::flow::{Emit, Fault, Fence, Operator, Turn, Wiring};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;
use serde::Serialize;

use self::open::Open;
pub use self::options::FileSinkOptions;
use super::file_folders::FileFolders;
use super::file_naming::{FileId, HeldFile, Naming};
use super::file_saved::{Present, Saved};
use super::file_state::{Begun, Place};
use super::file_writer::{self, Command};
use super::row_format::RowFormat;

/// Its kind of state in checkpoints.
const KIND: &str = "file sink";
/// Bytes that are handed to the thread together.
const CHUNK_BYTES: usize = 64 << 10;

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
    /// With checkpoints.
    place: Option<Place>,
    /// With the stage under whose name it is among them.
    folders: Option<(Arc<str>, Arc<FileFolders>)>,
    /// What the checkpoint has that it begins from, until its first turn.
    restored: Vec<Saved>,
    /// How far partitions came that there were once, if this is the first one.
    gone: Option<BTreeMap<usize, u64>>,
    /// So many bytes of the present file are on the disk for certain.
    synced: u64,
    /// A barrier waits until all is on the disk.
    settling: bool,
    /// The beginning of a file that is gone on with, until its next row.
    beginning: Option<Vec<u8>>,
    /// Complete files without their names, with the checkpoint that each is part of, once one has it.
    held: VecDeque<(Option<Epoch>, HeldFile)>,
    fault: Option<Fault>,
    fence: Arc<Fence>,
    types: PhantomData<fn(T)>,
}

impl<T, F: RowFormat> FileSink<T, F> {
    /// A sink that writes as `format` says.
    #[must_use]
    pub fn new(options: FileSinkOptions, format: F) -> Self {
        Self {
            options,
            format,
            open: None,
            rows: 0,
            bytes: 0,
            due: None,
            now: Timestamp::EPOCH,
            ending: false,
            place: None,
            folders: None,
            restored: Vec::new(),
            gone: None,
            synced: 0,
            settling: false,
            beginning: None,
            held: VecDeque::new(),
            fault: None,
            fence: Arc::default(),
            types: PhantomData,
        }
    }

    /// More than how many commands must be done before it goes on; `None` if it need not wait.
    fn waits_for(&self) -> Option<u64> {
        let open = self.open.as_ref()?;
        let last = open.sent.checked_sub(1)?;
        if !open.refused.is_empty() {
            // One of them makes room.
            Some(open.shared.done().min(last))
        } else if (self.ending || self.settling) && open.done < open.sent {
            Some(last)
        } else {
            None
        }
    }

    fn fail(&mut self, cause: String) {
        self.fault.get_or_insert(Fault(cause));
    }

    /// Hands the chunk to the thread. After a failure nothing more: a file that lacks a row must not get its name.
    fn cut(&mut self) {
        if self.fault.is_some() {
            return;
        }
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
        if self.fault.is_some() {
            return;
        }
        if let Some(open) = &mut self.open {
            open.send(Command::Finish);
            if let Some(place) = &self.place {
                let id = FileId {
                    partition: place.partition(),
                    number: open.number,
                };
                let held = HeldFile {
                    id,
                    bytes: self.bytes,
                    scheme: None,
                };
                self.held.push_back((None, held));
            }
            open.number += 1;
        }
        self.format.begin();
        self.beginning = None;
        (self.rows, self.bytes, self.due, self.synced) = (0, 0, None, 0);
    }

    /// Begins where what was restored ends, or anew.
    fn start(&mut self) -> Result<(), Fault> {
        let Some(place) = &self.place else {
            return Ok(());
        };
        // It cuts, names and deletes files, which are the next run's once this one is given up.
        let fence = Arc::clone(&self.fence);
        let pass = fence.pass();
        let Begun {
            number,
            present,
            held,
            gone,
        } = place.begin(&self.restored)?;
        let (present, file) = present.unzip();
        let beginning = file.as_ref().map(|_| place.beginning(number)).transpose()?;
        let naming = place.naming().clone();
        let started = file_writer::start_holding(naming, number, file, Arc::clone(&fence));
        let (commands, shared, thread) = started.map_err(|error| place.fault(&error))?;
        drop(pass);
        self.open = Some(Open::new(commands, shared, number, Some(thread), fence));
        self.gone = gone;
        self.restored = Vec::new();
        if let Some(Present { rows, bytes, due }) = present {
            (self.rows, self.bytes, self.due, self.synced) = (rows, bytes, due, bytes);
            self.beginning = beginning;
        }
        self.held.extend(held.into_iter().map(|held| (None, held)));
        Ok(())
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
        if self.fault.is_some() {
            return;
        }
        if let Some(beginning) = self.beginning.take()
            && !self.format.go_on(&beginning, &item)
        {
            self.finish();
        }
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
        self.fence = wiring.fence();
        let naming = Naming {
            folder: self.options.folder.clone(),
            prefix: self.options.prefix.clone(),
            partition: wiring.partition,
            extension: F::EXTENSION.to_owned(),
        };
        if let Some(folders) = wiring.resources.get::<FileFolders>() {
            folders.note_own(&wiring.identity, &naming)?;
            self.folders = Some((Arc::clone(&wiring.identity), folders));
        }
        if wiring.checkpoints.is_some() {
            // What is there says nothing before it is known which checkpoint it begins from.
            self.place = Some(Place::new(naming, wiring.partitions));
            return Ok(());
        }
        let started = file_writer::start(naming, wiring.partitions, wiring.fence());
        let (commands, shared) = started.map_err(|error| {
            let folder = self.options.folder.display();
            Fault(format!("{folder}: {error}"))
        })?;
        self.open = Some(Open::new(commands, shared, 0, None, wiring.fence()));
        Ok(())
    }

    fn begin(&mut self, turn: &Turn) {
        self.now = turn.now;
        if self.open.is_none()
            && let Err(Fault(cause)) = self.start()
        {
            self.fail(cause);
        }
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
            self.settling &= !open.is_done();
            if let Some(cause) = open.shared.failure() {
                return Err(Fault(cause));
            }
            if open.is_gone {
                return Err(Fault("the thread that writes files is gone".to_owned()));
            }
        }
        self.fault.clone().map_or(Ok(()), Err)
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

    /// Blocked from here until all that it took is on the disk.
    fn before_barrier<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.settling = true;
        if !F::GOES_ON {
            return self.finish();
        }
        self.cut();
        if let Some(open) = &mut self.open
            && self.bytes > self.synced
        {
            self.synced = self.bytes;
            open.send(Command::Sync);
        }
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        for (epoch, _) in &mut self.held {
            epoch.get_or_insert(saving.epoch());
        }
        let present = (self.rows > 0).then_some(Present {
            rows: self.rows,
            bytes: self.bytes,
            due: self.due,
        });
        let saved = Saved {
            partition: self.place.as_ref().map_or(0, Place::partition),
            number: self.open.as_ref().map_or(0, |open| open.number),
            present,
            held: self.held.iter().map(|(_, held)| held.clone()).collect(),
            gone: self.gone.clone(),
            scheme: self
                .place
                .as_ref()
                .and_then(|place| place.naming().scheme()),
        };
        Ok(saving.whole(KIND, &saved)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        self.restored = restoring.whole(KIND)?;
        let Some(place) = &self.place else {
            return Ok(());
        };
        if let Some((stage, folders)) = &self.folders {
            folders.note_left(stage, place.left(&self.restored)?)?;
        }
        place.check(&self.restored)
    }

    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        let is_final = |(of, _): &(Option<Epoch>, HeldFile)| of.is_some_and(|of| of <= epoch);
        let count = self.held.iter().take_while(|held| is_final(held)).count();
        let files: Vec<_> = self.held.drain(..count).map(|(_, held)| held).collect();
        if let Some(open) = &mut self.open
            && !files.is_empty()
        {
            open.send(Command::Name(files));
        }
        Ok(())
    }

    fn awaits_checkpoint(&self) -> bool {
        !self.held.is_empty()
    }
}

impl<T, F: fmt::Debug> fmt::Debug for FileSink<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink")
            .field("options", &self.options)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
