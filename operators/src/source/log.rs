//! The engine's own log as a source: one split per partition, decoded into one event type.
//!
//! Place: the log's feed -> **log source** -> a dataflow. Position: the offset in the partition, replayable: the
//! same events come again from it, in the same order, for as long as the log is kept.
//! Invariants: (1) every event of the wanted categories from the first offset on is given once, in order of its
//! position; (2) the watermark is the time of recording, which never decreases within a partition, and moves also
//! over frames that hold nothing wanted. Bounds: one unpacked frame, and what the mailbox lets wait.
//! Threads: one owner. Failure: an event that cannot be read fails the stage, its position named, or is counted and
//! passed over, as [`Unreadable`] says, or is an item as well, see [`KeepUnread`](super::KeepUnread).
//! Cost: per event its decoding; per frame a look at its kinds, so that frames of other categories cost nearly
//! nothing. Not here: events of one stream alone, see `read_stream` of the engine.

mod access;
mod shape;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use millstream_engine::codec::{DecodeError, Event, EventReader};
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::flow::{Emit, Fault, Pulled, SeekError, Source, Wiring};
use millstream_engine::log::frame::{FrameHash, Record, SHAPES};
use millstream_engine::log::{FrameSlice, LogCursor, LogReader};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::UnreadableMetrics;
use millstream_engine::state::{Progress, ProgressStanding};
use millstream_engine::time::Timestamp;

pub use self::access::LogAccess;
pub use self::shape::{PayloadOnly, RecordShape, WholeRecord};

/// What happens with an event that cannot be read as the source's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreadable {
    /// The dataflow fails, and the position is named.
    #[default]
    Fail,
    /// It is counted in `millstream_source_unreadable_total`, told once per split, and passed over.
    Skip,
}

/// What one split reads.
#[derive(Clone, Debug)]
pub struct LogSplit {
    /// The partition of the log.
    pub partition: PartitionId,
    /// First offset, inclusive.
    pub from: Offset,
    /// The split ends before this offset; never if `None`.
    pub until: Option<Offset>,
    /// Categories of the events that are wanted; all if `None`.
    pub categories: Option<Arc<[String]>>,
    /// What happens with events that cannot be read.
    pub unreadable: Unreadable,
    /// Items have the time when they happened, as their writer said it, instead of that of their recording.
    pub event_times: bool,
    /// The time of recording is the watermark. Not where items have other times.
    pub own_watermark: bool,
}

/// Frames without anything wanted that one pull passes over: a log of other categories must not hold the stage up.
const SKIPPED_MAX: usize = 64;

/// What came of looking for a frame.
enum Next {
    /// It is at work.
    Frame,
    /// None among those that one pull looks at.
    Later,
    /// There is none now.
    Nothing,
}

/// One partition of the log as a source.
pub struct LogSource<E, R> {
    access: Arc<LogAccess>,
    split: LogSplit,
    cursor: Option<LogCursor>,
    /// A frame at work, and the slot of its next record.
    at_work: Option<(FrameSlice, u32)>,
    /// Every record of the frame at work is wanted.
    all_wanted: bool,
    events: EventReader<E>,
    watermark: Timestamp,
    stage: Arc<str>,
    metrics: UnreadableMetrics,
    told: bool,
    /// The frame of the last event that was passed, where none is at work: first offset and hash.
    passed: Option<(Offset, FrameHash)>,
    shape: PhantomData<fn() -> R>,
}

impl<E: Event, R: RecordShape<E>> LogSource<E, R> {
    /// A source that reads `split` once it is opened.
    #[must_use]
    pub fn new(access: Arc<LogAccess>, split: LogSplit, wiring: &Wiring) -> Self {
        Self {
            access,
            cursor: None,
            at_work: None,
            all_wanted: false,
            events: EventReader::new(),
            watermark: Timestamp::MIN,
            stage: Arc::clone(&wiring.stage),
            metrics: UnreadableMetrics::new(&wiring.stage, split.partition),
            told: false,
            passed: None,
            split,
            shape: PhantomData,
        }
    }

    /// Offset of the first event that was not given yet: reading from it again gives what follows.
    #[must_use]
    pub fn position(&self) -> Offset {
        match (&self.at_work, &self.cursor) {
            (Some((slice, slot)), _) => slice.frame.header().first.plus(u64::from(*slot)),
            // What is behind the end in the last frame was not read: somebody may go on from there.
            (None, Some(cursor)) => match self.split.until {
                Some(end) => cursor.next_offset().min(end.max(self.split.from)),
                None => cursor.next_offset(),
            },
            (None, None) => self.split.from,
        }
    }

    /// The same with the frame that proves what was read.
    fn progress(&self) -> Progress {
        let at_work = self.at_work.as_ref().filter(|(_, slot)| *slot > 0);
        let frame = at_work.map(|(slice, _)| frame_of(slice));
        Progress {
            next: self.position(),
            frame: frame.or(self.passed),
        }
    }

    fn is_wanted(&self, category: &str) -> bool {
        let categories = self.split.categories.as_ref();
        categories.is_none_or(|wanted| wanted.iter().any(|wanted| wanted == category))
    }

    /// Takes the next frame that holds something wanted.
    fn next_frame(&mut self) -> Result<Next, Fault> {
        let partition = self.split.partition;
        let Some(cursor) = &mut self.cursor else {
            return Err(Fault("the log source was not opened".to_owned()));
        };
        for _ in 0..SKIPPED_MAX {
            if self
                .split
                .until
                .is_some_and(|end| cursor.next_offset() >= end)
            {
                return Ok(Next::Nothing);
            }
            let pulled = cursor.pull();
            let pulled =
                pulled.map_err(|error| Fault(format!("partition {partition}: {error}")))?;
            let Some(slice) = pulled else {
                return Ok(Next::Nothing);
            };
            let categories = self.split.categories.as_ref();
            let wanted = |category: &str| {
                categories.is_none_or(|wanted| wanted.iter().any(|wanted| wanted == category))
            };
            let kinds = slice.frame.kinds();
            let header = slice.frame.header();
            let frame = frame_of(&slice);
            if !kinds.iter().any(|kind| wanted(&kind.category)) {
                self.watermark = self.watermark.max(header.recorded_last);
                self.passed = Some(frame);
                continue;
            }
            self.all_wanted = kinds.iter().all(|kind| wanted(&kind.category));
            // Shapes that cannot be read fail each event that needs them, with its own cause.
            let dictionary = slice.frame.attachment(SHAPES).unwrap_or_default();
            let _ = self.events.begin_frame(dictionary);
            let slot = (slice.from.0 - header.first.0) as u32;
            self.at_work = Some((slice, slot));
            return Ok(Next::Frame);
        }
        Ok(Next::Later)
    }

    /// Gives up to `items_max` records of a frame; the frame goes on in the next pull if it has more.
    fn give<X: Emit<R::Item>>(
        &mut self,
        slice: FrameSlice,
        slot: u32,
        items_max: usize,
        out: &mut X,
    ) -> Result<usize, Fault> {
        let end = self.split.until.unwrap_or(Offset(u64::MAX));
        let partition = self.split.partition;
        let header = *slice.frame.header();
        for record in slice.frame.records_from(slot) {
            // What is not wanted counts as well, read or not: a pull comes to an end.
            let own = (record.offset.0 - header.first.0) as u32;
            if (own - slot) as usize >= items_max {
                self.at_work = Some((slice.clone(), own));
                return Ok(items_max);
            }
            if record.offset >= end {
                if own > 0 {
                    self.passed = Some(frame_of(&slice));
                }
                return Ok((own - slot) as usize);
            }
            if !self.all_wanted && !self.is_wanted(&record.kind.category) {
                continue;
            }
            let time = if self.split.event_times {
                record.event_time
            } else {
                record.recorded_at
            };
            match self.events.decode(record.kind, record.payload) {
                Ok(payload) => out.emit(time, R::make(partition, &record, payload)?),
                Err(error) => {
                    let dictionary = slice.frame.attachment(SHAPES).unwrap_or_default();
                    match R::unread(partition, &record, dictionary, &error) {
                        Some(item) => {
                            self.metrics.count(1);
                            out.emit(time, item);
                        }
                        None => self.pass_over(&record, &error)?,
                    }
                }
            }
            self.watermark = self.watermark.max(record.recorded_at);
        }
        self.passed = Some(frame_of(&slice));
        // Of records at the end of the frame that were not wanted.
        self.watermark = self.watermark.max(header.recorded_last);
        Ok(items_max.min((header.count - slot) as usize))
    }

    #[cold]
    fn pass_over(&mut self, record: &Record<'_>, error: &DecodeError) -> Result<(), Fault> {
        let (partition, offset) = (self.split.partition, record.offset);
        let kind = record.kind;
        let place = format!(
            "event {partition}:{offset}, {} of {}-{}",
            kind.event_type, kind.category, record.stream
        );
        if self.split.unreadable == Unreadable::Fail {
            return Err(Fault(format!("{place}, cannot be read: {error}")));
        }
        self.metrics.count(1);
        if !self.told {
            self.told = true;
            tracing::warn!(
                stage = &*self.stage, place, %error,
                "an event cannot be read and is passed over, as later ones will be"
            );
        }
        Ok(())
    }
}

fn frame_of(slice: &FrameSlice) -> (Offset, FrameHash) {
    let header = slice.frame.header();
    (header.first, header.hash)
}

impl<E: Event, R: RecordShape<E>> Source for LogSource<E, R> {
    type Item = R::Item;

    fn open(&mut self, mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        let reader: Arc<dyn LogReader> = Arc::clone(&self.access.streams) as Arc<dyn LogReader>;
        let cursor =
            self.access
                .feed
                .subscribe(self.split.partition, self.split.from, mailbox, reader);
        let cursor = self
            .cursor
            .insert(cursor.map_err(|error| Fault(error.to_string()))?);
        if let Some(categories) = self.split.categories.clone() {
            cursor.want(Arc::new(move |kind| {
                categories.iter().any(|wanted| *wanted == *kind.category)
            }));
        }
        Ok(())
    }

    fn watermark(&self) -> Option<Timestamp> {
        self.split.own_watermark.then_some(self.watermark)
    }

    fn pull<X: Emit<R::Item>>(&mut self, items_max: usize, out: &mut X) -> Result<Pulled, Fault> {
        let mut left = items_max;
        while left > 0 {
            if self.at_work.is_none() {
                match self.next_frame()? {
                    Next::Frame => {}
                    Next::Later => return Ok(Pulled::More),
                    Next::Nothing => {
                        let ended = self.split.until.is_some_and(|end| self.position() >= end);
                        return Ok(if ended { Pulled::End } else { Pulled::Pending });
                    }
                }
            }
            if let Some((slice, slot)) = self.at_work.take() {
                left -= self.give(slice, slot, left, out)?;
            }
        }
        Ok(Pulled::More)
    }

    fn may_go_on(&self) -> bool {
        self.split.until.is_none()
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Some(self.progress().encode()))
    }

    fn reads(&self) -> Vec<String> {
        let categories = self.split.categories.iter();
        let categories = categories.flat_map(|all| all.iter());
        categories
            .map(|category| format!("category {category}"))
            .collect()
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        let progress = Progress::decode(position);
        let progress =
            progress.ok_or_else(|| Fault("a position of another kind of source".to_owned()))?;
        let partition = self.split.partition;
        if progress.frame.is_some() {
            let standing = progress.check(&*self.access.streams, partition);
            let standing =
                standing.map_err(|error| Fault(format!("partition {partition}: {error}")))?;
            if standing != ProgressStanding::Valid {
                let next = progress.next;
                return Err(SeekError::OtherHistory(format!(
                    "partition {partition} before {next}"
                )));
            }
        }
        self.passed = progress.frame;
        self.split.from = progress.next;
        Ok(())
    }
}

impl<E, R> fmt::Debug for LogSource<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSource")
            .field("split", &self.split)
            .finish_non_exhaustive()
    }
}
