//! Finding and reading the events that a constraint lets pass.
//!
//! Each event is looked at against the whole constraint; what is sought by before only spares looking. Order: of a
//! partition by offset; of streams found by the index, stream after stream.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use millstream_engine::event::{Offset, PartitionId, StreamId};
use millstream_engine::log::frame::{Frame, FramePart, Kind, Record};
use millstream_engine::log::{Direction, LogError, LogReader, StreamRef, for_each_event};
use millstream_engine::time::Timestamp;

use super::super::constraint::Constraint;
use super::super::plan::{Output, Scan, external};
use super::super::ranges::{Datum, Probe};
use super::Log;
use super::columns::Events;

/// Memory that frames of one read of the log take, in bytes.
const READ_BYTES: usize = 1 << 20;
/// Streams that are found one by one; of more the log is read.
const STREAMS_MAX: usize = 1_024;

/// A read of the log.
pub(super) struct EventsScan {
    log: Arc<Log>,
    schema: SchemaRef,
    constraint: Constraint,
    /// Partitions that can hold what is wanted, each with the streams to be found there.
    parts: Vec<(PartitionId, Vec<StreamId>)>,
    /// Streams are found by the index.
    by_stream: bool,
}

/// Why a read of streams ended before their end.
enum Stop {
    Failed(DataFusionError),
    Enough,
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Failed(external(error))
    }
}

impl EventsScan {
    pub(super) fn new(log: &Arc<Log>, schema: SchemaRef, constraint: Constraint) -> Self {
        let partitions = log.reader.partitions();
        let wanted = (0..partitions).map(PartitionId).filter(|partition| {
            let ranges = constraint.column("partition");
            ranges.is_none_or(|ranges| ranges.holds(Probe::Number(partition.0.into())))
        });
        let streams = streams(&constraint);
        let by_stream = streams.is_some();
        let streams = streams.unwrap_or_default();
        let parts = wanted.filter_map(|partition| {
            let own = streams.iter();
            let own = own.filter(|stream| stream.partition(partitions) == partition);
            let own: Vec<_> = own.cloned().collect();
            (!by_stream || !own.is_empty()).then_some((partition, own))
        });
        Self {
            parts: parts.collect(),
            log: Arc::clone(log),
            schema,
            constraint,
            by_stream,
        }
    }

    /// The offsets to look at, the end exclusive.
    fn offsets(&self, partition: PartitionId) -> Result<(Offset, Offset), LogError> {
        let end = self.log.ends[usize::from(partition.0)];
        let (mut from, mut to) = (Offset(0), end);
        if let Some(offsets) = self.constraint.column("offset") {
            match offsets.numbers_within(0, i128::from(end.0) - 1) {
                // Both lie within 0 and the end.
                Some((least, largest)) => {
                    (from, to) = (Offset(least as u64), Offset(largest as u64 + 1));
                }
                None => return Ok((end, end)),
            }
        }
        if let Some(times) = self.constraint.column("recorded_at") {
            let all = (i64::MIN.into(), i64::MAX.into());
            let Some((first, last)) = times.numbers_within(all.0, all.1) else {
                return Ok((end, end));
            };
            let reader = &self.log.reader;
            if first > all.0 {
                let first = reader.first_recorded_at(partition, Timestamp(first as i64))?;
                from = from.max(first);
            }
            if last < all.1 {
                let behind = Timestamp(last as i64 + 1);
                to = to.min(reader.first_recorded_at(partition, behind)?);
            }
        }
        Ok((from, to))
    }

    /// Whether any event of a frame can be wanted, by the kinds it lists.
    fn may_hold(&self, frame: &Frame) -> bool {
        frame.kinds().iter().any(|kind| self.may_be_of(kind))
    }

    fn may_be_of(&self, kind: &Kind) -> bool {
        let holds = |column: &str, text: &str| {
            let ranges = self.constraint.column(column);
            ranges.is_none_or(|ranges| ranges.holds(Probe::Text(text)))
        };
        holds("category", &kind.category) && holds("type", &kind.event_type)
    }

    fn read_part(&self, partition: PartitionId, reading: &mut Reading<'_>) -> Result<()> {
        let (mut next, to) = self.offsets(partition).map_err(external)?;
        while next < to && reading.output.is_wanted() {
            // A whole read for a few events at the end of what is wanted would be a waste.
            let bytes_max = if to.0 - next.0 < 64 { 1 } else { READ_BYTES };
            let wanted = |kind: &Kind| self.may_be_of(kind);
            let part = FramePart::Kinds(&wanted);
            let frames = self.log.reader.read_part(partition, next, bytes_max, part);
            let frames = frames.map_err(external)?;
            let Some(last) = frames.last() else { break };
            let behind = last.header().end();
            for frame in &frames {
                if frame.header().first >= to || !reading.output.is_wanted() {
                    break;
                }
                reading.output.reads.add(1);
                if !self.may_hold(frame) {
                    continue;
                }
                let slot = next.0.saturating_sub(frame.header().first.0) as u32;
                for record in frame.records_from(slot).take_while(|it| it.offset < to) {
                    if !reading.look(partition, frame, &record)? {
                        return Ok(());
                    }
                }
            }
            next = behind;
        }
        Ok(())
    }

    fn read_streams(
        &self,
        partition: PartitionId,
        streams: &[StreamId],
        reading: &mut Reading<'_>,
    ) -> Result<()> {
        let reader = self.log.streams().map_err(external)?;
        let partitions = reader.partitions();
        let end = self.log.ends[usize::from(partition.0)];
        let versions = match self.constraint.column("version") {
            Some(versions) => versions.numbers_within(0, i64::MAX.into()),
            None => Some((0, i64::MAX.into())),
        };
        let Some((first, last)) = versions else {
            return Ok(());
        };
        for stream in streams {
            let mut frame_seen = None;
            let read = for_each_event(
                reader,
                StreamRef::new(stream, partitions),
                first as u64, // Between 0 and 2^63.
                usize::MAX,
                Direction::Forwards,
                |frame, record| {
                    if record.offset >= end || i128::from(record.version) > last {
                        return Err(Stop::Enough);
                    }
                    if frame_seen.replace(frame.header().first) != Some(frame.header().first) {
                        reading.output.reads.add(1);
                    }
                    match reading.look(partition, frame, record) {
                        Ok(true) => Ok(()),
                        Ok(false) => Err(Stop::Enough),
                        Err(error) => Err(Stop::Failed(error)),
                    }
                },
            );
            match read {
                Ok(_) | Err(Stop::Enough) => {}
                Err(Stop::Failed(error)) => return Err(error),
            }
            if !reading.output.is_wanted() {
                break;
            }
        }
        Ok(())
    }
}

/// The streams that are asked for by name, if they are few; names that no stream can have are left out.
fn streams(constraint: &Constraint) -> Option<Vec<StreamId>> {
    let texts = |column: &str| -> Option<Vec<String>> {
        let points = constraint.column(column)?.points()?;
        let texts = points.into_iter().filter_map(|point| match point {
            Datum::Text(text) => String::from_utf8(text.clone()).ok(),
            Datum::Number(_) => None,
        });
        Some(texts.collect())
    };
    let names = match texts("stream") {
        Some(names) => names,
        None => {
            let (categories, ids) = (texts("category")?, texts("id")?);
            let names = categories.iter().flat_map(|category| {
                let ids = ids.iter();
                ids.map(move |id| format!("{category}-{id}"))
            });
            names.collect()
        }
    };
    if names.len() > STREAMS_MAX {
        return None;
    }
    let mut streams: Vec<StreamId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    streams.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    streams.dedup();
    Some(streams)
}

/// Events on their way to the output.
struct Reading<'o> {
    constraint: &'o Constraint,
    events: Events,
    output: &'o mut Output,
    stream: String,
}

impl Reading<'_> {
    /// Looks at an event, and gives it on if it is wanted; `false` when no more are.
    fn look(&mut self, partition: PartitionId, frame: &Frame, record: &Record<'_>) -> Result<bool> {
        self.output.rows_read.add(1);
        self.stream.clear();
        self.stream.push_str(&record.kind.category);
        self.stream.push('-');
        self.stream.push_str(record.stream);
        if !self.lets_pass(record) {
            return Ok(true);
        }
        self.events.push(partition, frame, record, &self.stream);
        if self.events.is_full() || self.events.rows() >= self.output.left() {
            self.flush()?;
        }
        Ok(self.output.is_wanted())
    }

    fn lets_pass(&self, record: &Record<'_>) -> bool {
        let number = |column: &str, number: i128| {
            let ranges = self.constraint.column(column);
            ranges.is_none_or(|ranges| ranges.holds(Probe::Number(number)))
        };
        let text = |column: &str, text: &str| {
            let ranges = self.constraint.column(column);
            ranges.is_none_or(|ranges| ranges.holds(Probe::Text(text)))
        };
        self.constraint.is_empty()
            || number("offset", record.offset.0.into())
                && number("version", record.version.into())
                && number("recorded_at", record.recorded_at.0.into())
                && number("event_time", record.event_time.0.into())
                && text("type", &record.kind.event_type)
                && text("category", &record.kind.category)
                && text("id", record.stream)
                && text("stream", &self.stream)
    }

    fn flush(&mut self) -> Result<()> {
        let batch = self.events.take()?;
        self.output.give(batch);
        Ok(())
    }
}

impl Scan for EventsScan {
    fn name(&self) -> &'static str {
        "EventsScan"
    }

    fn parts(&self) -> usize {
        self.parts.len()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions: Vec<u16> = self
            .parts
            .iter()
            .map(|(partition, _)| partition.0)
            .collect();
        let columns = self.schema.fields().iter();
        let columns: Vec<&str> = columns.map(|field| field.name().as_str()).collect();
        write!(
            f,
            "columns=[{}], partitions={partitions:?}",
            columns.join(", ")
        )?;
        if self.by_stream {
            let streams: usize = self.parts.iter().map(|(_, streams)| streams.len()).sum();
            write!(f, ", streams by index={streams}")?;
        }
        write!(f, ", pushed=[{}]", self.constraint)
    }

    fn read(&self, part: usize, output: &mut Output) -> Result<()> {
        let (partition, streams) = &self.parts[part];
        let mut reading = Reading {
            constraint: &self.constraint,
            events: Events::of(&self.schema),
            output,
            stream: String::new(),
        };
        if self.by_stream {
            self.read_streams(*partition, streams, &mut reading)?;
        } else {
            self.read_part(*partition, &mut reading)?;
        }
        reading.flush()
    }
}
