//! What differs from seed to seed: bounds, and how fast everything is.

use std::time::Duration;

use millstream::dataflow::FlowOptions;
use millstream::prelude::*;
use millstream_engine::checkpoint::CheckpointOptions;
use millstream_engine::flow::{BatchSize, EdgeOptions};
use millstream_engine::mailbox::MailboxLimits;
use millstream_engine::partition::{DedupLimits, PartitionConfig};
use millstream_engine::state::StateOptions;
use millstream_operators::projection::{FailurePolicy, ProjectionConfig};

use super::process::Shape;
use crate::simulation::Random;

/// How likely each kind of step is, beside the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) clients: u64,
    pub(super) log: u64,
    pub(super) state: u64,
    pub(super) stages: u64,
    pub(super) flow: u64,
}

impl Pace {
    /// A disk is slow in some seeds, as are stages and callers.
    pub(super) fn random(random: &mut Random) -> Self {
        let mut of = |choices: [u64; 3]| choices[random.below(3) as usize];
        Self {
            clients: of([1, 4, 10]),
            log: of([1, 5, 15]),
            state: of([1, 5, 15]),
            stages: of([4, 10, 20]),
            flow: of([1, 5, 10]),
        }
    }
}

/// So short that commands are repeated which nobody remembers: one of the bounds in half of the seeds, where no other hides how
/// far it reaches, and any of them together in the others.
fn short_dedup(random: &mut Random) -> DedupLimits {
    let which = random.below(6);
    let mut is_short = |bound| which == bound || which > 2 && random.below(2) == 0;
    let (ids, events, age) = (is_short(0), is_short(1), is_short(2));
    let mut of = |choices: [u64; 2]| choices[random.below(2) as usize];
    DedupLimits {
        ids_max: if ids { 3 } else { 1_000 },
        events_max: if events { of([10, 40]) } else { 1_000 },
        age_max: Duration::from_millis(if age { of([100, 2_500]) } else { 3_600_000 }),
    }
}

/// Small bounds, so that all of them are met.
pub(super) fn shape(random: &mut Random, partitions: u16) -> Shape {
    let items = |count: u64| MailboxLimits {
        items_max: std::num::NonZeroU32::new(count as u32).unwrap(),
        ..MailboxLimits::default()
    };
    let mut partition = PartitionConfig {
        mailbox: items(2 + random.below(20)),
        frames_in_flight_max: 1 + random.below(4) as u32,
        ..PartitionConfig::default()
    };
    if random.below(2) == 0 {
        partition.frame_bytes_max = 200;
    }
    if random.below(5) < 2 {
        partition.dedup = short_dedup(random);
    }
    let batch = [None, Some(1), Some(3)][random.below(3) as usize];
    Shape {
        partitions,
        partition,
        aggregate: AggregateConfig {
            idle_seconds_max: 1,
            // A snapshot after every 16th event.
            reload_target_us: 1,
            resident_bytes_max: [600, 256 << 20][random.below(2) as usize],
        },
        projection: ProjectionConfig {
            failures: FailurePolicy {
                attempts_max: 1 + random.below(3) as u32,
                backoff_first: Duration::from_millis(3),
                backoff_max: Duration::from_millis(9),
            },
            store_every_ms: 10,
            store_every_behind_ms: 20,
            publish_every_ms: 5,
            unstored_rows_max: 1 + random.below(6) as usize,
            hot_rows_max: [2, 1_000][random.below(2) as usize],
            ..ProjectionConfig::default()
        },
        state: StateOptions {
            queue_batches: 2 + random.below(6) as usize,
            snapshot_delta_bytes_min: 16,
            ..StateOptions::default()
        },
        flow: FlowOptions {
            partitions: 1 + random.below(3) as usize,
            edges: EdgeOptions {
                batch: batch.map_or(BatchSize::default(), |items| {
                    BatchSize::Fixed(std::num::NonZeroUsize::new(items).unwrap())
                }),
                ..EdgeOptions::default()
            },
            mailbox: items(1 + random.below(6)),
            checkpoints: Some(CheckpointOptions {
                interval_ms: [5, 40][random.below(2) as usize],
                pause_ms_min: 1,
                ..CheckpointOptions::default()
            }),
            ..FlowOptions::default()
        },
    }
}
