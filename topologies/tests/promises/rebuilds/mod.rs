//! Promise: a projection is changed for another version of it while everything runs, and nobody sees rows go back or lack
//! what a token has seen; a crash at any moment leaves one of the two answering.

mod compared;
mod killed;
mod readers;
mod refused;
mod restarts;

use std::path::Path;

use millstream::prelude::*;

use crate::support::*;

/// The sums once more, as version `N`.
struct SumsOf<const N: u32>;

sums_of_tallies!(SumsOf<const N: u32>: Sums::NAME, N, SUMS);

fn busy() -> ProjectionConfig {
    ProjectionConfig {
        store_every_ms: 2,
        store_every_behind_ms: 2,
        hot_rows_max: 12,
        ..ProjectionConfig::default()
    }
}

fn tallies() -> millstream::TopologyBuilder {
    Topology::named("tallies")
        .aggregate::<Tally>()
        .projection(Digits)
}

fn two() -> Topology {
    let both = tallies().projection_with(SumsOf::<1>, busy());
    both.candidate_with(SumsOf::<2>, busy()).build().unwrap()
}

async fn start(folder: &Path, topology: Topology) -> Engine {
    let mut config = config();
    config.restart.attempts_max = 0;
    open_with(folder, config, topology).await
}

async fn fill(engine: &Engine, ids: u64) {
    for id in 0..ids {
        let id = format!("t{id}");
        engine
            .send::<Tally>(&id, Ask::AddAll(vec![1, 2, 3]))
            .await
            .unwrap();
    }
    engine.ready().await.unwrap();
}
