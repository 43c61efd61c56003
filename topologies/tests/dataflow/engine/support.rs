//! A log with sales in it.

use std::path::Path;

use millstream::dataflow::FlowOptions;
use millstream::prelude::*;
use millstream_engine::checkpoint::CheckpointOptions;
use serde::{Deserialize, Serialize};

use crate::small_files::small_files;
pub(crate) use crate::within::{close, within};

/// An event that no aggregate writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sale {
    pub(crate) product: String,
    pub(crate) cents: u64,
}

impl Event for Sale {}

pub(crate) fn sale(product: &str, cents: u64) -> Sale {
    let product = product.to_owned();
    Sale { product, cents }
}

/// Turnover per product.
pub(crate) const TURNOVER: Table<String, u64> = Table::named("turnover");

pub(crate) fn stream(text: &str) -> StreamId {
    text.parse().unwrap()
}

pub(crate) fn options() -> FlowOptions {
    FlowOptions {
        partitions: 2,
        ..FlowOptions::default()
    }
}

/// Each start begins anew.
pub(crate) fn without_checkpoints() -> FlowOptions {
    FlowOptions {
        checkpoints: None,
        ..options()
    }
}

/// A checkpoint every so many milliseconds, or as soon as the one before is there.
pub(crate) fn checkpointed(interval_ms: u64) -> FlowOptions {
    FlowOptions {
        checkpoints: Some(CheckpointOptions {
            interval_ms,
            pause_ms_min: 1,
            ..CheckpointOptions::default()
        }),
        ..options()
    }
}

pub(crate) fn config() -> EngineConfig {
    small_files(3)
}

pub(crate) async fn open(folder: &Path, topology: Topology) -> Engine {
    let opened = Engine::open(folder).config(config()).run(topology).await;
    opened.unwrap_or_else(|error| panic!("the engine did not open: {error}"))
}

/// Appends to streams `sale-0` to `sale-9` in turn.
pub(crate) async fn append(engine: &Engine, sales: &[Sale]) {
    for (number, sale) in sales.iter().enumerate() {
        append_to(engine, &format!("sale-{}", number % 10), sale.clone()).await;
    }
}

pub(crate) async fn append_to<E: Event>(engine: &Engine, name: &str, event: E) {
    let event = NewEvent::typed(event);
    let appender = engine.appender();
    let appended = appender.append(stream(name), Expected::Any, vec![event]);
    within(appended).await.unwrap();
}

/// Some sales of three products.
pub(crate) fn sales(count: u64) -> Vec<Sale> {
    (0..count)
        .map(|number| sale(["tea", "milk", "bread"][number as usize % 3], number + 1))
        .collect()
}

/// What they add up to.
pub(crate) fn turnover(sales: &[Sale]) -> Vec<(String, u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for sale in sales {
        *sums.entry(sale.product.clone()).or_default() += sale.cents;
    }
    sums.into_iter().collect()
}
