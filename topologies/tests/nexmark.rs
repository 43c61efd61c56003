//! The Nexmark queries as dataflows give the published counts, and row for row what the direct computation gives, whatever
//! the partitions, batches and generators.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use millstream::catalog::nexmark::direct::{self, Variant};
use millstream::catalog::nexmark::{
    Checksum, NexmarkConfig, NexmarkOptions, NexmarkSource, Query, run,
};
use millstream::dataflow::FlowOptions;
use millstream_engine::flow::BatchSize;

/// Partitions and items per batch.
const SHAPES: [(usize, Option<usize>); 4] = [(1, None), (2, Some(1)), (3, Some(100)), (4, None)];

async fn dataflow(
    query: Query,
    variant: Variant,
    config: &NexmarkConfig,
    (partitions, batch): (usize, Option<usize>),
) -> Checksum {
    let mut flow = FlowOptions {
        partitions,
        ..FlowOptions::default()
    };
    if let Some(items) = batch {
        flow.edges.batch = BatchSize::Fixed(NonZeroUsize::new(items).unwrap());
    }
    let report = run(NexmarkOptions {
        query,
        variant,
        config: config.clone(),
        flow,
        checksum: true,
    })
    .await
    .unwrap();
    let checksum = report.checksum.unwrap();
    assert_eq!(report.results, checksum.rows());
    assert_eq!(report.events, config.events);
    checksum
}

fn directly(query: Query, variant: Variant, config: &NexmarkConfig) -> Option<Checksum> {
    let source = NexmarkSource::new(config).unwrap();
    let events: Vec<_> = source.map(|generated| generated.event).collect();
    direct::checksum(query.number(), variant, &events)
}

/// All queries and variants with an answer that does not depend on when it is computed.
fn queries() -> Vec<(Query, Variant)> {
    let all = <Query as clap::ValueEnum>::value_variants();
    let both = |query: &Query| [(*query, Variant::Beam), (*query, Variant::Flink)];
    let is_sure = |query: &&Query| query.number() != 12;
    all.iter().filter(is_sure).flat_map(both).collect()
}

async fn agree(config: &NexmarkConfig) {
    for (query, variant) in queries() {
        let expected = directly(query, variant, config).unwrap();
        for shape in SHAPES {
            let found = dataflow(query, variant, config, shape).await;
            assert_eq!(
                found, expected,
                "{query:?} {variant:?} {shape:?} {config:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_100_generators() {
    agree(&NexmarkConfig::of(40_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_generator() {
    agree(&NexmarkConfig::of(40_000).generators(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_shuffled_groups_and_another_rate() {
    let config = NexmarkConfig {
        event_rate: 700,
        out_of_order_group: 40,
        ..NexmarkConfig::of(9_000).generators(3)
    };
    agree(&config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_hardly_any_events() {
    for events in [0, 1, 4, 60] {
        agree(&NexmarkConfig::of(events)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_published_counts() {
    let counts = [
        (0, Variant::Beam, [100_000, 100_000]),
        (1, Variant::Beam, [92_000, 92_000]),
        (2, Variant::Beam, [351, 351]),
        (3, Variant::Beam, [580, 580]),
        (5, Variant::Beam, [12, 5]),
        (5, Variant::Flink, [53, 15]),
        (7, Variant::Beam, [1, 1]),
        (8, Variant::Beam, [6_000, 6_000]),
        (8, Variant::Flink, [902, 902]),
        (9, Variant::Beam, [3_493, 3_120]),
        (9, Variant::Flink, [3_825, 4_052]),
        (11, Variant::Beam, [1_919, 1_919]),
    ];
    for (number, variant, counts) in counts {
        let all = <Query as clap::ValueEnum>::value_variants();
        let Some(query) = all.iter().find(|query| query.number() == number) else {
            panic!("no query {number}");
        };
        for (generators, count) in [100, 1].into_iter().zip(counts) {
            let config = NexmarkConfig::of(100_000).generators(generators);
            let found = dataflow(*query, variant, &config, (2, None)).await;
            assert_eq!(found.rows(), count, "{query:?} {variant:?} {generators}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q12_counts_every_bid_once() {
    let config = NexmarkConfig::of(50_000);
    let found = dataflow(Query::Q12, Variant::Beam, &config, (2, None)).await;
    // At least one row for each bidder; more if the clock passed a window's end meanwhile.
    assert!(found.rows() >= 962, "{} rows", found.rows());
}
