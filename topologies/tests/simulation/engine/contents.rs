//! The whole log, read as anybody could, and what must hold of any log.

use std::collections::BTreeMap;

use millstream::prelude::*;
use millstream_engine::codec::{Event, EventReader};
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::frame::{FrameHash, Record, SHAPES};
use millstream_engine::log::{
    Direction, EmbeddedReader, LogError, LogReader, StreamRef, for_each_event,
};
use millstream_operators::projection::{DECISIONS, LetterDecision};
use serde::{Deserialize, Serialize};

use super::topology::{Account, AccountEvent, COPIES, Copied, SUMS, Summed};

/// Category of what is appended without an aggregate.
pub(crate) const NOTES: &str = "note";

/// Payload of such an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) tag: u64,
    pub(crate) part: u8,
    pub(crate) of: u8,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Moved(AccountEvent),
    Noted(Note),
    Summed(Summed),
    Copied(Copied),
    Decided(LetterDecision),
}

/// An event with its place.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) partition: u16,
    pub(crate) offset: u64,
    pub(crate) stream: String,
    pub(crate) version: u64,
    pub(crate) id: String,
    pub(crate) recorded_at: Timestamp,
    pub(crate) what: What,
}

impl Logged {
    /// The operation that it is of, which part of it, and how many there are.
    pub(crate) const fn part(&self) -> Option<(u64, u8, u8)> {
        match &self.what {
            What::Moved(AccountEvent::Moved { tag, part, of, .. })
            | What::Noted(Note { tag, part, of }) => Some((*tag, *part, *of)),
            What::Summed(_) | What::Copied(_) | What::Decided(_) => None,
        }
    }
}

/// All events, by partition.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) partitions: Vec<Vec<Logged>>,
}

/// Readers of the types that there are.
#[derive(Default)]
struct Readers {
    moves: EventReader<AccountEvent>,
    sums: EventReader<Summed>,
    copies: EventReader<Copied>,
    decisions: EventReader<LetterDecision>,
}

fn decoded<E: Event>(reader: &mut EventReader<E>, shapes: &[u8], record: &Record<'_>) -> E {
    reader.begin_frame(shapes).unwrap();
    reader.decode(record.kind, record.payload).unwrap()
}

impl Readers {
    fn read(&mut self, shapes: &[u8], record: &Record<'_>) -> What {
        match record.kind.category.as_str() {
            Account::CATEGORY => What::Moved(decoded(&mut self.moves, shapes, record)),
            SUMS => What::Summed(decoded(&mut self.sums, shapes, record)),
            COPIES => What::Copied(decoded(&mut self.copies, shapes, record)),
            DECISIONS => What::Decided(decoded(&mut self.decisions, shapes, record)),
            NOTES => What::Noted(serde_json::from_slice(record.payload).unwrap()),
            other => panic!("nobody writes to {other}"),
        }
    }
}

impl Contents {
    /// Reads all partitions. Offsets, the chain of frames, times of recording and versions are checked on the way.
    pub(crate) fn read(reader: &EmbeddedReader) -> Self {
        let mut readers = Readers::default();
        let mut partitions = Vec::new();
        for partition in (0..reader.partitions()).map(PartitionId) {
            let (mut next, mut hash) = (Offset(0), FrameHash::default());
            let (mut recorded, mut all) = (Timestamp::MIN, Vec::new());
            loop {
                let frames = reader.read(partition, next, 1 << 20).unwrap();
                if frames.is_empty() {
                    break;
                }
                for frame in frames {
                    let header = frame.header();
                    assert_eq!(header.first, next, "a gap in partition {partition}");
                    assert_eq!(header.previous, hash, "the chain of partition {partition}");
                    (next, hash) = (header.end(), header.hash);
                    let shapes = frame.attachment(SHAPES).unwrap_or_default();
                    for record in frame.records() {
                        assert!(recorded <= record.recorded_at, "recorded time goes back");
                        recorded = record.recorded_at;
                        all.push(Logged {
                            partition: partition.0,
                            offset: record.offset.0,
                            stream: format!("{}-{}", record.kind.category, record.stream),
                            version: record.version,
                            id: format!("{:?}", record.id),
                            recorded_at: record.recorded_at,
                            what: readers.read(shapes, &record),
                        });
                    }
                }
            }
            let offsets = all.iter().map(|event| event.offset);
            assert!(offsets.eq(0..next.0), "a gap in partition {partition}");
            assert_eq!(reader.head(partition).unwrap().next, next);
            partitions.push(all);
        }
        let contents = Self { partitions };
        contents.check_streams(reader);
        contents
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Logged> {
        self.partitions.iter().flatten()
    }

    /// Events by stream, in their order.
    pub(crate) fn streams(&self) -> BTreeMap<&str, Vec<&Logged>> {
        let mut streams: BTreeMap<&str, Vec<&Logged>> = BTreeMap::new();
        for event in self.events() {
            streams.entry(&event.stream).or_default().push(event);
        }
        streams
    }

    /// Versions have no gap, a stream lies in one partition, and the index finds what is there.
    fn check_streams(&self, reader: &EmbeddedReader) {
        for (name, events) in self.streams() {
            let versions = events.iter().map(|event| event.version);
            assert!(versions.eq(0..events.len() as u64), "versions of {name}");
            let (category, id) = name.split_once('-').unwrap();
            let id = StreamId::new(category, id).unwrap();
            let partition = id.partition(reader.partitions());
            assert!(events.iter().all(|event| event.partition == partition.0));
            let (mut found, stream) = (Vec::new(), StreamRef::new(&id, reader.partitions()));
            for_each_event::<_, LogError>(
                reader,
                stream,
                0,
                usize::MAX,
                Direction::Forwards,
                |_, record| {
                    found.push(record.offset.0);
                    Ok(())
                },
            )
            .unwrap();
            let offsets = events.iter().map(|event| event.offset);
            assert!(offsets.eq(found), "the index has other events of {name}");
        }
    }

    /// How many events were copied, and how many there are to be copied.
    pub(crate) fn copies_and_moves(&self) -> (usize, usize) {
        let count = |is_it: fn(&What) -> bool| {
            let of_kind = self.events().filter(|event| is_it(&event.what));
            of_kind.count()
        };
        (
            count(|what| matches!(what, What::Copied(_))),
            count(|what| matches!(what, What::Moved(_))),
        )
    }

    /// Operations whose event was given up, by their number and part, as decisions in the log about letters of `stage`
    /// say: of those that know of the same redrives the first counts, and none after one that gives the event up.
    pub(crate) fn discarded(&self, of_items: bool) -> Vec<(u64, u8)> {
        let mut standing: BTreeMap<(u64, u8), (u32, bool)> = BTreeMap::new();
        for event in self.events() {
            let What::Decided(decision) = &event.what else {
                continue;
            };
            let order = decision.order();
            if order.stage.is_some() != of_items {
                continue;
            }
            let (tag, part) = order.reason.split_once('.').unwrap();
            let about = (tag.parse().unwrap(), part.parse().unwrap());
            let (redrives, is_gone) = standing.entry(about).or_default();
            if *is_gone || order.redrives != *redrives {
                continue;
            }
            match decision {
                LetterDecision::Redriven(_) | LetterDecision::Edited { .. } => *redrives += 1,
                LetterDecision::Discarded(_) => *is_gone = true,
                other => panic!("nothing is known of {other:?}"),
            }
        }
        let gone = standing.into_iter().filter(|(_, (_, is_gone))| *is_gone);
        gone.map(|(about, _)| about).collect()
    }
}
