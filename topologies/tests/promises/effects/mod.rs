//! Effects of projections are delivered at least once, in order per stream, by what is live; by nothing else.

mod live;
mod outside;

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
        .projection(Mailing::<1>)
        .deliver_with(&MAILS, config, outside.deliver())
        .build()
        .unwrap()
}

async fn open(folder: &Path, outside: &Outside) -> Engine {
    open_with(folder, config(), topology(outside, quick())).await
}
