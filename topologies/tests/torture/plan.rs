//! What a seed says: which dataflow, over which input, and how each run of it is made.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use millstream::dataflow::FlowOptions;
use millstream::prelude::*;
use millstream_engine::checkpoint::CheckpointOptions;
use millstream_engine::event::{EventId, PartitionId};
use millstream_engine::flow::{BatchSize, EdgeOptions};
use millstream_engine::mailbox::MailboxLimits;
use serde::{Deserialize, Serialize};

use crate::processes;

/// Partitions of the log.
pub(crate) const PARTITIONS: u16 = 3;
/// Categories of the input.
pub(crate) const CATEGORIES: [&str; 2] = ["a", "b"];
/// Keys that items of a partition have for themselves.
const OWN_KEYS: u64 = 3;
/// Event time of the items that end each input, in milliseconds: all windows are over by then.
const LAST_MS: i64 = 1_000_000_000;

/// Splitmix64: the same numbers for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        processes::random(&mut self.0) % end
    }

    fn is_one_of(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// An event of the input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Item {
    /// All partitions of the log have it.
    pub(crate) key: u16,
    /// Only one partition has it: items of it come in the same order in every run.
    pub(crate) own: u16,
    pub(crate) number: i64,
    /// Another one in each item.
    pub(crate) serial: i64,
    /// It ends the input of its category and partition.
    pub(crate) is_last: bool,
}

impl Event for Item {}

/// Events of one stream that are appended together.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) stream: StreamId,
    /// Version of the first.
    pub(crate) first: u64,
    pub(crate) items: Vec<(Timestamp, Item)>,
}

impl Batch {
    /// The same whenever they are made.
    pub(crate) fn events(&self) -> Vec<NewEvent> {
        let numbered = (self.first..).zip(&self.items);
        let event = |(version, (time, item)): (u64, &(Timestamp, Item))| NewEvent {
            id: Some(EventId::derived("input", self.stream.as_str(), version)),
            event_time: Some(*time),
            ..NewEvent::typed(item.clone())
        };
        numbered.map(event).collect()
    }

    pub(crate) const fn expected(&self) -> Expected {
        match self.first {
            0 => Expected::NoStream,
            first => Expected::Exact(first - 1),
        }
    }
}

/// A dataflow and its input.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Runs that are killed before the last.
    pub(crate) kills: u64,
    /// Of windows and the like.
    pub(crate) size_ms: i64,
    pub(crate) lateness_ms: i64,
    pub(crate) bound_ms: i64,
    /// One of two variants of the dataflow.
    pub(crate) is_other: bool,
    pub(crate) is_aligned: bool,
    pub(crate) file_rows_max: u64,
    /// By partition of the log, in the order in which it is appended.
    pub(crate) input: Vec<Vec<Batch>>,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut serial = 0;
        Self {
            seed,
            kills: if random.is_one_of(8) {
                12
            } else {
                2 + random.below(4)
            },
            size_ms: random.of(&[1_000, 2_000, 6_000]),
            lateness_ms: random.of(&[0, 5_000, 15_000]),
            bound_ms: random.of(&[0, 500, 3_000]),
            is_other: random.is_one_of(2),
            is_aligned: random.is_one_of(3),
            file_rows_max: random.of(&[3, 40, u64::MAX]),
            input: (0..PARTITIONS)
                .map(|partition| input(&mut random, partition, &mut serial))
                .collect(),
        }
    }

    /// How many batches there are.
    pub(crate) fn batches(&self) -> u64 {
        self.input.iter().map(|input| input.len() as u64).sum()
    }

    /// Items of a category by partition of the log, without those that end it.
    pub(crate) fn items(
        &self,
        category: &str,
    ) -> impl Iterator<Item = impl Iterator<Item = &(Timestamp, Item)>> {
        self.input.iter().map(move |batches| {
            let of = batches
                .iter()
                .filter(move |batch| batch.stream.category() == category);
            of.flat_map(|batch| &batch.items)
                .filter(|(_, item)| !item.is_last)
        })
    }

    /// How run number `run` is made.
    pub(crate) fn options(&self, run: u64) -> FlowOptions {
        let mut random = Random::new(
            self.seed
                .wrapping_add(run.wrapping_mul(0x1234_5678_9abc_def1)),
        );
        let batch = match random.of(&[0, 1, 3, 17]) {
            0 => BatchSize::default(),
            items => BatchSize::Fixed(NonZeroUsize::new(items).unwrap()),
        };
        FlowOptions {
            partitions: 1 + random.below(4) as usize,
            edges: EdgeOptions {
                batch,
                ..EdgeOptions::default()
            },
            mailbox: MailboxLimits {
                items_max: NonZeroU32::new(1 + random.below(8) as u32).unwrap(),
                ..FlowOptions::default().mailbox
            },
            checkpoints: Some(CheckpointOptions {
                interval_ms: random.of(&[1, 10, 30]),
                pause_ms_min: 1,
                retained: random.of(&[1, 2, 3]),
                ..CheckpointOptions::default()
            }),
            own_threads: None,
        }
    }
}

pub(crate) fn millis(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// The input of one partition: two streams of each category, times that mostly go on, some of them far behind.
fn input(random: &mut Random, partition: u16, serial: &mut i64) -> Vec<Batch> {
    let streams: Vec<_> = CATEGORIES
        .iter()
        .flat_map(|category| streams_in(category, partition))
        .collect();
    let mut versions = vec![0; streams.len()];
    let mut clock_ms = 0;
    let mut batches = Vec::new();
    for _ in 0..20 + random.below(30) {
        let at = random.below(streams.len() as u64) as usize;
        let items = (0..1 + random.below(8)).map(|_| {
            clock_ms += random.below(500) as i64;
            item(random, partition, clock_ms, serial)
        });
        let items: Vec<_> = items.collect();
        batches.push(batch(&streams[at], &mut versions[at], items));
    }
    for at in (0..streams.len()).step_by(2) {
        let (_, item) = item(random, partition, 0, serial);
        let last = Item {
            is_last: true,
            ..item
        };
        let items = vec![(Timestamp::from_millis(LAST_MS), last)];
        batches.push(batch(&streams[at], &mut versions[at], items));
    }
    batches
}

fn batch(stream: &StreamId, version: &mut u64, items: Vec<(Timestamp, Item)>) -> Batch {
    let first = *version;
    *version += items.len() as u64;
    Batch {
        stream: stream.clone(),
        first,
        items,
    }
}

fn item(random: &mut Random, partition: u16, clock_ms: i64, serial: &mut i64) -> (Timestamp, Item) {
    *serial += 1;
    let behind_ms = if random.is_one_of(3) { 20_000 } else { 1_500 };
    let time = Timestamp::from_millis(clock_ms - random.below(behind_ms) as i64);
    let own = u64::from(partition) * OWN_KEYS + random.below(OWN_KEYS);
    let item = Item {
        key: random.below(5) as u16,
        own: own as u16,
        number: random.below(100) as i64,
        serial: *serial,
        is_last: false,
    };
    (time, item)
}

/// Two streams of a category in a partition.
fn streams_in(category: &str, partition: u16) -> impl Iterator<Item = StreamId> {
    let all = (0..).map(move |n: u32| StreamId::new(category, &n.to_string()).unwrap());
    all.filter(move |stream| stream.partition(PARTITIONS) == PartitionId(partition))
        .take(2)
}
