//! Effects of projections are delivered at least once, in order per stream, by what is live; by nothing else.

mod full;
mod gated;
mod live;
mod outside;
mod parts;

use std::path::Path;

use millstream::prelude::*;

use self::outside::*;
use crate::support::*;

/// Short waits, so that a test is short.
fn quick() -> DeliveryConfig {
    DeliveryConfig {
        retry_ms_min: 1,
        retry_ms_max: 5,
        ..DeliveryConfig::default()
    }
}

fn topology(outside: &Outside, config: DeliveryConfig) -> Topology {
    Topology::named("mailing")
        .aggregate::<Tally>()
        .projection(Mailing::<1>::default())
        .deliver_with(&MAILS, config, outside.deliver())
        .build()
        .unwrap()
}

async fn open(folder: &Path, outside: &Outside) -> Engine {
    open_delivering(folder, outside, quick()).await
}

async fn open_delivering(folder: &Path, outside: &Outside, deliveries: DeliveryConfig) -> Engine {
    open_with(folder, config(), topology(outside, deliveries)).await
}

/// Two versions that do the same.
fn two(outside: &Outside) -> Topology {
    two_of(Mailing::<1>::default(), outside)
}

fn two_of(first: Mailing<1>, outside: &Outside) -> Topology {
    two_delivering(first, outside, quick())
}

fn two_delivering(first: Mailing<1>, outside: &Outside, deliveries: DeliveryConfig) -> Topology {
    let failed = std::sync::Arc::clone(&outside.failed);
    let first = Mailing {
        failed: std::sync::Arc::clone(&failed),
        ..first
    };
    let second = Mailing::<2> {
        failed,
        ..Mailing::default()
    };
    let quick_stores = ProjectionConfig {
        store_every_ms: 2,
        ..failing_at_once()
    };
    Topology::named("mailing")
        .aggregate::<Tally>()
        .projection_with(first, quick_stores.clone())
        .candidate_with(second, quick_stores)
        .deliver_with(&MAILS, deliveries, outside.deliver())
        .build()
        .unwrap()
}

/// An event that fails is tried once more, soon, and then a dead letter.
fn failing_at_once() -> ProjectionConfig {
    ProjectionConfig {
        failures: millstream_operators::projection::FailurePolicy {
            attempts_max: 2,
            backoff_first: std::time::Duration::from_millis(1),
            ..Default::default()
        },
        ..ProjectionConfig::default()
    }
}
