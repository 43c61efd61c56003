//! Read amplification of the log: bytes unpacked for each byte of payload that somebody wants.
//!
//! *One event by its place*: the frame that holds it is read and unpacked whole, n events for one. *One stream*: its m events
//! lie anywhere in F frames, so they are in F·(1 − (1 − 1/F)^m) of them, each unpacked whole. *One kind of K*: where events lie
//! by kind, the sections of the others are passed over; who wants all of a frame, or reads one whose events lie as they came,
//! unpacks K events for one. No cache is asked: what is shown is what a first read costs.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use millstream_engine::event::{Metadata, Offset, PartitionId, StreamId, stream_hash};
use millstream_engine::index::IndexEntry;
use millstream_engine::log::frame::{
    Draft, Encoding, Frame, FrameBuilder, FrameHash, FramePart, Kind,
};
use millstream_engine::log::{
    Direction, EmbeddedLog, EmbeddedReader, Head, LogError, LogReader, LogStore, StreamReader,
    StreamRef, for_each_event,
};
use millstream_engine::store::EnvironmentOptions;
use millstream_engine::time::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::{SUITE, Sizes};
use crate::{Case, Harness, SEED};

const P0: PartitionId = PartitionId(0);
/// Events of one frame.
const FRAME_EVENTS: usize = 512;
/// Bytes of a payload.
const EVENT_BYTES: usize = 120;
/// Kinds of events, of which each event is one by chance.
const KINDS: u64 = 8;
/// Streams for each frame of the log, of which each event belongs to one by chance: the mean stream has a thousand events.
const STREAMS_PER_FRAME: f64 = 0.5;
/// Places and streams that are read.
const READ: u64 = 64;
/// Memory of the frames that a reader of all of them asks for at a time.
const AT_A_TIME: usize = 1 << 20;

pub(super) fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let EmbeddedLog { mut store, reader } =
        EmbeddedLog::open(folder.path(), 1, EnvironmentOptions::default())?;
    let mut events = Events::new(sizes.frames);
    let mut stored = 0;
    for _ in 0..sizes.frames {
        stored += events.append(&mut store)?;
    }
    let (frames, payload) = (
        sizes.frames as u64,
        (sizes.frames * FRAME_EVENTS * EVENT_BYTES) as f64,
    );
    ensure!(reader.head(P0)?.next == events.next, "all events");
    let log = Measured {
        reader: Counting {
            log: reader,
            unpacked: AtomicU64::new(0),
        },
        frames,
        streams: events.versions.len() as u64,
        case: |name: &str| {
            Case::new(SUITE, name, machine)
                .with("frames", frames)
                .with("events_per_frame", FRAME_EVENTS)
                .figure("frame_bytes_per_payload_byte", stored as f64 / payload)
        },
    };
    log.by_place(harness)?;
    log.by_stream(harness)?;
    log.by_kind(harness)
}

/// Frames of random events, each naming the one before.
struct Events {
    builder: FrameBuilder,
    random: SmallRng,
    next: Offset,
    hash: FrameHash,
    /// Events of each stream so far.
    versions: Vec<u64>,
}

impl Events {
    fn new(frames: usize) -> Self {
        let streams = (frames as f64 * STREAMS_PER_FRAME) as usize;
        Self {
            builder: FrameBuilder::new(),
            random: SmallRng::seed_from_u64(SEED),
            next: Offset(0),
            hash: FrameHash::default(),
            versions: vec![0; streams],
        }
    }

    /// Appends a frame; gives its length.
    fn append(&mut self, store: &mut impl LogStore) -> Result<usize> {
        let kinds: Vec<_> = (0..KINDS)
            .map(|kind| self.builder.kind(&kind_of(kind)))
            .collect();
        let mut payload = vec![0; EVENT_BYTES];
        for _ in 0..FRAME_EVENTS {
            let stream = (self.random.next_u64() % self.versions.len() as u64) as usize;
            let kind = kinds[(self.random.next_u64() % KINDS) as usize];
            self.random.fill_bytes(&mut payload);
            let id = stream.to_string();
            let draft = Draft {
                kind,
                stream: &id,
                hash: stream_hash(&format!("raw-{id}")),
                version: self.versions[stream],
                event_time: None,
                id: None,
                metadata: Metadata::default(),
                payload: &payload,
            };
            self.builder.push(Timestamp::EPOCH, &draft)?;
            self.versions[stream] += 1;
        }
        let ids = Uuid::from_u128(u128::from(self.next.0));
        let frame = self.builder.seal(P0, self.next, ids, self.hash, &[])?;
        self.next = self.next.plus(u64::from(frame.count));
        self.hash = frame.hash;
        let bytes = frame.bytes.len();
        store.append(&[frame])?;
        Ok(bytes)
    }
}

fn kind_of(kind: u64) -> Kind {
    Kind {
        category: "raw".into(),
        event_type: format!("measured-{kind}").into(),
        schema_version: 1,
        encoding: Encoding::Opaque,
    }
}

/// Frames with one event at least of `events` that lie anywhere in `frames`.
fn frames_met(frames: f64, events: f64) -> f64 {
    frames * (1.0 - (1.0 - 1.0 / frames).powf(events))
}

/// A reader without a cache that counts what it unpacks.
struct Counting {
    log: EmbeddedReader,
    /// Bytes of the memory that unpacked frames took.
    unpacked: AtomicU64,
}

impl Counting {
    /// Bytes unpacked since they were asked for last.
    fn take(&self) -> f64 {
        self.unpacked.swap(0, Ordering::Relaxed) as f64
    }
}

impl LogReader for Counting {
    fn partitions(&self) -> u16 {
        self.log.partitions()
    }

    fn head(&self, partition: PartitionId) -> Result<Head, LogError> {
        self.log.head(partition)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, LogError> {
        self.read_part(partition, from, bytes_max, FramePart::Whole)
    }

    fn read_part(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
        part: FramePart<'_>,
    ) -> Result<Vec<Frame>, LogError> {
        let frames = self.log.read_part(partition, from, bytes_max, part)?;
        let bytes: usize = frames.iter().map(Frame::memory_bytes).sum();
        self.unpacked.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(frames)
    }
}

impl StreamReader for Counting {
    fn locate(
        &self,
        partition: PartitionId,
        hash: u64,
        from_version: u64,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<IndexEntry>, LogError> {
        self.log
            .locate(partition, hash, from_version, limit, direction)
    }
}

/// The log that is measured, and how its cases begin.
struct Measured<C> {
    reader: Counting,
    frames: u64,
    streams: u64,
    case: C,
}

/// The figure that all cases have.
const UNPACKED: &str = "unpacked_bytes_per_wanted_byte";

impl<C: Fn(&str) -> Case> Measured<C> {
    /// Numbers below `end`, at equal distances.
    fn spread(end: u64) -> impl Iterator<Item = u64> {
        (0..end).step_by(end.div_ceil(READ).max(1) as usize)
    }

    fn by_place(&self, harness: &Harness) -> Result<()> {
        let mut wanted = 0;
        for offset in Self::spread(self.frames * FRAME_EVENTS as u64) {
            let frame = self.reader.frame_at(P0, Offset(offset))?;
            let frame = frame.context("an event that was appended is found")?;
            let slot = offset - frame.header().first.0;
            let event = frame.records_from(slot as u32).next();
            let event = event.context("a frame holds its events")?;
            ensure!(event.offset == Offset(offset), "the event asked for");
            wanted += event.payload.len();
        }
        let measured = self.reader.take() / wanted as f64;
        let case = (self.case)("reading-place").compare(UNPACKED, FRAME_EVENTS as f64, measured);
        harness.report(case)
    }

    fn by_stream(&self, harness: &Harness) -> Result<()> {
        let (mut wanted, mut events, mut frames) = (0, 0, 0.0);
        for stream in Self::spread(self.streams) {
            let id = StreamId::new("raw", &stream.to_string())?;
            let stream = StreamRef::new(&id, 1);
            let all = usize::MAX;
            let read = for_each_event::<_, LogError>(
                &self.reader,
                stream,
                0,
                all,
                Direction::Forwards,
                |_, record| {
                    wanted += record.payload.len();
                    Ok(())
                },
            )?;
            events += read;
            frames += frames_met(self.frames as f64, read as f64);
        }
        ensure!(events > 0, "streams have events");
        let expected = frames * FRAME_EVENTS as f64 / events as f64;
        let measured = self.reader.take() / wanted as f64;
        let case = (self.case)("reading-stream")
            .with("streams", self.streams)
            .figure("frames_per_event", frames / events as f64)
            .compare(UNPACKED, expected, measured);
        harness.report(case)
    }

    fn by_kind(&self, harness: &Harness) -> Result<()> {
        let asked = kind_of(KINDS / 2);
        let is_asked = |kind: &Kind| kind.event_type == asked.event_type;
        for (name, part, expected) in [
            ("reading-kind", FramePart::Kinds(&is_asked), 1.0),
            ("reading-kind-whole", FramePart::Whole, KINDS as f64),
        ] {
            let (mut next, mut wanted) = (Offset(0), 0);
            loop {
                let frames = self.reader.read_part(P0, next, AT_A_TIME, part)?;
                let Some(last) = frames.last() else { break };
                next = last.header().end();
                let events = frames.iter().flat_map(Frame::records);
                let events = events.filter(|event| is_asked(event.kind));
                wanted += events.map(|event| event.payload.len()).sum::<usize>();
            }
            let measured = self.reader.take() / wanted as f64;
            let case = (self.case)(name)
                .with("kinds", KINDS)
                .compare(UNPACKED, expected, measured);
            harness.report(case)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_meet_each_frame_once_and_at_most_all() {
        assert!((frames_met(10.0, 1.0) - 1.0).abs() < 1e-9);
        assert!((frames_met(10.0, 2.0) - 1.9).abs() < 1e-9);
        assert!((frames_met(10.0, 1e6) - 10.0).abs() < 1e-9);
    }
}
