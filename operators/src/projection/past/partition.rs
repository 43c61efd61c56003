//! One thread's part of a replay: some partitions, one after the other, into tables of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::Arc;

use millstream_engine::event::{Offset, PartitionId, Position, StreamId};
use millstream_engine::log::frame::{Frame, FramePart, KindSet, Record};
use millstream_engine::log::{Direction, LogError, StreamReader, StreamRef, for_each_event};
use millstream_engine::stage::caught;
use millstream_engine::state::{StateWrite, TableId};

use super::LeftOut;
use super::merged::Merged;
use super::tables::{FAILED_MAX, FailedEvent};
use crate::failing::Failure;
use crate::past::{Cut, PastError};
use crate::projection::applier::Applier;
use crate::projection::decided::{Decided, Fate, decision_in};
use crate::projection::enrich::Beside;
use crate::projection::in_memory::InMemory;
use crate::projection::wanted::Portion;
use crate::projection::{LetterDecision, Order, Projection, TableSet};

/// Memory that frames of one read of the log take, in bytes.
const READ_BYTES: usize = 1 << 20;

/// What is replayed, without its moment.
pub(super) struct Job<P> {
    pub(super) projection: Arc<P>,
    pub(super) streams: Arc<dyn StreamReader>,
    pub(super) left_out: LeftOut,
    /// This stream alone.
    pub(super) only: Option<StreamId>,
}

/// What a part came to.
#[derive(Default)]
pub(super) struct Share {
    /// Rows by table, in order, as they would be stored.
    pub(super) rows: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    pub(super) events: u64,
    pub(super) waiting: u64,
    pub(super) failed: Vec<FailedEvent>,
    pub(super) failed_count: u64,
}

/// Replays some partitions. What user code panics with is caught.
pub(super) fn run<P: Projection>(
    job: &Job<P>,
    cuts: &[(PartitionId, Cut)],
) -> Result<Share, PastError> {
    let ended = caught(|| replayed(job, cuts));
    ended.unwrap_or_else(|panic| resume_unwind(panic))
}

fn replayed<P: Projection>(job: &Job<P>, cuts: &[(PartitionId, Cut)]) -> Result<Share, PastError> {
    let tables = job.projection.tables();
    let InMemory { writers, ids, .. } = InMemory::of(&tables);
    let mut part = Part {
        job,
        applier: Applier::new(Arc::clone(&job.projection), writers),
        partition: PartitionId(0),
        decided: Decided::default(),
        parked: HashSet::new(),
        share: Share::default(),
        beside: Beside::of(&*job.projection),
    };
    match P::ORDER {
        Order::Recorded if job.only.is_none() => part.replay_in_order(cuts)?,
        Order::Arrival | Order::Recorded => {
            for (partition, cut) in cuts {
                part.replay(*partition, cut)?;
            }
        }
    }
    part.rows(&ids[..tables.names().len()])
}

struct Part<'j, P: Projection> {
    job: &'j Job<P>,
    applier: Applier<P>,
    partition: PartitionId,
    decided: Decided,
    /// Streams of the partition whose later events wait.
    parked: HashSet<String>,
    share: Share,
    /// Those that it looks into.
    beside: Beside,
}

impl<P: Projection> Part<'_, P> {
    fn replay(&mut self, partition: PartitionId, cut: &Cut) -> Result<(), PastError> {
        self.partition = partition;
        self.parked.clear();
        self.decided = decisions::<P>(&*self.job.streams, partition, cut)?;
        if let Some(stream) = &self.job.only {
            return self.replay_stream(stream, cut);
        }
        self.beside.enter(&*self.job.streams, partition, cut)?;
        let (mut next, kinds) = (Offset(0), self.applier.kinds());
        while next < cut.end() {
            let streams = &self.job.streams;
            let frames = if self.beside.is_empty() {
                streams.read_part(partition, next, READ_BYTES, FramePart::Kinds(&*kinds))
            } else {
                streams.read(partition, next, READ_BYTES)
            }?;
            let Some(last) = frames.last() else { break };
            next = last.header().end();
            for frame in &frames {
                self.replay_frame(frame, cut)?;
            }
        }
        self.beside.leave(partition);
        Ok(())
    }

    fn replay_frame(&mut self, frame: &Frame, cut: &Cut) -> Result<(), PastError> {
        if !self.beside.is_empty() {
            return self.replay_together(frame, cut);
        }
        let portion = self.applier.portion(frame.kinds());
        if frame.header().first >= cut.end() {
            return Ok(());
        }
        let kinds = match portion {
            Portion::Nothing => return Ok(()),
            Portion::Some(kinds) => kinds,
            Portion::All => KindSet::ALL,
        };
        let begun = self.applier.begin(frame).map_err(Failure::causes);
        for record in frame.records_of(0, kinds) {
            if self.applier.wants(&record) && cut.holds(&record) {
                self.apply(begun.as_ref().err(), &record)?;
            }
        }
        Ok(())
    }

    /// A frame for this projection and those that it looks into: each event is applied there first.
    fn replay_together(&mut self, frame: &Frame, cut: &Cut) -> Result<(), PastError> {
        if frame.header().first >= cut.end() {
            return Ok(());
        }
        let (partition, left_out) = (self.partition, &self.job.left_out);
        let streams = &*self.job.streams;
        self.beside.begin(partition, frame);
        let begun = self.applier.begin(frame).map_err(Failure::causes);
        for record in frame.records() {
            let is_left_out = record.kind.category == P::CATEGORY
                && left_out.holds(record.stream, record.version);
            if is_left_out || !cut.holds(&record) {
                continue;
            }
            self.beside.apply(streams, partition, &record)?;
            if self.applier.wants(&record) {
                self.beside.lend(partition, &mut self.applier.sight);
                self.apply(begun.as_ref().err(), &record)?;
                self.beside.lend(partition, &mut self.applier.sight);
            }
        }
        Ok(())
    }

    /// All partitions at once, frame after frame as they were recorded.
    fn replay_in_order(&mut self, cuts: &[(PartitionId, Cut)]) -> Result<(), PastError> {
        let streams = &*self.job.streams;
        let mut merged = Merged::default();
        for (partition, cut) in cuts {
            let decided = decisions::<P>(streams, *partition, cut)?;
            self.beside.enter(streams, *partition, cut)?;
            merged.add(streams, *partition, *cut, decided)?;
        }
        while let Some((frame, lane)) = merged.next(streams)? {
            self.partition = lane.partition;
            std::mem::swap(&mut self.decided, &mut lane.decided);
            self.replay_frame(&frame, &lane.cut)?;
            std::mem::swap(&mut self.decided, &mut lane.decided);
        }
        Ok(())
    }

    fn replay_stream(&mut self, stream: &StreamId, cut: &Cut) -> Result<(), PastError> {
        let streams = &*self.job.streams;
        let reference = StreamRef::new(stream, streams.partitions());
        let limit = cut.version().map_or(usize::MAX, |last| {
            usize::try_from(last.saturating_add(1)).unwrap_or(usize::MAX)
        });
        let mut seen = 0;
        for_each_event::<_, PastError>(
            streams,
            reference,
            0,
            limit,
            Direction::Forwards,
            |frame, record| {
                if cut.holds(record) {
                    seen = record.version + 1;
                    if self.applier.wants(record) {
                        let begun = self.applier.begin(frame).map_err(Failure::causes);
                        self.apply(begun.as_ref().err(), record)?;
                    }
                }
                Ok(())
            },
        )?;
        match cut.version() {
            Some(version) if version >= seen => Err(PastError::NoSuchVersion {
                stream: stream.to_string(),
                version,
                events: seen,
            }),
            _ => Ok(()),
        }
    }

    /// Applies an event of a frame whose shapes could be read, or not.
    fn apply(
        &mut self,
        unread: Option<&Vec<String>>,
        record: &Record<'_>,
    ) -> Result<(), PastError> {
        if self.job.left_out.holds(record.stream, record.version) {
            return Ok(());
        }
        match self.decided.fate(record.stream, record.offset) {
            Fate::Kept => self.apply_as(None, unread, record),
            Fate::Edited(edit) => {
                let payload = edit.payload(&*self.job.streams, self.partition)?;
                self.apply_as(Some(&payload), None, record);
            }
            Fate::Discarded => {}
        }
        Ok(())
    }

    fn apply_as(&mut self, edit: Option<&str>, unread: Option<&Vec<String>>, record: &Record<'_>) {
        if !self.parked.is_empty() && self.parked.contains(record.stream) {
            self.share.waiting += 1;
            return;
        }
        let applied = match unread {
            Some(causes) => Err(causes.clone()),
            None => {
                let applied = self.applier.apply_as(edit, self.partition, record, None);
                applied.map_err(Failure::causes)
            }
        };
        match applied {
            Ok(taken) => self.share.events += u64::from(taken),
            Err(causes) => self.park(record, causes),
        }
    }

    fn park(&mut self, record: &Record<'_>, causes: Vec<String>) {
        self.parked.insert(record.stream.to_owned());
        self.share.failed_count += 1;
        if self.share.failed.len() < FAILED_MAX {
            self.share.failed.push(FailedEvent {
                stream: format!("{}-{}", P::CATEGORY, record.stream),
                version: record.version,
                position: Position {
                    partition: self.partition,
                    offset: record.offset,
                },
                causes,
            });
        }
    }

    /// The rows, as they would be stored.
    fn rows(mut self, ids: &[TableId]) -> Result<Share, PastError> {
        let mut writes = Vec::new();
        P::Tables::publish(&mut self.applier.writers);
        P::Tables::store(&mut self.applier.writers, &mut writes).map_err(|cause| {
            PastError::Unwritable {
                projection: P::NAME,
                cause,
            }
        })?;
        drop(self.applier);
        let place: HashMap<TableId, usize> = ids.iter().copied().zip(0..).collect();
        let mut rows = vec![Vec::new(); ids.len()];
        for write in writes {
            if let StateWrite::PutRow { table, key, value } = write
                && let Some(at) = place.get(&table)
            {
                rows[*at].push((key, value));
            }
        }
        // A map is made of many rows at once faster than of one after the other.
        self.share.rows = rows
            .into_iter()
            .map(|rows| rows.into_iter().collect())
            .collect();
        Ok(self.share)
    }
}

/// What had been decided about events of a partition by a moment. Read before the first event, since a decision lies behind
/// the one that it is about.
pub(in crate::projection) fn decisions<P: Projection>(
    streams: &dyn StreamReader,
    partition: PartitionId,
    cut: &Cut,
) -> Result<Decided, PastError> {
    let mut decided = Decided::default();
    let partitions = streams.partitions();
    let Ok(id) = LetterDecision::stream(partition, partitions) else {
        return Ok(decided); // No partition of this log.
    };
    let mut take = |frame: &Frame, record: &Record<'_>| {
        if record.offset >= cut.end() {
            return;
        }
        // One that cannot be read is nobody's.
        let Ok(decision) = decision_in(frame, record) else {
            return;
        };
        let order = decision.order();
        let id = order.key.strip_prefix(P::CATEGORY);
        let id = id.and_then(|rest| rest.strip_prefix('-'));
        let is_ours = order.stage.is_none()
            && order.projection == P::NAME
            && order.version <= P::VERSION
            && order.partition == partition.0
            && order.offset < record.offset.0;
        if let Some(id) = id.filter(|id| is_ours && !id.is_empty()) {
            decided.take(id, record.offset, &decision);
        }
    };
    let stream = StreamRef::new(&id, partitions);
    for_each_event::<_, LogError>(
        streams,
        stream,
        0,
        usize::MAX,
        Direction::Forwards,
        |frame, record| {
            take(frame, record);
            Ok(())
        },
    )?;
    Ok(decided)
}
